"""What the server encodes is what we read; anything else is refused in words, never half understood."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backout.errors import BackoutError
from backout.model.changes import (
    UNCHANGED,
    ChangedColumn,
    ChangedRelation,
    ChangeKind,
    OldImage,
    ReplicaIdentity,
    RowChange,
    lsn_of,
    lsn_text,
)
from backout.postgres.decoding.messages import (
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Truncate,
    Type,
    UnreadableStream,
    Update,
    parse,
)
from tests.decoding.encoder import encode

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
moments = st.integers(-(10**15), 6 * 10**15).map(
    lambda microseconds: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=63)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
cells = st.lists(values | st.none() | st.just(UNCHANGED), max_size=20).map(tuple)
columns = st.builds(ChangedColumn, names, u32, st.integers(-1, 2**31 - 1), st.booleans())
relations = st.builds(
    ChangedRelation, u32, names, names, st.sampled_from(ReplicaIdentity), st.lists(columns).map(tuple)
)
updates = st.one_of(
    st.builds(Update, u32, st.just(OldImage.NONE), st.just(()), cells),
    st.builds(Update, u32, st.sampled_from([OldImage.KEY, OldImage.FULL]), cells, cells),
)
messages = st.one_of(
    st.builds(Begin, u64, moments, u32),
    st.builds(Commit, u64, u64, moments),
    st.builds(Origin, u64, names),
    relations,
    st.builds(Type, u32, names, names),
    st.builds(Insert, u32, cells),
    updates,
    st.builds(Delete, u32, st.sampled_from([OldImage.KEY, OldImage.FULL]), cells),
    st.builds(Truncate, st.lists(u32).map(tuple), st.booleans(), st.booleans()),
    st.builds(Message, st.booleans(), u64, names, st.binary()),
)


@given(messages)
def test_what_is_encoded_is_read(message):
    assert parse(encode(message)) == message


@given(messages, st.data())
def test_a_message_cut_anywhere_is_refused(message, data):
    whole = encode(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(UnreadableStream):
        parse(whole[:cut])


@given(messages, st.binary(min_size=1))
def test_bytes_behind_a_message_are_refused(message, more):
    with pytest.raises(UnreadableStream):
        parse(encode(message) + more)


@given(st.binary())
def test_no_bytes_at_all_bring_another_error(data):
    try:
        parse(data)
    except UnreadableStream as error:
        assert error.next
        assert error.intact


@given(messages, st.data())
def test_a_flipped_byte_is_read_or_refused(message, data):
    whole = bytearray(encode(message))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        parse(bytes(whole))
    except BackoutError:
        return


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, 5])
def test_a_hostile_length_says_what_is_left(length: int):
    row = struct.pack(">IcHci", 16384, b"N", 1, b"t", length) + b"abcd"
    with pytest.raises(UnreadableStream, match=f"a length of {length} where 4 bytes are left"):
        parse(b"I" + row)


def test_a_hostile_number_of_tables_is_refused():
    with pytest.raises(UnreadableStream, match="a length of"):
        parse(b"T" + struct.pack(">IB", 2**32 - 1, 0))


def test_a_binary_cell_is_refused():
    with pytest.raises(UnreadableStream, match="kind 'b'"):
        parse(b"I" + struct.pack(">IcHcI", 1, b"N", 1, b"b", 0))


@pytest.mark.parametrize("kind", [b"S", b"E", b"c", b"A"])
def test_streamed_transactions_are_refused_by_name(kind: bytes):
    with pytest.raises(UnreadableStream, match="protocol 2"):
        parse(kind + b"\0" * 20)


@pytest.mark.parametrize("kind", [b"b", b"P", b"K", b"r", b"p"])
def test_prepared_transactions_are_refused_by_name(kind: bytes):
    with pytest.raises(UnreadableStream, match="protocol 3"):
        parse(kind + b"\0" * 20)


# --- what a change tells

TABLE = ChangedRelation(
    1,
    "public",
    "t",
    ReplicaIdentity.DEFAULT,
    (
        ChangedColumn("id", 23, -1, True),
        ChangedColumn("body", 25, -1, False),
        ChangedColumn("n", 23, -1, False),
    ),
)


def update(image: OldImage, old, new) -> RowChange:
    return RowChange(TABLE, ChangeKind.UPDATE, 7, 0, image, old, new)


def test_an_unchanged_toast_value_is_left_out_and_never_null():
    change = update(OldImage.NONE, (), ("1", UNCHANGED, None))
    assert change.new_values() == {"id": "1", "n": None}
    assert change.key(("id",)) == ("1",)
    with pytest.raises(KeyError):
        change.key(("body",))


def test_a_full_old_image_gives_the_unchanged_toast_value():
    change = update(OldImage.FULL, ("1", "long", "2"), ("1", UNCHANGED, "3"))
    assert change.new_values() == {"id": "1", "body": "long", "n": "3"}


def test_a_key_image_tells_the_key_and_its_nulls_tell_nothing():
    change = update(OldImage.KEY, ("1", None, None), ("2", UNCHANGED, "3"))
    assert change.old_values() == {"id": "1"}
    assert change.key(("id",)) == ("1",)
    with pytest.raises(KeyError):
        change.key(("n",))


def test_identity_full_names_no_key():
    full = ChangedRelation(1, "public", "t", ReplicaIdentity.FULL, TABLE.columns)
    assert full.key == ()
    assert TABLE.key == ("id",)


@given(u64)
def test_positions_are_written_and_read(lsn: int):
    assert lsn_of(lsn_text(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "1", "/", "1/", "g/1", "1/123456789", "123456789/1"])
def test_what_is_no_position_is_refused(text: str):
    with pytest.raises(ValueError):
        lsn_of(text)
