"""The screens of `guard`: golden texts with a fixed clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backout.model.check import Check, CheckState
from backout.model.guard import (
    CommandRun,
    Dropped,
    Guard,
    GuardHealth,
    GuardPlan,
    Needs,
    Part,
    Reach,
    RestorePoint,
    StoredFile,
    TableCoverage,
)
from backout.render.screens import (
    guard_armed_screen,
    guard_dropped_screen,
    guard_list_screen,
    guard_plan_screen,
    guard_ran_screen,
    guard_status_screen,
)
from tests.render import samples
from tests.render.golden import assert_golden

NOW = samples.at("02:50:00")
SLOT = "backout_grd_7q4m_1"
NO_KEY = "it has no primary key: updates and deletes are not captured; --full public.audit captures them"
COVERAGE = (
    TableCoverage("public.users", 16_401, False, Reach.EVERY, False, ""),
    TableCoverage("public.audit", 16_409, False, Reach.INSERTS, False, NO_KEY),
    TableCoverage("public.cache", 16_420, False, Reach.NOTHING, False, "unlogged: its rows are in no log"),
)
PARTS = (
    Part("publication", Needs.OWNER, True, "1 table with every write, 1 with inserts only"),
    Part("slot", Needs.REPLICATION, True, "pgoutput, made after the publication"),
    Part(
        "restore point",
        Needs.SUPERUSER,
        False,
        "a named place in the WAL",
        "the role may not: EXECUTE was not granted",
    ),
)
REMAINS = (
    "no restore to an exact place: prove a snapshot first (backout snapshot prove); later writes are held"
)
PLAN = GuardPlan(
    guard="grd-7q4m",
    target="heroes-production",
    identity=samples.TARGET,
    slot=SLOT,
    failover=True,
    publication=SLOT,
    inserts_only=f"{SLOT}_ins",
    restore_point="",
    origin_prefix="",
    coverage=COVERAGE,
    identities=(),
    parts=PARTS,
    unseen=("3 sequences (public.users_id_seq, ...)", "DDL"),
    warnings=("a slot of this version is not on the standbys: a failover loses it",),
    remains=REMAINS,
    schema_digest="d" * 64,
    history_table="public.pgmigrations",
    history_head="1793700000000_badges",
    history_position=5,
    wal_cap_bytes=8_000_000_000,
    window_seconds=86_400.0,
)
GUARD = Guard(
    id="grd-7q4m",
    target="heroes-production",
    identity=samples.TARGET,
    slot=SLOT,
    slot_lsn="5/3B0F22A8",
    failover=True,
    publications=(SLOT, f"{SLOT}_ins"),
    coverage=COVERAGE,
    identities=(),
    restore_point=RestorePoint(SLOT, "5/3B0F2310", "archived"),
    armed_at="2026-11-22T02:44:31+00:00",
    expires_at="2026-11-23T02:44:31+00:00",
    wal_cap_bytes=8_000_000_000,
    history_table="public.pgmigrations",
    history_head="1793700000000_badges",
    history_position=5,
    schema_digest="d" * 64,
    schema_digest_armed="d" * 64,
    files=(StoredFile("1793700000000_badges", "migrations/1793700000000_badges.js", "e" * 64),),
    parts=PARTS,
    unseen=PLAN.unseen,
    remains=REMAINS,
)
WHOLE = replace(GUARD, coverage=COVERAGE[:1])
RAN = CommandRun("npm", 0, 3.8, 1, ("812",), ("ALTER TABLE ...",), "1795314660000_v2", True, False)
DROPPED = Dropped("grd-7q4m", "npm failed (exit 1) and nothing of it was committed", (f"slot {SLOT}",), ())
GOOD = GuardHealth(
    (
        Check("capture", CheckState.PASS, "16 of 16 tables, slot reserved"),
        Check("WAL held", CheckState.PASS, "1.1 GB of 8.0 GB; at the cap it drops itself and alarms"),
    ),
    1_100_000_000,
    0,
    False,
)
GONE = replace(GOOD, checks=(Check("capture", CheckState.FAIL, "the slot is gone"),))


@dataclass(frozen=True)
class Row:
    id: str = "grd-7q4m"
    target: str = "heroes-production"
    state: str = "armed"
    armed_at: str = GUARD.armed_at
    expires_at: str = GUARD.expires_at
    command: str = "npm"


@dataclass(frozen=True)
class Rows:
    guards: tuple[Row, ...]
    next: str = "backout guard status grd-7q4m"


def test_the_plan_says_what_each_part_needs_and_what_is_not_captured():
    assert_golden("guard_plan", lambda style: guard_plan_screen(PLAN, style=style, next="backout guard arm"))


def test_what_stands_after_arming():
    follow = "backout guard status grd-7q4m"
    assert_golden("guard_arm", lambda style: guard_armed_screen(GUARD, style=style, now=NOW, next=follow))


def test_without_a_slot_the_promise_is_smaller():
    bare = replace(GUARD, slot="", publications=(), restore_point=None)
    assert_golden(
        "guard_arm_no_slot", lambda style: guard_armed_screen(bare, style=style, now=NOW, next="nothing")
    )


def test_a_command_that_went_well_and_one_that_went_past():
    assert_golden("guard_run", lambda style: guard_ran_screen(WHOLE, RAN, None, style=style, next="nothing"))
    past = replace(RAN, sessions=0, xids=(), past_us=True)
    assert_golden(
        "guard_run_past", lambda style: guard_ran_screen(WHOLE, past, None, style=style, next="nothing")
    )


def test_a_command_that_failed_takes_its_guard_or_leaves_it():
    failed = replace(RAN, exit_code=1, changed=False, xids=())
    again = "mend the migration, then the same command again"
    assert_golden(
        "guard_run_failed", lambda style: guard_ran_screen(WHOLE, failed, DROPPED, style=style, next=again)
    )
    half = replace(RAN, exit_code=1)
    assert_golden(
        "guard_run_half", lambda style: guard_ran_screen(WHOLE, half, None, style=style, next="backout open")
    )


def test_status_good_and_red():
    assert_golden(
        "guard_status",
        lambda style: guard_status_screen(WHOLE, GOOD, None, style=style, now=NOW, next="nothing"),
    )
    drop = "backout guard drop grd-7q4m"
    assert_golden(
        "guard_status_gone",
        lambda style: guard_status_screen(WHOLE, GONE, None, style=style, now=NOW, next=drop),
    )


def test_list_and_drop():
    assert_golden("guard_list", lambda style: guard_list_screen(Rows((Row(),)), style=style, now=NOW))
    assert_golden(
        "guard_list_none", lambda style: guard_list_screen(Rows((), "nothing"), style=style, now=NOW)
    )
    assert_golden("guard_drop", lambda style: guard_dropped_screen(DROPPED, style=style, next="nothing"))
