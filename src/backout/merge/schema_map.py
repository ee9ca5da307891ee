"""Which column of the old schema is which column of the migrated one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from backout.model.mapping import Mapping


@dataclass(frozen=True, slots=True)
class Shape:
    """One column of a table in one state, as far as the mapping needs it."""

    name: str
    attnum: int
    type: str
    needs_value: bool = False
    """NOT NULL without a default."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A column in two states; None = it is not there."""

    before: Shape | None
    after: Shape | None
    mapping: Mapping

    @property
    def name(self) -> str:
        """How the plan calls it: its name in the old schema, or its own when it has no place there."""
        shape = self.before or self.after
        assert shape is not None
        return shape.name


_Identity = Callable[[Shape], Hashable]


def by_identity(before: Sequence[Shape], after: Sequence[Shape]) -> tuple[Pair, ...]:
    """For physical siblings: attnum follows a column through renames and swaps, a name does not."""
    return _pairs(before, after, lambda shape: shape.attnum)


def by_name(before: Sequence[Shape], after: Sequence[Shape]) -> tuple[Pair, ...]:
    """For copies without a shared physical base; never by column order."""
    return _pairs(before, after, lambda shape: shape.name)


def remade(pairs: Sequence[Pair], columns: Sequence[str]) -> tuple[Pair, ...]:
    """The same pairs; those of these columns were dropped by the up and made again by the down."""
    return tuple(
        Pair(p.before, p.after, Mapping.REMADE)
        if p.mapping in (Mapping.SAME, Mapping.UNPROVED) and p.after is not None and p.after.name in columns
        else p
        for p in pairs
    )


def _pairs(before: Sequence[Shape], after: Sequence[Shape], identity: _Identity) -> tuple[Pair, ...]:
    others = {identity(shape): shape for shape in after}
    pairs = [_pair(shape, others.pop(identity(shape), None)) for shape in before]
    return (*pairs, *(Pair(None, shape, Mapping.ADDED) for shape in others.values()))


_SAME_TEXT = (frozenset({"smallint", "integer", "bigint"}), frozenset({"text", "character varying"}))


def same_text(one: str, other: str) -> bool:
    """Whether a value keeps its text and its meaning between these types (`format_type`), as far as it fits:
    where it does not, the database refuses it."""
    bare = {one.partition("(")[0], other.partition("(")[0]}
    return one == other or any(bare <= family for family in _SAME_TEXT)


def _pair(before: Shape, after: Shape | None) -> Pair:
    if after is None:
        return Pair(before, None, Mapping.DROPPED)
    same = same_text(before.type, after.type)
    return Pair(before, after, Mapping.SAME if same else Mapping.UNPROVED)
