"""Which tables and columns were there before the up: names followed through creates, drops and renames.

The names of a text are followed, not the catalog. Where a name could mean two things (`t` beside `app.t`, a
changed search_path, IF NOT EXISTS) its origin is MAYBE, and nothing safe may be built on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from backout.sql.names import qualified, split_qualified


class Origin(StrEnum):
    """Where something comes from."""

    OLD = "old"
    """It was there before the up, as far as the text tells."""
    NEW = "new"
    """The up, or the down, created it."""
    MAYBE = "maybe"


@dataclass(slots=True)
class Table:
    """A table by its present name; columns that are not listed are as old as the table."""

    origin: Origin
    columns: dict[str, Origin] = field(default_factory=dict)

    def column(self, name: str) -> Origin:
        """The origin of a column's values."""
        if self.origin is not Origin.OLD:
            return self.origin
        return self.columns.get(name, Origin.OLD)


class Origins:
    """What is known, after each statement, about the names of a script."""

    def __init__(self, *, path_is_fixed: bool) -> None:
        """`path_is_fixed`: no statement changes what an unqualified name means."""
        self._path_is_fixed = path_is_fixed
        self._tables: dict[str, Table] = {}
        self._made: set[tuple[str, str]] = set()

    def certain(self, name: str) -> bool:
        """Whether a name means one thing throughout: itself, under the search_path of the session."""
        return self._path_is_fixed or len(split_qualified(name)) > 1

    def table(self, name: str) -> Table:
        """The table of this name; one never seen before is old."""
        if not self.certain(name) or self._has_namesake(name):
            return Table(Origin.MAYBE)
        return self._tables.setdefault(name, Table(Origin.OLD))

    def _has_namesake(self, name: str) -> bool:
        """Whether another name seen may mean the same table: the same, but with or without a schema."""
        parts = split_qualified(name)
        others = (split_qualified(other) for other in self._tables)
        return any(other[-1] == parts[-1] and len(other) != len(parts) for other in others)

    def create(self, name: str, *, surely: bool) -> None:
        """A table was created; `surely` is False where it may have been there (IF NOT EXISTS)."""
        known = self._tables.get(name)
        if known is not None and known.origin is Origin.NEW and not surely:
            return
        fresh = surely and known is None and self.certain(name)
        self._tables[name] = Table(Origin.NEW if fresh else Origin.MAYBE)

    def forget(self, name: str) -> None:
        """A table is gone; whoever uses the name next means something else."""
        self._tables.pop(name, None)

    def rename(self, name: str, new: str) -> None:
        """A table has a new name, in the schema it was in."""
        table = self.table(name)
        self._tables.pop(name, None)
        self._tables[qualified(*split_qualified(name)[:-1], *split_qualified(new))] = table

    def doubt_unqualified(self) -> None:
        """A schema is gone, perhaps one in which unqualified names were found; others may be found now."""
        for name, table in self._tables.items():
            if len(split_qualified(name)) == 1:
                table.origin = Origin.MAYBE

    def make(self, group: str, name: str) -> None:
        """An object that is no table was created, for sure."""
        if self.certain(name):
            self._made.add((group, name))

    def made(self, group: str, name: str) -> bool:
        """Whether these scripts created it for sure."""
        return (group, name) in self._made

    def unmake(self, group: str, name: str) -> None:
        """The object is gone again."""
        self._made.discard((group, name))
