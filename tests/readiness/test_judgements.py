"""What is made of facts that a test server does not have: archives, full disks, lost files, people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backout.model.check import Check, CheckState
from backout.model.people import Person, Role
from backout.model.readiness import Capability, Standing
from backout.model.target import SessionIdentity, TargetIdentity
from backout.phases.readiness import decide, standing
from backout.phases.readiness.facts import (
    Archive,
    Encryption,
    HistoryFacts,
    Leftovers,
    Missing,
    OurSchemas,
    Ownership,
    PeopleFacts,
    Room,
    ServerFacts,
)
from backout.render.layout import Place, Style
from backout.render.screens import capabilities_screen

IDENTITY = SessionIdentity(
    TargetIdentity("7301", 1, "heroes", 16384, "db-1", 5432), "10.0.0.5", "2026-01-01", 160014, False, "app"
)
SOUND = ServerFacts(
    identity=IDENTITY,
    version="16.14",
    encryption=Encryption("TLSv1.3", "verify-full", local=False),
    is_copy=False,
    size_bytes=18_400_000_000,
    ownership=Ownership(16, (), (), 0),
    ours=OurSchemas((), (), may_create=False),
    forced=(),
    publications=(),
    checksums=True,
    archive=Archive("on", 60.0, failing=False, expected=300.0),
    wal_level="logical",
    commit_times=True,
    connections=(80, 100),
    leftovers=Leftovers(0, ()),
    invalid_indexes=(),
)


def states(facts: ServerFacts) -> dict[str, CheckState]:
    return {check.name: check.state for check in decide.server_checks(facts, 8)}


def test_a_sound_server_passes_everywhere():
    assert set(states(SOUND).values()) == {CheckState.PASS}


@pytest.mark.parametrize(
    ("archive", "state", "words"),
    [
        (Archive("off", None, failing=False, expected=0), CheckState.SKIPPED, "off"),
        (
            Archive("on", 41 * 60, failing=False, expected=300),
            CheckState.UNKNOWN,
            "41 min old, expected 5 min",
        ),
        (Archive("on", 41 * 60, failing=False, expected=0), CheckState.PASS, "41 min old"),
        (Archive("on", 9.0, failing=True, expected=0), CheckState.FAIL, "last success 9 s ago"),
        (Archive("always", None, failing=True, expected=0), CheckState.FAIL, "never succeeded"),
        (Archive("on", None, failing=False, expected=0), CheckState.UNKNOWN, "no segment"),
    ],
)
def test_an_archive_is_judged_by_its_last_segment(archive: Archive, state: CheckState, words: str):
    checks = decide.server_checks(replace(SOUND, archive=archive), 8)
    found = next(check for check in checks if check.name == "archive")
    assert (found.state, words in found.detail) == (state, True)


def test_a_standby_and_an_old_server_are_refused():
    standby = replace(SOUND, identity=replace(IDENTITY, in_recovery=True))
    assert states(standby)["identity"] is CheckState.FAIL
    old = replace(SOUND, identity=replace(IDENTITY, server_version=120022))
    dump = Check("dump program", CheckState.PASS, "")
    assert decide.version_check(old, dump, "16.14").state is CheckState.FAIL


@pytest.mark.parametrize(
    ("archive", "may", "state"),
    [
        (Archive("off", None, failing=False, expected=0), True, CheckState.FAIL),
        (Archive("on", 9.0, failing=False, expected=0), True, CheckState.PASS),
        (Archive("on", 9.0, failing=False, expected=60), False, CheckState.WARN),
        (Archive("on", 9.0, failing=False, expected=0), False, CheckState.FAIL),
    ],
)
def test_a_backup_tool_is_judged_by_whether_the_newest_wal_gets_there(archive, may, state):
    check = standing.newest_wal_check(archive, "Shop", may=may)
    assert check.state is state
    if not may:
        assert check.mend == 'GRANT EXECUTE ON FUNCTION pg_switch_wal() TO "Shop";'


def test_few_connections_and_large_objects_of_others_are_warnings():
    assert states(replace(SOUND, connections=(3, 100)))["connections"] is CheckState.WARN
    assert states(replace(SOUND, ownership=Ownership(16, (), (), 2)))["privileges"] is CheckState.WARN


def test_the_room_that_is_missing_is_said_in_bytes():
    short = Room("/var/lib/backout", 9_100_000_000, 37_200_000_000, whole=True)
    check = standing.room_check(short)
    assert check.state is CheckState.FAIL
    assert check.detail == "store has 9.1 GB free, a proof needs 37.2 GB"
    assert check.mend == "free 28.1 GB in /var/lib/backout"
    assert standing.room_check(replace(short, whole=False)).state is CheckState.WARN


def test_a_file_that_git_still_has_is_a_warning_and_a_lost_one_a_failure():
    seen = HistoryFacts("public.pgmigrations", 41, "b", (), (Missing("b", "git history 0123abc"),), (), 40)
    assert standing.history_check(seen).state is CheckState.WARN
    lost = replace(seen, missing=(*seen.missing, Missing("a", "")))
    check = standing.history_check(lost)
    assert (check.state, check.detail) == (CheckState.FAIL, "applied, and no file here or in git: a")
    assert standing.history_check(replace(seen, dirty=("b",))).state is CheckState.FAIL


MARA = Person("mara", (Role.SRE, Role.OWNER), ("SHA256:a",))
JONAS = Person("jonas", (Role.SRE,), ("SHA256:b",))
KEYLESS = Person("priya", (Role.OWNER,), ())


@pytest.mark.parametrize(
    ("approvals", "people", "state"),
    [
        (("sre", "owner"), (MARA,), CheckState.FAIL),
        (("sre", "owner"), (MARA, JONAS), CheckState.PASS),
        (("sre", "owner"), (JONAS, KEYLESS), CheckState.FAIL),
        (("any",), (JONAS,), CheckState.PASS),
        (("any",), (KEYLESS,), CheckState.FAIL),
        (("solo",), (MARA,), CheckState.WARN),
        (("solo",), (JONAS,), CheckState.FAIL),
    ],
)
def test_one_person_fills_one_slot(approvals: tuple[str, ...], people: tuple[Person, ...], state: CheckState):
    assert standing.people_check(PeopleFacts(approvals, people, "mara", "", "")).state is state


def test_checks_of_one_thing_share_a_line_while_they_pass():
    found = standing.gathered(
        "scratch",
        (
            Check("server version", CheckState.PASS, "PostgreSQL 16.14"),
            Check("locale", CheckState.PASS, "C.UTF-8"),
            Check("extension pgcrypto", CheckState.FAIL, "not there", "apt-get install postgresql-16"),
        ),
    )
    assert [(c.name, c.state.value, c.detail) for c in found] == [
        ("scratch", "pass", "PostgreSQL 16.14; also locale"),
        ("scratch extension pgcrypto", "fail", "not there"),
    ]


def test_the_table_of_rights_keeps_to_the_width_and_shows_what_is_lost():
    rows = (
        Capability("run the down", Standing.WORKS, "asked", "", "", ("A",), True, ""),
        Capability(
            "kept values", Standing.GRANT, "tried", "refused", "GRANT x", ("A",), True, "A is refused"
        ),
        Capability(
            "base backup", Standing.CANNOT, "tried", "refused", "", ("B", "D"), False, "no base backup"
        ),
        Capability(
            "replication slot", Standing.UNKNOWN, "tried", "all in use", "", ("B",), False, "no replay"
        ),
    )
    place = Place("heroes", "production", IDENTITY.target, primary=True)
    text = capabilities_screen(place, "app", rows, "-- SQL\nSELECT 1;", style=Style(), next="backout doctor")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "next: backout doctor"
    assert "  ✗ kept values       works with this grant (tried), for A" in lines
    assert "  - base backup       cannot here (tried), for B, D" in lines
    assert [line.strip() for line in lines if "without" in line or "all in use" in line] == [
        "without: A is refused", "without: no base backup", "without: no replay", "all in use",
    ]  # fmt: skip
