"""What each effect means for rows and values that were there before the up, one judge per kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from backout.sql.facts import Effect, EffectKind, Trait
from backout.sql.names import split_qualified
from backout.sql.origins import Origin, Origins


class Existing(StrEnum):
    """What happens to rows and values that were there before the up, after up and down."""

    SAFE = "safe"
    LOSSY = "lossy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, and the answer that it speaks for."""

    existing: Existing
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """One effect in its script, with everything that comes after it in up and down."""

    effect: Effect
    script: str
    """`up` or `down`."""
    everything: Sequence[Effect]
    """All effects of up and down, in order, and where among them this one stands."""
    index: int
    origins: Origins

    @property
    def later(self) -> Iterator[Effect]:
        """All effects after this one."""
        return islice(self.everything, self.index + 1, None)

    def lossy(self, what: str) -> Finding:
        return Finding(Existing.LOSSY, f"the {self.script} {what}")

    def unknown(self, what: str) -> Finding:
        return Finding(Existing.UNKNOWN, f"the {self.script} {what}")

    def safe(self, what: str) -> Finding:
        return Finding(Existing.SAFE, f"the {self.script} {what}")

    def taken(self, what: str, *, refilled: bool) -> Finding:
        """Something old is taken away: a loss, unless a later statement may bring the values back."""
        if refilled or any(effect.kind is EffectKind.DYNAMIC for effect in self.later):
            return self.unknown(f"{what}, and a later statement may fill it again")
        return self.lossy(what)


_WITHOUT_TABLES = frozenset(
    {
        '"uuid-ossp"',
        "pgcrypto",
        "citext",
        "hstore",
        "pg_trgm",
        "btree_gin",
        "btree_gist",
        "unaccent",
        "ltree",
        "intarray",
        "tablefunc",
        "fuzzystrmatch",
        "cube",
        "earthdistance",
    }
)
"""Extensions that own no table, so that dropping one without CASCADE takes no row."""


def judge(up: Sequence[Effect], down: Sequence[Effect], origins: Origins) -> Iterator[Finding]:
    """The findings of both scripts, effect by effect, while `origins` follows the names."""
    everything = [*up, *down]
    for index, effect in enumerate(everything):
        judging = _JUDGES.get(effect.kind)
        if judging is not None:
            script = "up" if index < len(up) else "down"
            yield from judging(Place(effect, script, everything, index, origins))


def _create_table(place: Place) -> Iterator[Finding]:
    place.origins.create(place.effect.table, surely=not place.effect.traits & _UNSURE)
    return iter(())


def _drop_table(place: Place) -> Iterator[Finding]:
    effect = place.effect
    origin = place.origins.table(effect.table).origin
    if origin is Origin.OLD:
        again = Trait.IF_EXISTS in effect.traits and _created_later(place)
        yield place.taken(f"drops table {effect.table}", refilled=again or _rows_later(place))
    elif origin is Origin.MAYBE:
        yield place.unknown(f"drops table {effect.table}, which may be older than the up")
    else:
        yield place.safe(f"drops table {effect.table}, created by this migration")
    place.origins.forget(effect.table)


def _created_later(place: Place) -> bool:
    """`DROP TABLE IF EXISTS t; CREATE TABLE t`: mostly there was none."""
    kinds = (EffectKind.CREATE_TABLE,)
    return any(e.kind in kinds and e.table == place.effect.table for e in place.later)


def _rows_later(place: Place) -> bool:
    """Whether rows come into a table of this name later, or a table takes the name."""
    name = split_qualified(place.effect.table)[-1:]
    return any(
        (effect.kind is EffectKind.INSERT and split_qualified(effect.table)[-1:] == name)
        or (effect.kind is EffectKind.RENAME_TABLE and split_qualified(effect.other)[-1:] == name)
        for effect in place.later
    )


def _rename_table(place: Place) -> Iterator[Finding]:
    place.origins.rename(place.effect.table, place.effect.other)
    return iter(())


def _add_column(place: Place) -> Iterator[Finding]:
    effect = place.effect
    table = place.origins.table(effect.table)
    if table.origin is Origin.OLD:
        unsure = Trait.IF_NOT_EXISTS in effect.traits and table.columns.get(effect.column) is not Origin.NEW
        table.columns[effect.column] = Origin.MAYBE if unsure else Origin.NEW
    return iter(())


def _drop_column(place: Place) -> Iterator[Finding]:
    effect = place.effect
    table = place.origins.table(effect.table)
    named = f"column {effect.table}.{effect.column}"
    match table.column(effect.column):
        case Origin.OLD:
            yield place.taken(f"drops {named}", refilled=_values_later(place))
        case Origin.MAYBE:
            yield place.unknown(f"drops {named}, which may be older than the up")
        case Origin.NEW:
            yield place.safe(f"drops {named}, created by this migration")
    table.columns.pop(effect.column, None)


def _values_later(place: Place) -> bool:
    """Whether a column of this name is computed or filled again later."""
    dropped = place.effect
    name = split_qualified(dropped.table)[-1:]
    return any(
        split_qualified(effect.table)[-1:] == name
        and (
            effect.kind is EffectKind.INSERT
            or (effect.kind is EffectKind.UPDATE and effect.column == dropped.column)
            or (effect.kind is EffectKind.RENAME_COLUMN and effect.other == dropped.column)
            or (effect.column == dropped.column and Trait.GENERATED in effect.traits)
        )
        for effect in place.later
    )


