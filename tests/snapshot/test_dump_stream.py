"""The reader of a dump's text, cut at every byte: what it finds does not depend on how the bytes arrive."""

from __future__ import annotations

import hashlib
import io
from typing import IO, cast

import pytest

from backout.errors import Refused
from backout.postgres.dump_stream import Contents, read_contents

TEXT = rb"""--
-- PostgreSQL database dump
--
\restrict abc'"
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);

COPY public.a (id, "we ""ird
COPY x FROM stdin;") FROM stdin;
1	x\\.
2	\\N
\.


COPY public.empty (id) FROM stdin;
\.
COPY public.nothing  FROM stdin;


\.

SELECT pg_catalog.lo_open('16399', 131072);
SELECT pg_catalog.lowrite(0, '\x0102');
SELECT pg_catalog.lo_close(0);
SELECT pg_catalog.setval('public."it''s;
"', -5, false);
"""


class Trickle(io.RawIOBase):
    """A stream that gives its bytes in pieces of `size`."""

    def __init__(self, text: bytes, size: int) -> None:
        self._stream = io.BytesIO(text)
        self._size = size

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(self._size)


def read(text: bytes, size: int = 1 << 20, unordered: tuple[tuple[str, str], ...] = ()) -> Contents:
    return read_contents(cast("IO[bytes]", Trickle(text, size)), unordered)


def test_rows_names_sequences_and_objects_are_found():
    contents = read(TEXT)
    tables = {table.name: table for table in contents.tables}
    rows = b"1\tx\\\\.\n2\t\\\\N\n"
    assert tables["a"].columns == ("id", 'we "ird\nCOPY x FROM stdin;')
    assert (tables["a"].rows, tables["a"].sha256) == (2, hashlib.sha256(rows).hexdigest())
    assert (tables["empty"].rows, tables["nothing"].rows, tables["nothing"].columns) == (0, 2, ())
    assert [(s.name, s.value, s.called) for s in contents.sequences] == [('public."it\'s;\n"', -5, False)]
    assert contents.large_objects == 1
    assert contents.large_objects_sha256 == hashlib.sha256(b"16399:\x01\x02").hexdigest()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_pieces_of_any_size_give_the_same(size: int):
    assert read(TEXT, size) == read(TEXT)


def test_a_text_that_ends_too_early_is_refused():
    ends = [TEXT.index(b"COPY public.a") + 10, TEXT.index(b"2\t"), TEXT.index(b"\\.\n") + 1, len(TEXT) - 3]
    for end in ends:
        with pytest.raises(Refused, match="not whole"):
            read(TEXT[:end])


def test_the_sum_of_rows_does_not_know_their_order():
    swapped = TEXT.replace(b"1\tx\\\\.\n2\t\\\\N\n", b"2\t\\\\N\n1\tx\\\\.\n")
    assert swapped != TEXT
    assert read(swapped) != read(TEXT)
    asked = (("public", "a"),)
    assert read(swapped, 3, asked) == read(TEXT, 64, asked)
    assert read(TEXT, 1, asked) != read(TEXT.replace(b"2\t", b"3\t"), 1, asked)
