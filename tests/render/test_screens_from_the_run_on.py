"""The screens from the run to the end, and those of calm days: golden texts with a fixed clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from backout.model.check import Check, CheckState
from backout.model.execution import Outcome, Watch, WatchSample
from backout.model.gate import Proposals
from backout.model.journal import Entry, EntryKind
from backout.model.people import Role
from backout.model.snapshot import Scope
from backout.render.known import Known
from backout.render.layout import Place, State, Step, Style
from backout.render.screens import (
    approved_screen,
    contain_screen,
    copies_screen,
    diagnose_screen,
    doctor_screen,
    error_screen,
    init_screen,
    kept_drop_screen,
    kept_list_screen,
    put_back_forecast_screen,
    put_back_screen,
    rehearse_screen,
    resume_screen,
    run_live_screen,
    run_screen,
    show_screen,
    snapshot_screen,
    snapshots_screen,
    status_screen,
    verify_screen,
    watch_screen,
)
from tests.render import samples
from tests.render.golden import NARROW, assert_golden
from tests.render.test_errors_as_people_read_them import FAILURES

PLACE = Place("heroes-production", "production", samples.TARGET, primary=True)
NOW = samples.at("03:20:24")
WAIT = "backout verify inc-3k9d --wait 6m"


@dataclass(frozen=True)
class Row:
    """Any record that the command line hands to a screen."""

    incident: str = "inc-3k9d"
    target: str = "heroes-production"
    environment: str = "production"
    now: str = "down, step 4 of 5"
    waits_for: str = ""
    acts: str = "mara.okafor"
    update_due: str = "2026-11-22T03:24:12Z"
    contained: tuple[str, ...] = ()
    next: str = "backout kept show inc-3k9d"
    column: str = "source"
    into: str = "origin"
    written: int = 2_267
    row_gone: int = 2
    already_there: int = 0
    overwritten: int = 0


def test_init_says_what_is_left_for_a_person():
    found = [
        ("tool", "node-pg-migrate 9.0.0, history in public.pgmigrations"),
        ("target", "heroes-production  PostgreSQL 16.14, 18.4 GB, primary"),
        ("DSN", "read from DATABASE_URL_DIRECT each time, never stored"),
        ("TODO", "people and roles (line 24), health URL (line 31)"),
    ]
    looked = "./package.json, migrations/ (41 files), environment"
    assert_golden("init", lambda style: init_screen(looked, found, "backout.toml", 38, style=style))


def test_doctor_ends_with_what_mends():
    assert_golden("doctor", lambda style: doctor_screen(PLACE, samples.DOCTOR, style=style))


def test_snapshot_prove_and_one_that_was_only_recorded():
    def draw(style: Style) -> str:
        return snapshot_screen(
            samples.SNAPSHOT,
            samples.PROOF,
            style=style,
            now=NOW,
            database_bytes=18_400_000_000,
            next="backout propose inc-3k9d",
        )

    assert_golden("snapshot_prove", draw)
    recorded = replace(samples.SNAPSHOT, id="rds:snap-0412", scope=Scope.RECORDED, seconds=0.0)
    text = snapshot_screen(recorded, None, style=Style(), now=NOW)
    assert "never seen by backout" in text and "not proven" in text
    wrong = replace(samples.PROOF, tables_equal=15)
    assert "NOT proven" in snapshot_screen(samples.SNAPSHOT, wrong, style=Style(), now=NOW)


def test_snapshot_list():
    found = (samples.SNAPSHOT, samples.FRESH)
    assert_golden("snapshot_list", lambda style: snapshots_screen(found, {"snap-5h2w"}, style=style, now=NOW))


def test_approved_says_who_is_missing():
    assert_golden(
        "approved",
        lambda style: approved_screen(
            (samples.SRE, samples.OWNER),
            (),
            style=style,
            now=samples.at("03:17:44"),
            next="backout run inc-3k9d",
        ),
    )
    owner = replace(samples.approval("priya.raman", Role.OWNER), accepts=("users.full_name",))
    assert_golden(
        "approved_half",
        lambda style: approved_screen(
            (owner,),
            ("sre",),
            style=style,
            now=samples.at("03:17:44"),
            next="another person, as SRE: backout approve inc-5f7n --strategy A",
        ),
    )


STEPS = (
    Step(State.PASS, "permit", "digest unchanged, 2 people"),
    Step(State.PASS, "application", "v41, confirmed by mara.okafor"),
    Step(State.PASS, "snapshot", "snap-6p0c", 110.0, 112.0),
    Step(
        State.RUNNING,
        "down",
        "waits for hero_snapshots, 14 tries of 200 ms, 21 s of 2:00",
        more=("held by pid 4127 (etl), idle in transaction 8 s",),
    ),
    Step(State.TO_COME, "verify"),
)


def test_the_live_frame_says_whom_it_waits_for_and_what_is_safe():
    def draw(style: Style) -> str:
        return run_live_screen(
            PLACE,
            "mara.okafor",
            STEPS,
            safe="nothing has changed; Ctrl-C leaves it so",
            update_due=samples.at("03:24:12"),
            style=style,
            now=NOW,
        )

    assert_golden("run_live", draw, ends_in_next=False)


def test_run_done_counts_what_was_destroyed_kept_and_lost():
    def draw(style: Style) -> str:
        return run_screen(
            samples.EXECUTION,
            samples.GREEN,
            None,
            style=style,
            now=NOW,
            rehearsal=samples.REHEARSAL,
            next="backout verify inc-3k9d --watch 30m",
        )

    assert_golden("run", draw)
    again = run_screen(
        samples.EXECUTION,
        samples.VERIFIED,
        None,
        style=Style(),
        next="backout verify inc-3k9d --watch 30m",
        again=True,
    )
    assert "nobody watches" in again


def test_run_done_with_an_unknown_check_is_backed_out_and_exit_1():
    text = run_screen(samples.EXECUTION, samples.VERIFIED, None, style=Style(), now=NOW, next=WAIT)
    assert "Backed out at" in text and "exit 1" in text and "? etl" in text


def test_resume_looks_before_it_acts():
    looked = (
        Check("sessions", CheckState.PASS, "none of this run is left on db-1"),
        Check("commit", CheckState.PASS, "transaction 48211903 committed"),
        Check("migration", CheckState.PASS, "hero-snapshots-v2 is gone from pgmigrations"),
    )
    last = Entry(
        "inc-3k9d",
        12,
        "2026-11-22T03:20:26Z",
        "mara.okafor",
        EntryKind.STARTED,
        "r1.execution.down",
        1,
        {},
        "",
        "",
    )
    done = replace(samples.EXECUTION, how="found done")
    assert_golden(
        "resume",
        lambda style: resume_screen(
            last,
            looked,
            done,
            samples.GREEN,
            None,
            style=style,
            now=NOW,
            next="backout kept list inc-3k9d",
        ),
    )


@dataclass(frozen=True)
class Age:
    incident: str = "inc-2b7q"
    target: str = "heroes-production"
    values: int = 1_001
    kept_at: str = "2026-11-19T03:20:27Z"
    wanted_until: str = "2027-02-17T03:20:27Z"
    over: bool = False


OLD = Age("inc-1a2b", kept_at="2026-08-01T00:00:00Z", wanted_until="2026-10-30T00:00:00Z", over=True)


@dataclass(frozen=True)
class Drop:
    incident: str = "inc-1a2b"
    tables: int = 1
    reason: str = "exported to the archive, ticket OPS-17"
    age: Age = OLD
    dropped: bool = False
    next: str = "backout kept drop inc-1a2b --reason TEXT --as NAME"


def test_kept_values_have_an_age_and_an_end():
    listed = Listed((), (), kept=(OLD, Age()))
    assert_golden("status_kept", lambda style: status_screen(listed, style=style, now=NOW))
    assert_golden("kept_drop", lambda style: kept_drop_screen(Drop(), style=style, now=NOW))
    gone = Drop(dropped=True, next="nothing")
    assert_golden("kept_dropped", lambda style: kept_drop_screen(gone, style=style, now=NOW))


@dataclass(frozen=True)
class Listed:
    incidents: tuple[Row, ...]
    warnings: tuple[str, ...] = ("backout_exc_77aa_0 is left on scratch-16: backout copies",)
    next: str = "nothing"
    kept: tuple[Age, ...] = ()


def test_status_puts_the_overdue_and_the_waiting_first():
    rows = (
        Row(contained=("etl since 02:58:30 UTC (22 min ago)",)),
        Row(
            incident="inc-8w2r",
            target="billing-staging",
            environment="staging",
            waits_for="the owner",
            acts="ben",
            update_due="2026-11-22T03:18:14Z",
            next="backout approve inc-8w2r",
        ),
    )

    def draw(style: Style) -> str:
        return status_screen(
            Listed(rows),
            style=style,
            now=NOW,
            safe="heroes-production unchanged so far; billing-staging unchanged",
        )

    assert_golden("status", draw)
    assert "incident: inc-8w2r" in draw(NARROW)
    assert status_screen(Listed(()), style=Style(), now=NOW).endswith("next: nothing")


def known(**more: Any) -> Known:
    return Known(
        samples.INCIDENT,
        triage=samples.TRIAGE,
        snapshot=samples.SNAPSHOT,
        proof=samples.PROOF,
        rehearsals=(samples.REHEARSAL,),
        proposals=samples.PROPOSALS,
        digests=tuple(samples.DIGESTS.items()),
        **more,
    )


def test_show_is_the_condensed_checklist_live():
    assert_golden(
        "show_waiting",
        lambda style: show_screen(
            known(approvals=(samples.SRE,), missing=("owner",), notices=2),
            style=style,
            now=NOW,
            next="backout approve inc-3k9d",
        ),
    )
    done = known(
        approvals=(samples.SRE, samples.OWNER),
        execution=samples.EXECUTION,
        verification=samples.GREEN,
        notices=5,
        resolved=True,
    )
    assert_golden("show_done", lambda style: show_screen(done, style=style, now=NOW))
    begun = show_screen(Known(samples.INCIDENT), style=Style(), now=NOW)
    assert "0 of 7 lines of the checklist are done" in begun


def test_verify_never_counts_unknown_as_passed():
    assert_golden("verify", lambda style: verify_screen(samples.VERIFIED, None, style=style, next=WAIT))
    green = verify_screen(samples.GREEN, WATCHED, style=Style(), next="nothing")
    assert "exit" not in green


WATCHED = Watch(1800.0, 360, None, stopped_early=False)
CAME_BACK = Watch(
    41.0,
    9,
    WatchSample(
        "2026-11-22T03:21:08Z", True, False, "in transaction 754, seen: app node-pg-migrate from 10.0.0.9"
    ),
    False,
)


def test_a_migration_that_comes_back_is_an_alarm():
    def draw(style: Style) -> str:
        return watch_screen(PLACE, "inc-3k9d", CAME_BACK, style=style, now=NOW)

    assert_golden("watch_came_back", draw)
    assert_golden("watch", lambda style: watch_screen(PLACE, "inc-3k9d", WATCHED, style=style, now=NOW))
    early = watch_screen(PLACE, "inc-3k9d", replace(WATCHED, stopped_early=True), style=Style(), now=NOW)
    assert "nobody holds the migration now" in early


def test_kept_list_and_put_back_sum_up():
    assert_golden(
        "kept_list",
        lambda style: kept_list_screen("inc-3k9d", samples.KEPT, style=style, age=Age("inc-3k9d"), now=NOW),
    )
    assert_golden("put_back", lambda style: put_back_screen(Row(), style=style))
    forecast = put_back_forecast_screen(Row(already_there=3), style=Style())
    assert "Nothing was written yet." in forecast
    assert "2,272 kept values = 2,267 written + 2 row gone + 3 left alone" in forecast
    assert "keeps no value" in kept_list_screen("inc-3k9d", (), style=Style())


@dataclass(frozen=True)
class Copy:
    database: str
    lease_until: str
    bytes: int = 18_000_000_000
    server: str = "scratch-16"
    of: str = "heroes-production"
    made_at: str = "2026-11-22T03:10:00Z"


@dataclass(frozen=True)
class Server:
    name: str
    running: bool = True
    ours: bool = True
    held_until: str = ""
    directory: str = "/var/lib/backout/copies/scratch-18/data"


@dataclass(frozen=True)
class Copies:
    copies: tuple[Copy, ...] = ()
    servers: tuple[Server, ...] = ()
    stopped: tuple[str, ...] = ()
    instances: tuple[Restored, ...] = ()
    next: str = "nothing"


@dataclass(frozen=True)
class Restored:
    name: str
    target: str = "just before the commit of transaction 764 (0/3013780)"
    serves: str = ""
    directory: str = "/var/tmp/backout-9a0c/data"
    lease_until: str = ""


def test_a_restored_cluster_that_serves_is_named_so():
    answer = Copies(instances=(Restored("inc-3k9d-before"), Restored("inc-3k9d-new", serves="10.0.0.7:5433")))
    shown = " ".join(copies_screen(answer, style=Style(), now=NOW).split())
    assert "inc-3k9d-new serves on 10.0.0.7:5433" in shown
    assert "isolated; it goes when its incident is closed" in shown


def test_a_restored_cluster_of_no_incident_names_its_lease():
    alone = Restored("rst-7k2m-1", lease_until="2026-11-23T03:10:00Z")
    shown = " ".join(copies_screen(Copies(instances=(alone,)), style=Style(), now=NOW).split())
    assert "isolated; its lease ends in " in shown
    late = Restored("rst-7k2m-1", lease_until="2026-11-21T03:10:00Z")
    shown = " ".join(copies_screen(Copies(instances=(late,)), style=Style(), now=NOW).split())
    assert "isolated; its lease is over for " in shown


def test_copies_name_their_lease():
    copies = (
        Copy("backout_inc_3k9d_0", "2026-11-22T09:10:00Z"),
        Copy("backout_exc_77aa_0", "2026-11-22T01:10:00Z", 400_000_000),
    )
    held = Server("scratch-16", held_until="2026-11-22T09:10:00Z")
    answer = Copies(copies, (held, Server("scratch-18", running=False)), next="backout copies --stop")
    assert_golden("copies", lambda style: copies_screen(answer, style=style, now=NOW))
    assert copies_screen(Copies(), style=Style(), now=NOW).endswith("next: nothing")


def test_a_server_that_was_stopped_is_named_with_its_proof():
    answer = Copies(servers=(Server("named:db-9:5432", ours=False),), stopped=("scratch-16",))
    assert_golden("copies_stopped", lambda style: copies_screen(answer, style=style, now=NOW))


STOPPED = "systemctl stop etl, found running, now inactive"


def test_contain_says_what_it_found_and_where_it_stands():
    assert_golden(
        "contain",
        lambda style: contain_screen(
            "etl", "contained", STOPPED, style=style, next="backout release --name etl"
        ),
    )
    released = contain_screen("etl", "released", STOPPED, style=Style(), next="nothing")
    assert "stands on" not in released


def test_diagnose_shows_the_failure_without_its_secrets():
    failed = replace(
        samples.EXECUTION,
        outcome=Outcome.UNTOUCHED,
        tool_exit=1,
        diagnostics=samples.DIAGNOSTICS,
        values_destroyed=0,
        values_kept=0,
    )
    assert_golden("diagnose", lambda style: diagnose_screen(PLACE, "inc-3k9d", failed, style=style))


def test_an_exercise_answers_what_tonight_would_cost():
    def draw(style: Style, proposals: Proposals = samples.PROPOSALS) -> str:
        return rehearse_screen(
            "exc-77aa",
            PLACE,
            samples.TRIAGE,
            proposals,
            (samples.REHEARSAL,),
            style=style,
            now=NOW,
            snapshot=samples.SNAPSHOT,
        )

    assert_golden("rehearse", draw)
    assert "no way back can be recommended" in draw(Style(), replace(samples.PROPOSALS, recommended=""))


def test_every_screen_fits_a_narrow_terminal():
    texts = [
        doctor_screen(PLACE, samples.DOCTOR, style=NARROW),
        verify_screen(samples.VERIFIED, WATCHED, style=NARROW, next=WAIT),
        kept_list_screen("inc-3k9d", samples.KEPT, style=NARROW),
        show_screen(known(), style=NARROW, now=NOW),
        run_live_screen(PLACE, "mara.okafor", STEPS, safe="x", update_due=None, style=NARROW, now=NOW),
        error_screen(FAILURES["no_lock"], style=NARROW),
    ]
    for text in texts:
        body = [line for line in text.splitlines() if not line.startswith("next: ")]
        assert max(len(line) for line in body) <= NARROW.width
