"""Transactions out of messages: whole or not at all, in bounded memory, with nothing left behind."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backout.errors import Stopped
from backout.model.changes import (
    ChangedColumn,
    ChangedRelation,
    OldImage,
    ReplicaIdentity,
    RowChange,
    Transaction,
    Truncation,
)
from backout.postgres.decoding.buffer import Buffer
from backout.postgres.decoding.messages import (
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Parsed,
    Truncate,
    UnreadableStream,
    Update,
)
from backout.postgres.decoding.stream import Silence
from backout.postgres.decoding.transactions import Assembler, DeadlinePassed, End, Idle, read
from tests.decoding.encoder import encode

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def table(*columns: str, oid: int = 1, name: str = "t") -> ChangedRelation:
    described = tuple(ChangedColumn(column, 25, -1, column == "id") for column in columns)
    return ChangedRelation(oid, "public", name, ReplicaIdentity.DEFAULT, described)


def transaction(number: int, *inside: Parsed) -> list[Parsed]:
    """It begins at number * 100 and ends at number * 100 + 50."""
    commit = number * 100 + 40
    return [Begin(commit, NOW, number), *inside, Commit(commit, commit + 10, NOW)]


def marker(text: str, *, transactional: bool = True, prefix: str = "backout") -> Message:
    return Message(transactional, 1, prefix, text.encode())


def fed(assembler: Assembler, parsed: Iterable[Parsed]) -> list[Transaction]:
    found = [assembler.feed(encode(message)) for message in parsed]
    return [one for one in found if one is not None]


@pytest.fixture
def assembler(tmp_path: Path) -> Assembler:
    return Assembler(0, tmp_path)


def test_changes_come_in_order_and_can_be_walked_again(assembler: Assembler):
    (one,) = fed(
        assembler,
        transaction(
            1,
            table("id", "v"),
            Insert(1, ("1", "a")),
            Update(1, OldImage.NONE, (), ("1", "b")),
            Delete(1, OldImage.KEY, ("1", None)),
            Truncate((1,), False, True),
        ),
    )
    kinds = ["insert", "update", "delete", "truncate"]
    for _ in range(2):
        assert [change.kind for change in one.changes] == kinds
    assert [(change.commit_lsn, change.sequence) for change in one.changes] == [(140, n) for n in range(4)]
    assert (one.xid, one.commit_lsn, one.end_lsn, one.count) == (1, 140, 150, 4)
    assert isinstance(list(one.changes)[3], Truncation)


def test_nothing_is_handed_out_before_the_commit(assembler: Assembler):
    assert fed(assembler, transaction(1, table("id"), Insert(1, ("1",)))[:-1]) == []


def test_a_table_described_earlier_is_known_later(assembler: Assembler):
    first, second = fed(
        assembler,
        [*transaction(1, table("id"), Insert(1, ("1",))), *transaction(2, Insert(1, ("2",)))],
    )
    assert [change.relation.names for change in second.changes if isinstance(change, RowChange)] == [("id",)]
    assert first.count == 1


def test_a_table_that_changes_is_read_as_it_was_at_each_change(assembler: Assembler):
    first, second, third = fed(
        assembler,
        [
            *transaction(1, table("id"), Insert(1, ("1",))),
            *transaction(2, Insert(1, ("2",)), table("id", "v"), Insert(1, ("3", "x"))),
            *transaction(3, table("id", "renamed"), Insert(1, ("4", "y"))),
        ],
    )
    told = [
        [c.new_values() for c in one.changes if isinstance(c, RowChange)] for one in (third, second, first)
    ]
    assert told == [[{"id": "4", "renamed": "y"}], [{"id": "2"}, {"id": "3", "v": "x"}], [{"id": "1"}]]


def test_origin_and_markers_belong_to_their_transaction(assembler: Assembler):
    first, second = fed(
        assembler,
        [
            *transaction(1, Origin(5, "backout_inc_1"), marker('{"kind": "migration"}')),
            *transaction(2, marker("no json"), marker("[1]"), marker('{"a": 1}', prefix="other")),
        ],
    )
    assert first.origin == "backout_inc_1"
    assert [m.kind for m in first.markers] == ["migration"]
    assert second.origin is None
    assert [(m.text, m.body) for m in second.markers] == [("no json", {}), ("[1]", {})]


def test_a_marker_outside_transactions_is_of_no_transaction(assembler: Assembler):
    outside: list[Parsed] = [marker("{}", transactional=False)]
    (one,) = fed(assembler, [*outside, *transaction(1)])
    assert one.markers == ()


def test_what_was_applied_before_the_start_is_left_out(tmp_path: Path):
    assembler = Assembler(150, tmp_path)
    found = fed(assembler, [*transaction(1, table("id"), Insert(1, ("1",))), *transaction(2)])
    assert [one.xid for one in found] == [2]


def test_a_commit_that_was_said_to_be_sent_already_is_refused(assembler: Assembler):
    assembler.idle_at(500)
    with pytest.raises(UnreadableStream, match="said to be sent"):
        fed(assembler, transaction(1))


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([Insert(1, ("1",))], "a change outside a transaction"),
        ([Commit(1, 2, NOW)], "a commit outside"),
        ([Origin(1, "x")], "an origin outside"),
        ([table("id")], "description outside"),
        ([marker("{}")], "message outside"),
        ([Begin(1, NOW, 1), Begin(2, NOW, 2)], "inside another one"),
        ([Begin(1, NOW, 1), Commit(2, 3, NOW)], "was committed at"),
    ],
)
def test_messages_in_an_impossible_order_are_refused(assembler: Assembler, messages: list[Parsed], why: str):
    with pytest.raises(UnreadableStream, match=why):
        fed(assembler, messages)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (Insert(9, ("1",)), "oid 9"),
        (Insert(1, ("1", "2", "3")), "3 cells for public.t, which has 2 columns"),
        (Update(1, OldImage.KEY, ("1",), ("1", "2")), "1 cells"),
    ],
)
def test_a_row_that_does_not_fit_its_table_is_refused(assembler: Assembler, change: Parsed, why: str):
    (one,) = fed(assembler, transaction(1, table("id", "v"), change))
    with pytest.raises(UnreadableStream, match=why):
        list(one.changes)


# --- memory and files


@given(st.lists(st.binary(max_size=200), max_size=60), st.integers(1, 2000))
def test_a_buffer_gives_back_what_it_took(tmp_path_factory, messages: list[bytes], budget: int):
    buffer = Buffer(tmp_path_factory.getbasetemp(), budget)
    for message in messages:
        buffer.append(message)
        assert buffer.in_memory <= budget
    assert list(buffer) == messages == list(buffer)
    buffer.close()


def test_two_walks_over_a_file_do_not_disturb_each_other(tmp_path: Path):
    buffer = Buffer(tmp_path, 100)
    for n in range(1000):
        buffer.append(b"%d" % n)
    first, second = iter(buffer), iter(buffer)
    assert [next(first), next(first), next(second), next(first)] == [b"0", b"1", b"0", b"2"]
    assert buffer.spilled
    buffer.close()
    buffer.close()


def test_a_spilled_transaction_has_no_file_that_could_stay_behind(tmp_path: Path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    assembler = Assembler(0, tmp_path, budget=1000)
    (one,) = fed(assembler, transaction(1, table("id"), *(Insert(1, (str(n),)) for n in range(500))))
    assert list(tmp_path.iterdir()) == []
    assert len(list(one.changes)) == 500
    one.changes.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_memory_does_not_grow_with_the_transaction(tmp_path: Path):
    assembler = Assembler(0, tmp_path, budget=100_000)
    rows = [encode(Insert(1, (str(n), "some value of an ordinary length"))) for n in range(100)]
    tracemalloc.start()
    try:
        fed(assembler, [Begin(140, NOW, 1), table("id", "v")])
        for _ in range(300):
            for row in rows:
                assembler.feed(row + b"")
        one = assembler.feed(encode(Commit(140, 150, NOW)))
        assert one is not None
        assert sum(1 for _ in one.changes) == one.count == 30_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20
    one.changes.close()


def test_a_directory_without_room_stops_in_words(tmp_path: Path):
    buffer = Buffer(tmp_path / "missing", 10)
    with pytest.raises(Stopped, match="found no room") as told:
        buffer.append(b"x" * 100)
    assert told.value.next


# --- where reading ends


def frames(*parts: list[Parsed] | int) -> Iterator[bytes | Silence]:
    """Messages, and numbers: the server says that it has sent everything up to there."""
    for part in parts:
        if isinstance(part, int):
            yield Silence(part)
        else:
            yield from (encode(message) for message in part)


def events(assembler: Assembler, end: End, *parts: list[Parsed] | int) -> list[int]:
    found = read(frames(*parts), assembler, end)
    return [event.lsn if isinstance(event, Idle) else event.xid for event in found]


def test_reading_ends_at_a_position_that_a_transaction_reaches(assembler: Assembler):
    assert events(assembler, End(lsn=150), transaction(1), transaction(2)) == [1]


def test_reading_ends_at_a_position_that_nothing_more_comes_before(assembler: Assembler):
    assert events(assembler, End(lsn=180), transaction(1), 170, 180, 190) == [1, 170, 180]


def test_a_position_said_inside_a_transaction_does_not_count(assembler: Assembler):
    open_one = transaction(2, table("id"), Insert(1, ("1",)))
    found = events(assembler, End(lsn=260), transaction(1), open_one[:2], 300, open_one[2:], 260)
    assert found == [1, 150, 2, 260]


def test_reading_ends_behind_the_marker(assembler: Assembler):
    wanted = End(marker={"kind": "end", "incident": "inc-1"})
    others = marker('{"kind": "end", "incident": "inc-2"}')
    ours = marker('{"kind": "end", "incident": "inc-1", "step": "fence"}')
    found = events(assembler, wanted, transaction(1, others), transaction(2, ours), transaction(3))
    assert found == [1, 2]


def test_a_deadline_ends_reading_in_words_even_inside_a_transaction(assembler: Assembler):
    found = read(frames(transaction(1), 200), assembler, End(), deadline=0.0)
    with pytest.raises(DeadlinePassed, match="not reached in time") as told:
        list(found)
    assert told.value.intact
