"""Is every cell what it would be without the migration, or told by name? Pure.

Told is not enough: what the application wrote has to stand in the database or in what people are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backout.model.fates import Fate, Reason
from backout.postgres.parked import Entry
from tests.lost_writes.kinds.application import Key, Ledger
from tests.lost_writes.kinds.cast import Row

Rows = Mapping[Key, Row]
_GENERATED = {"twice": "a"}


@dataclass(frozen=True)
class Seen:
    """One table of one world, under one strategy. Names are those of the old schema."""

    table: str
    before: Rows
    migrated: Rows
    """The state with which the strategy compares: for D the one with the down on top."""
    written: Rows
    """The live database at the end of the application, as far as the old schema has its columns."""
    found: Rows
    """What the strategy has made."""
    oracle: Rows
    told: Mapping[Key, Sequence[Entry]]
    refused: Mapping[Key, Sequence[Row]]
    """Images of changes that the target would not take."""
    ledger: Ledger
    blind: bool = False
    """The strategy reads states (see `_unseen`; people are told so)."""
    versions: bool = False
    """Of a row it sees whether it was written at all since."""
    same: Mapping[str, Mapping[str | None, str | None]] = field(default_factory=dict)
    """Converted column -> value in the old form -> what it is in the new form."""
    converted: frozenset[str] = frozenset()


def faults(seen: Seen) -> Iterator[str]:
    """What breaks the promise, a line each."""
    for key in sorted(seen.found.keys() | seen.oracle.keys()):
        yield from _row(seen, key)
    for name, key in sorted(seen.ledger.diverged):
        if name == seen.table and key in seen.written:
            yield from _diverged(seen, key)
    for key in seen.told:
        yield from _noise(seen, key)


def _row(seen: Seen, key: Key) -> Iterator[str]:
    found, oracle = seen.found.get(key), seen.oracle.get(key)
    if found == oracle or ((seen.table, key) in seen.ledger.diverged):
        return
    entries = _entries(seen, key)
    if found is None or oracle is None:
        if not any(e.fate in (Fate.PARKED, Fate.LISTED) for e in entries):
            yield _line(seen, key, "", "a row is missing" if found is None else "a row is too much")
        elif oracle is not None and not _stands_somewhere(seen, key, oracle, entries):
            yield _line(seen, key, "", "told, but not with what the application wrote")
        return
    for column in oracle:
        beneath = _GENERATED.get(column, column)  # it follows from another cell
        if found[beneath] != oracle[beneath] and not _same(seen, key, beneath):
            yield from _cell(seen, key, beneath, entries)


def _cell(seen: Seen, key: Key, column: str, entries: Sequence[Entry]) -> Iterator[str]:
    about = [
        e for e in entries if e.fate in (Fate.PARKED, Fate.LISTED) and column in (e.columns or (column,))
    ]
    oracle, found = seen.oracle[key][column], seen.found[key][column]
    if not about:
        if not _unseen(seen, key, column):
            yield _line(seen, key, column, "silent")
    elif all(e.fate is Fate.LISTED and _both_wrote(e, column) for e in about) and (
        column in seen.ledger.wrote.get((seen.table, key), ())
    ):
        yield _line(seen, key, column, "listed as written by both, and yet not the application's value")
    elif not _value_told(seen, key, column, oracle, about) and oracle != seen.before.get(key, {}).get(column):
        yield _line(seen, key, column, f"told, but the application's value stands nowhere ({found})")


def _unseen(seen: Seen, key: Key, column: str) -> bool:
    """What two states cannot show: that a row is another one since, or was given the value it had."""
    origin = seen.ledger.origin((seen.table, key))
    if seen.blind and origin != key and (seen.table, origin) in seen.ledger.reborn:
        return True  # another row has its former key
    former, migrated = seen.before.get(key), seen.migrated.get(key, {})
    if not seen.blind or former is None or seen.found[key][column] != former.get(column):
        return False
    coincides = (
        not seen.versions and column in migrated and seen.written.get(key, {}).get(column) == migrated[column]
    )
    return coincides or (seen.table, key) in seen.ledger.reborn


def _both_wrote(entry: Entry, column: str) -> bool:
    now, migrated = entry.now, entry.migrated
    return now is not None and migrated is not None and now.get(column) != migrated.get(column)


def _same(seen: Seen, key: Key, column: str) -> bool:
    """Equal in the new form, in which alone the application knows a converted value."""
    forms = seen.same.get(column)
    if forms is None or column not in seen.ledger.wrote.get((seen.table, key), ()):
        return False
    return forms.get(seen.found[key][column]) == forms.get(seen.oracle[key][column])


def _value_told(seen: Seen, key: Key, column: str, value: str | None, entries: Sequence[Entry]) -> bool:
    if column in seen.converted:
        return True  # in the new form
    rows = [row for e in entries for row in (e.now, e.before) if row is not None]
    return any(row.get(column) == value for row in (*rows, *seen.refused.get(key, ())) if column in row)


def _stands_somewhere(seen: Seen, key: Key, row: Row, entries: Sequence[Entry]) -> bool:
    return all(
        _value_told(seen, key, column, value, entries)
        for column, value in row.items()
        if column in seen.written.get(key, {}) and seen.before.get(key, {}).get(column) != value
    )


def _diverged(seen: Seen, key: Key) -> Iterator[str]:
    """A row of the application that the old schema may have no room for."""
    written, found = seen.written[key], seen.found.get(key)
    if found is not None and all(
        found.get(column) == value or _unseen(seen, key, column) for column, value in written.items()
    ):
        return
    if seen.blind and not seen.versions and found is None and written == seen.migrated.get(key):
        return  # a row of the migration's, as the migration had stored it
    entries = [e for e in _entries(seen, key) if e.fate in (Fate.PARKED, Fate.LISTED)]
    if not entries:
        yield _line(seen, key, "", "diverged, and nobody is told")
        return
    # A value that the application has left in TOAST stands in the row before alone.
    images = [row for e in entries for row in (e.now, e.before) if row is not None]
    images += seen.refused.get(key, ())
    migrated = seen.migrated.get(key, {})
    for column, value in written.items():
        if value == migrated.get(column) or (found is not None and found.get(column) == value):
            continue
        if column not in seen.converted and not any(row.get(column) == value for row in images):
            yield _line(seen, key, column, f"diverged, told without the application's value {value!r}")


def _noise(seen: Seen, key: Key) -> Iterator[str]:
    """Nobody is told of what the application did not write, nor of what the migration did not."""
    origin = seen.ledger.origin((seen.table, key))
    spots = {(seen.table, key), (seen.table, origin)}
    for entry in seen.told[key]:
        if entry.fate is Fate.ARCHIVED or entry.reason in (Reason.CANNOT_APPLY, Reason.NO_PARENT):
            continue
        if not spots & seen.ledger.touched:
            yield _line(seen, key, "", f"told without a write: {entry.fate} {entry.reason}")
        before, migrated = entry.before, entry.migrated
        if entry.fate is Fate.LISTED and before is not None and migrated is not None:
            for column in entry.columns:
                if before.get(column) == migrated.get(column):
                    yield _line(seen, key, column, "listed, and the migration had not changed it")


def _entries(seen: Seen, key: Key) -> list[Entry]:
    """Of the row, under this key and the one that it had before."""
    origin = seen.ledger.origin((seen.table, key))
    keys = dict.fromkeys((key, origin))
    return [entry for one in keys for entry in seen.told.get(one, ())]


def _line(seen: Seen, key: Key, column: str, what: str) -> str:
    states = {
        "before": seen.before.get(key),
        "migrated": seen.migrated.get(key),
        "written": seen.written.get(key),
        "oracle": seen.oracle.get(key),
        "found": seen.found.get(key),
    }
    told = [(e.fate.value, e.reason.value, e.detail, e.columns, e.now) for e in _entries(seen, key)]
    lines = [f"    {name:9} {_short(row)}" for name, row in states.items()]
    return "\n".join([f"  {seen.table} {', '.join(key)} {column}: {what}", *lines, f"    told      {told}"])


def _short(row: Row | None) -> str:
    if row is None:
        return "-"
    return ", ".join(f"{c}={v if v is None or len(v) < 40 else v[:10] + '…'}" for c, v in row.items())
