"""Targets are typed: what they ask of the server, what counts as reached, which backup they need; pure."""

from __future__ import annotations

import pytest

from backout.errors import Refused
from backout.model.recovery import (
    Commit,
    FirstRecord,
    ForReplay,
    Line,
    Lsn,
    NamedPoint,
    RecoveryTarget,
    TwinAfter,
    TwinBefore,
)
from backout.ports.backups import Backup
from backout.postgres.physical.choose import choose
from backout.postgres.physical.recovery import find_stop, fits, replayed_as_told, target_settings
from backout.postgres.physical.wal import begin_of, number_of, segment_of, segments
from backout.records import codec

LINE = Line("77", 3)
NAMED = ForReplay(LINE, NamedPoint("before_it", Lsn.parse("0/5000100")))
FIRST = ForReplay(LINE, FirstRecord(Lsn.parse("0/5000100")))
BEFORE = TwinBefore(LINE, Commit(751, Lsn.parse("0/5000100")))
AFTER = TwinAfter(LINE, Commit(751, Lsn.parse("0/5000100")))
TARGETS = (NAMED, FIRST, BEFORE, AFTER)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_target_is_explicit_on_a_named_timeline_and_never_a_time(target: RecoveryTarget):
    settings = target_settings(target)
    assert settings["recovery_target_timeline"] == "3"
    assert settings["recovery_target_action"] == "pause"
    assert len({"recovery_target_name", "recovery_target_lsn", "recovery_target_xid"} & settings.keys()) == 1
    assert "recovery_target_time" not in settings


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_target_in_the_journal_is_read_back_as_the_same_target(target: RecoveryTarget):
    assert codec.load_plain(RecoveryTarget, codec.plain(target)) == target  # type: ignore[arg-type]


LOGS = {
    NAMED: 'LOG:  recovery stopping at restore point "before_it", time 2026-11-28 08:00:00',
    FIRST: 'LOG:  recovery stopping before WAL location (LSN) "0/5000100"',
    BEFORE: "LOG:  recovery stopping before commit of transaction 751, time 2026-11-28",
    AFTER: "LOG:  recovery stopping after commit of transaction 751, time 2026-11-28",
}


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_only_its_own_line_of_the_log_is_evidence_for_a_target(target: RecoveryTarget):
    for other, log in LOGS.items():
        stop = find_stop(f"LOG:  starting\n{log}\nLOG:  pausing at the end of recovery")
        assert stop is not None
        assert fits(stop, target) == (other == target)


def test_another_restore_point_of_the_same_name_is_not_the_target():
    assert replayed_as_told(Lsn.parse("0/5000100"), NAMED)
    assert not replayed_as_told(Lsn.parse("0/4000100"), NAMED)


def test_both_sides_of_a_commit_are_told_apart_by_what_was_replayed():
    at, behind = Lsn.parse("0/5000100"), Lsn.parse("0/5000130")
    assert replayed_as_told(at, BEFORE)
    assert not replayed_as_told(behind, BEFORE)
    assert replayed_as_told(behind, AFTER)
    assert not replayed_as_told(at, AFTER)


def backup(label: str, stop: str, timeline: int = 3, system: str = "77") -> Backup:
    at = Lsn.parse(stop)
    return Backup(label, "base_backup", system, 16, timeline, at, at, "2026-11-28T08:00:00Z", 1)


def test_the_newest_backup_that_is_whole_before_the_target_is_chosen():
    there = [backup("old", "0/3000000"), backup("older", "0/2000000"), backup("newer", "0/6000000")]
    assert choose(there, BEFORE).id == "old"
    at_it = [backup("same", "0/5000100"), *there]
    assert choose(at_it, NAMED).id == "old", "the restore point ends where this backup does"
    assert choose(at_it, BEFORE).id == "same"


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ((), "there is no base backup"),
        (
            (backup("x", "0/6000000"),),
            "every backup is newer than the target: the oldest, x, is whole from 0/6",
        ),
        ((backup("x", "0/3000000", timeline=2),), "the target lies on timeline 3, the backups .* timeline 2"),
        (
            (backup("x", "0/3000000", system="78"),),
            "the backups are of another cluster.*78, the target has 77",
        ),
    ],
)
def test_no_fitting_backup_is_refused_with_the_reason(there: tuple[Backup, ...], reason: str):
    with pytest.raises(Refused, match=reason):
        choose(there, NAMED)


def test_segment_names_count_on_across_the_logical_file():
    assert segment_of(1, Lsn.parse("0/FF000000")) == "0000000100000000000000FF"
    assert segments(1, Lsn.parse("0/FF000000"), Lsn.parse("1/1000000")) == (
        "0000000100000000000000FF",
        "000000010000000100000000",
        "000000010000000100000001",
    )
    assert number_of("000000010000000100000001") == 257
    assert str(begin_of("000000010000000100000001")) == "1/1000000"
    assert segment_of(1, Lsn.parse("1/0"), 1 << 20) == "000000010000000100000000"
