"""Row changes as the log tells them: which row, what it was before as far as it is told, what it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final, Protocol


class Unchanged(Enum):
    """The mark of a TOASTed value that the change left alone: the log does not hold it. Never NULL."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED

Cell = str | None | Unchanged
"""Text form of a value, None for NULL, or UNCHANGED."""


class ChangeKind(StrEnum):
    """What happened to a row, or to a whole table."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


class OldImage(StrEnum):
    """How much a change tells of the row before it."""

    NONE = "none"
    """Nothing: an insert, or an update that left the key alone."""
    KEY = "key"
    """The values of the key, and perhaps others; a NULL among them tells nothing."""
    FULL = "full"
    """Every value; also those that the new image gives as UNCHANGED."""


class ReplicaIdentity(StrEnum):
    """What a table writes to the log about the row before a change (`relreplident`)."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


@dataclass(frozen=True, slots=True)
class ChangedColumn:
    """A column as the log named it at that moment."""

    name: str
    type_oid: int
    type_modifier: int
    in_key: bool


@dataclass(frozen=True, slots=True)
class ChangedRelation:
    """A table as the log described it at that moment: living columns in attnum order, without generated ones.

    `identity` and the key marks are those of the table that is *published*. A partition published under
    its root may have others, so what a change really tells is said by its `old_image` alone.
    """

    oid: int
    schema: str
    name: str
    identity: ReplicaIdentity
    columns: tuple[ChangedColumn, ...]
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Names of the columns, in the order of the cells."""
    key: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Columns of the key; empty when the identity is FULL, which marks every column and names no key."""

    def __post_init__(self) -> None:  # once for each table, not once for each row
        full = self.identity is ReplicaIdentity.FULL
        key = () if full else tuple(column.name for column in self.columns if column.in_key)
        object.__setattr__(self, "names", tuple(column.name for column in self.columns))
        object.__setattr__(self, "key", key)


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row inserted, updated or deleted. `commit_lsn` and `sequence` are its place in the history."""

    relation: ChangedRelation
    kind: ChangeKind
    commit_lsn: int
    """Where the commit of its transaction begins in the log."""
    sequence: int
    """Its number within the transaction, from 0."""
    old_image: OldImage
    old: tuple[Cell, ...]
    """Cells of the old row in the order of the columns; empty with OldImage.NONE."""
    new: tuple[Cell, ...]
    """Cells of the new row in the order of the columns; empty for a delete."""

    def old_values(self) -> dict[str, str | None]:
        """What is told of the row before: all of it, its key, or nothing.

        In an image of the key the columns outside the key stand as NULL, and a key has no NULL: the columns
        that are there are the key, whatever the relation says (the root's marks may not be the partition's).
        """
        told = zip(self.relation.names, self.old, strict=False)
        if self.old_image is OldImage.FULL:
            return {name: cell for name, cell in told if cell is not UNCHANGED}
        return {name: cell for name, cell in told if cell is not None and cell is not UNCHANGED}

    def new_values(self) -> dict[str, str | None]:
        """The row afterwards as far as it is told; a value left unchanged in TOAST comes from the old image,
        and is missing where that does not tell it."""
        told = zip(self.relation.names, self.new, strict=False)
        known = {name: cell for name, cell in told if cell is not UNCHANGED}
        if len(known) < len(self.new):
            known |= {name: cell for name, cell in self.old_values().items() if name not in known}
        return known

    def key(self, columns: Sequence[str]) -> tuple[str | None, ...]:
        """Values of these columns by which the row was known before the change.

        Raises `KeyError` for a column that the change does not tell.
        """
        return tuple([self._before(column) for column in columns])

    def _before(self, column: str) -> str | None:
        cells = self.new if self.old_image is OldImage.NONE else self.old
        try:
            cell = cells[self.relation.names.index(column)]
        except ValueError:
            raise KeyError(column) from None
        if cell is UNCHANGED or (cell is None and self.old_image is OldImage.KEY):
            raise KeyError(column)
        return cell


@dataclass(frozen=True, slots=True)
class Truncation:
    """Whole tables emptied by one statement."""

    relations: tuple[ChangedRelation, ...]
    """Those of them that are published."""
    commit_lsn: int
    sequence: int
    cascade: bool
    restart_identity: bool

    @property
    def kind(self) -> ChangeKind:
        return ChangeKind.TRUNCATE


Change = RowChange | Truncation


@dataclass(frozen=True, slots=True)
class Marker:
    """A message of ours in the log (`pg_logical_emit_message`)."""

    lsn: int
    text: str
    body: Mapping[str, object]
    """The JSON object it holds; empty when it is none (any role may emit a message under our prefix)."""
    transactional: bool

    @property
    def kind(self) -> str:
        """What the message says it is: `migration`, `end`, …; empty = it does not say."""
        told = self.body.get("kind")
        return told if isinstance(told, str) else ""


class Changes(Protocol):
    """The changes of one transaction in their order; can be walked again until closed."""

    def __iter__(self) -> Iterator[Change]: ...

    def close(self) -> None:
        """Give memory and files back; closing twice does nothing."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One committed transaction of the source."""

    xid: int
    """The top-level transaction's id, its low 32 bits; never a savepoint's."""
    commit_lsn: int
    """Where its commit record begins."""
    end_lsn: int
    """Just behind its commit record: who has applied it goes on from here."""
    committed_at: datetime
    origin: str | None
    """Name of its replication origin."""
    markers: tuple[Marker, ...]
    size: int
    """Bytes of its changes in the log's form."""
    count: int
    """How many changes it has."""
    changes: Changes


def lsn_text(lsn: int) -> str:
    """`16/B374D848`, as PostgreSQL writes a position in the log."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_of(text: str) -> int:
    """The position that PostgreSQL writes as `16/B374D848`; raises `ValueError`."""
    high, slash, low = text.partition("/")
    if not slash or not 0 < len(high) <= 8 or not 0 < len(low) <= 8:
        raise ValueError(f"not a position in the log: {text!r}")
    return (int(high, 16) << 32) | int(low, 16)
