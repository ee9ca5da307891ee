"""How a column of the old schema and one of the migrated schema belong together."""

from __future__ import annotations

from enum import StrEnum


class Mapping(StrEnum):
    """How a column of the old schema and one of the migrated schema belong together."""

    SAME = "same"
    """Same meaning; also a conversion whose inverse was proved, with its values given in the old form."""
    UNPROVED = "unproved"
    """Converted, and nothing turns a new value back into the old form."""
    ADDED = "added"
    """The migration added it: the old schema has no place for its values."""
    DROPPED = "dropped"
    """The migration dropped it: nobody can have written to it since."""
    REMADE = "remade"
    """The migration dropped it and the down made it again: what stands there is the down's (empty, a
    default) unless the row was written since the down."""
