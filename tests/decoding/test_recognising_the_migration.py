"""The migration's transactions are told apart when they have committed, and only by what they carry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backout.model.changes import Marker, Transaction
from backout.postgres.decoding.buffer import Buffer
from backout.postgres.decoding.recognise import RecognisedBy, Signs, recognise
from backout.postgres.decoding.transactions import BufferedChanges
from tests.decoding.world import World

SIGNS = Signs(frozenset({"backout_inc_1"}), frozenset({"inc-1"}), frozenset({(7 << 32) | 764}))


def one(*, xid: int = 1, origin: str | None = None, markers: tuple[Marker, ...] = ()) -> Transaction:
    nothing = BufferedChanges(Buffer(Path("/nonexistent")), {}, 0)
    return Transaction(xid, 1, 2, datetime(2026, 1, 1, tzinfo=UTC), origin, markers, 0, 0, nothing)


def marker(*, transactional: bool = True, **body: object) -> Marker:
    return Marker(1, "", body, transactional)


MIGRATION = marker(kind="migration", incident="inc-1")


@pytest.mark.parametrize(
    ("transaction", "by"),
    [
        (one(), None),
        (one(origin="somebody"), None),
        (one(origin="backout_inc_1"), RecognisedBy.ORIGIN),
        (one(markers=(MIGRATION,)), RecognisedBy.MARKER),
        (one(markers=(marker(kind="end", incident="inc-1"), MIGRATION)), RecognisedBy.MARKER),
        (one(markers=(marker(kind="end", incident="inc-1"),)), None),
        (one(markers=(marker(kind="migration", incident="inc-2"),)), None),
        (one(markers=(marker(kind="migration", incident="inc-1", transactional=False),)), None),
        (one(xid=764), RecognisedBy.XID),
        (one(xid=763), None),
    ],
)
def test_any_sign_is_enough_and_none_is_none(transaction: Transaction, by: RecognisedBy | None):
    assert recognise(transaction, SIGNS) is by


def test_without_signs_everything_is_the_applications():
    assert recognise(one(origin="x", markers=(MIGRATION,)), Signs()) is None


MARK = """SELECT pg_logical_emit_message(true, 'backout', '{"incident": "inc-1", "kind": "migration"}')"""


def test_trap_3_a_marker_in_a_savepoint_comes_after_the_first_change(world: World):
    """So nothing may be decided at the first change."""
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    world.on_source(
        f"BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a; {MARK}; INSERT INTO t VALUES (2); RELEASE a; COMMIT",
        "INSERT INTO t VALUES (3)",
        f"BEGIN; INSERT INTO t VALUES (4); SAVEPOINT a; {MARK}; ROLLBACK TO a; COMMIT",
    )
    with world.transactions(start) as found:
        told = [(recognise(one, SIGNS), one.count) for one in found]
    assert told == [(RecognisedBy.MARKER, 2), (None, 1), (None, 1), (None, 0)]


def test_trap_6_the_xid_of_a_savepoint_is_not_in_the_stream(world: World):
    """The history row is written inside a savepoint: its xmin is not the transaction's id."""
    world.on_source("CREATE TABLE history (name text PRIMARY KEY)")
    start = world.arm("history")
    world.on_source(
        "BEGIN; CREATE TABLE made (id int); SAVEPOINT a; INSERT INTO history VALUES ('m'); RELEASE a; COMMIT"
    )
    xmin = int(str(world.rows("SELECT xmin::text FROM history")[0][0]))
    with world.transactions(start) as found:
        told = next(found)
        assert told.count == 1
        assert recognise(told, Signs(xids=frozenset({xmin}))) is None
        assert recognise(told, Signs(xids=frozenset({told.xid}))) is RecognisedBy.XID
        assert told.xid == xmin - 1


def test_an_origin_set_at_the_end_covers_the_whole_transaction(world: World):
    world.on_source("CREATE TABLE t (id int PRIMARY KEY)")
    start = world.arm("t")
    name = f"origin_{world.source_database}"
    world.on_source(
        f"SELECT pg_replication_origin_create('{name}')",
        "INSERT INTO t VALUES (1)",
        f"BEGIN; INSERT INTO t VALUES (2); SELECT pg_replication_origin_session_setup('{name}'); COMMIT",
    )
    with world.transactions(start) as found:
        assert [one.origin for one in found] == [None, name, None]
    world.on_source(f"SELECT pg_replication_origin_drop('{name}')")