def _rename_column(place: Place) -> Iterator[Finding]:
    effect = place.effect
    table = place.origins.table(effect.table)
    origin = table.column(effect.column)
    table.columns.pop(effect.column, None)
    table.columns[effect.other] = origin
    return iter(())


def _alter_type(place: Place) -> Iterator[Finding]:
    effect = place.effect
    if place.origins.table(effect.table).column(effect.column) is not Origin.NEW:
        yield place.unknown(f"changes the type of {effect.table}.{effect.column}")


def _change_rows(place: Place) -> Iterator[Finding]:
    """INSERT and UPDATE: into an older table they fire triggers and rules that the text does not show."""
    effect = place.effect
    if place.origins.table(effect.table).origin is Origin.NEW:
        return
    verb = "inserts into" if effect.kind is EffectKind.INSERT else "updates"
    yield place.unknown(f"{verb} {effect.table}, which may be older than the up and have triggers")


def _remove_rows(place: Place) -> Iterator[Finding]:
    effect = place.effect
    origin = place.origins.table(effect.table).origin
    if origin is Origin.NEW:
        return
    verb = "truncates" if effect.kind is EffectKind.TRUNCATE else "deletes from"
    if Trait.WHERE in effect.traits:
        yield place.unknown(f"{verb} {effect.table} the rows that a condition picks")
    elif origin is Origin.MAYBE:
        yield place.unknown(f"{verb} {effect.table}, which may be older than the up")
    else:
        yield place.taken(f"{verb} {effect.table}, all rows", refilled=_rows_later(place))


def _make(place: Place) -> Iterator[Finding]:
    effect = place.effect
    if not effect.traits & {Trait.IF_NOT_EXISTS, Trait.OR_REPLACE}:
        place.origins.make(_GROUPS[effect.kind], effect.table)
    return iter(())


def _drop_made(place: Place) -> Iterator[Finding]:
    """Views, types, schemas, extensions: no rows of their own, but CASCADE takes columns and tables."""
    effect = place.effect
    group = _GROUPS[effect.kind]
    if not place.origins.made(group, effect.table):
        yield from _drop_older(place, group)
    place.origins.unmake(group, effect.table)
    if group == "schema":
        place.origins.doubt_unqualified()


def _drop_older(place: Place, group: str) -> Iterator[Finding]:
    effect = place.effect
    named = f"{group} {effect.table}"
    if group == "schema" and effect.cascade:
        yield place.lossy(f"drops {named} with all that is in it")
    elif effect.cascade:
        yield place.unknown(f"drops {named} with whatever depends on it")
    elif group == "extension" and effect.table not in _WITHOUT_TABLES:
        yield place.unknown(f"drops {named}, which may own tables")
    elif Trait.MATERIALIZED in effect.traits:
        yield place.unknown(f"drops materialized {named}, which may be older than the up")


def _drop_function(place: Place) -> Iterator[Finding]:
    """A function's name may stand for several, so even one of our own is not told apart."""
    if place.effect.cascade:
        yield place.unknown(f"drops function {place.effect.table} with whatever depends on it")


def _dynamic(place: Place) -> Iterator[Finding]:
    yield place.unknown(f"runs code that text does not show ({place.effect.other})")


def _other(place: Place) -> Iterator[Finding]:
    what = f"{place.effect.table} {place.effect.other}".strip()
    yield place.unknown(f"does what this reader does not follow: {what}")


_GROUPS: Mapping[EffectKind, str] = {
    EffectKind.CREATE_VIEW: "view",
    EffectKind.DROP_VIEW: "view",
    EffectKind.CREATE_TYPE: "type",
    EffectKind.DROP_TYPE: "type",
    EffectKind.CREATE_SCHEMA: "schema",
    EffectKind.DROP_SCHEMA: "schema",
    EffectKind.CREATE_EXTENSION: "extension",
    EffectKind.DROP_EXTENSION: "extension",
}
_UNSURE = frozenset({Trait.IF_NOT_EXISTS, Trait.PARTITION, Trait.FOREIGN, Trait.TEMPORARY})
"""Tables that may have been there, take rows of others, hide others, or end before the down."""
_JUDGES: Mapping[EffectKind, Callable[[Place], Iterator[Finding]]] = {
    EffectKind.CREATE_TABLE: _create_table,
    EffectKind.DROP_TABLE: _drop_table,
    EffectKind.RENAME_TABLE: _rename_table,
    EffectKind.ADD_COLUMN: _add_column,
    EffectKind.DROP_COLUMN: _drop_column,
    EffectKind.RENAME_COLUMN: _rename_column,
    EffectKind.ALTER_TYPE: _alter_type,
    EffectKind.INSERT: _change_rows,
    EffectKind.UPDATE: _change_rows,
    EffectKind.DELETE: _remove_rows,
    EffectKind.TRUNCATE: _remove_rows,
    EffectKind.CREATE_VIEW: _make,
    EffectKind.DROP_VIEW: _drop_made,
    EffectKind.CREATE_TYPE: _make,
    EffectKind.DROP_TYPE: _drop_made,
    EffectKind.CREATE_SCHEMA: _make,
    EffectKind.DROP_SCHEMA: _drop_made,
    EffectKind.CREATE_EXTENSION: _make,
    EffectKind.DROP_EXTENSION: _drop_made,
    EffectKind.DROP_FUNCTION: _drop_function,
    EffectKind.DYNAMIC: _dynamic,
    EffectKind.OTHER: _other,
}
