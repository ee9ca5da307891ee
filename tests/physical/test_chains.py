"""Decisions about chains of base backups: incremental or full, usable or not, kept or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backout.model.recovery import Lsn
from backout.ports.backups import Backup
from backout.postgres.physical.chain import Source, missing, newest_for, removable, usable, why_full

SERVER = Source("postgres", 18, 1 << 30, "7", 1, summarizes=True)


def backup(name: str, *needs: str) -> Backup:
    return Backup(name, "base_backup", "7", 18, 1, Lsn(1), Lsn(2), "2026-01-01T00:00:00Z", 1, needs=needs)


FULL, FIRST, SECOND = backup("f"), backup("i1", "f"), backup("i2", "f", "i1")


def test_an_incremental_one_follows_until_the_chain_is_long_enough():
    assert why_full(SERVER, FULL, 2) == ""
    assert why_full(SERVER, FIRST, 2) == ""
    assert why_full(SERVER, SECOND, 2) == "2 incremental ones followed f, and incrementals = 2"


@pytest.mark.parametrize(
    ("server", "newest", "limit", "why"),
    [
        (SERVER, FULL, 0, "incrementals = 0"),
        (replace(SERVER, major=16, summarizes=False), FULL, 6, "PostgreSQL 16 takes no"),
        (replace(SERVER, summarizes=False), FULL, 6, "summarize_wal is off"),
        (SERVER, None, 6, "it is the first one"),
        (replace(SERVER, system_identifier="8"), FULL, 6, "f is of another cluster"),
        (replace(SERVER, timeline=2), FULL, 6, "f is of timeline 1, the server is on 2"),
    ],
    ids=["never", "16", "no summaries", "first", "cluster", "failover"],
)
def test_everything_is_copied_and_the_reason_is_told(
    server: Source, newest: Backup | None, limit: int, why: str
):
    assert why in why_full(server, newest, limit)


def test_the_newest_of_this_line_is_built_upon_although_another_line_lies_higher():
    old_cluster = replace(FULL, id="old", system_identifier="6", stop=Lsn(900))
    before_failover = replace(FULL, id="t2", timeline=2, stop=Lsn(800))
    newest = newest_for(SERVER, (FULL, old_cluster, before_failover))
    assert newest is not None and newest.id == "f"
    assert newest_for(SERVER, (old_cluster,)) == old_cluster, "the reason for a full one names it"
    assert newest_for(SERVER, ()) is None


def test_a_backup_without_what_it_needs_is_not_usable():
    assert usable((FULL, SECOND)) == (FULL,)
    assert missing(SECOND, (FULL, SECOND)) == ("i1",)
    assert usable((FULL, FIRST, SECOND)) == (FULL, FIRST, SECOND)


def test_retention_lets_no_backup_go_that_a_kept_one_needs():
    other = backup("g")
    assert removable((FULL, FIRST, SECOND, other), 0) == ()
    assert removable((FULL, FIRST, SECOND, other), 2) == ()
    assert removable((FULL, FIRST, SECOND, other), 1) == (SECOND, FIRST, FULL), "what needs others goes first"
    assert removable((FULL, other, backup("h", "g")), 1) == (FULL,)
