"""Park a change that the target refused: on the work list of people, and in full in a table of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from psycopg import sql
from psycopg.types.json import Jsonb

from backout.model.changes import Change, RowChange, lsn_text
from backout.model.fates import Fate, Reason
from backout.postgres import parked
from backout.postgres.connect import Session
from backout.postgres.names import REFUSED_TABLE, qualified


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the target would not take a change."""

    reason: str
    sqlstate: str
    """Empty when no error was raised, but another number of rows was hit than one."""


@dataclass(frozen=True, slots=True)
class Named:
    """The row of a refused change as the target knows it: its table, key and columns there."""

    relation: str
    key: tuple[str, ...]
    before: parked.Row | None
    migrated: parked.Row | None
    now: parked.Row | None
    """None = the change deletes it."""


def _by_itself(_change: RowChange) -> Named | None:
    return None


@dataclass(frozen=True, slots=True)
class Parking:
    """A `Park` (see `apply.py`) that writes into the session of the applier, in its open transaction.

    The work list has one entry for a row, which says why it was refused first and how the application has
    left it; every refused change of it stands in the table of refused changes. Parking the same change again
    changes nothing.
    """

    session: Session
    run: str
    incident: str
    keys: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """By the oid of the source's table: the columns that name a row to people, where the log names none."""
    name: Callable[[RowChange], Named | None] = _by_itself
    """How the target knows the row, where tables and columns have other names there; None = as the log."""

    def __call__(self, change: Change, why: Rejection) -> None:
        self.session.execute(
            sql.SQL(
                """INSERT INTO {} (run, lsn, seq, rel, pk, kind, image, reason, sqlstate)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
            ).format(REFUSED_TABLE),
            (
                self.run,
                lsn_text(change.commit_lsn),
                change.sequence,
                *_told(change, self._key(change)),
                why.reason,
                why.sqlstate,
            ),
        )
        named = self.name(change) if isinstance(change, RowChange) else None
        entry = _entry(change, self._key(change), why) if named is None else _as_named(change, named, why)
        parked.renew(self.session, self.incident, entry)

    def _key(self, change: Change) -> dict[str, str | None]:
        """The key of the row before the change; empty when nobody names one."""
        if not isinstance(change, RowChange):
            return {}
        row = change.old_values() or change.new_values()
        columns = change.relation.key or self.keys.get(change.relation.oid, ())
        return {name: row[name] for name in columns if name in row}


def _relation(change: Change) -> str:
    if isinstance(change, RowChange):
        return qualified(change.relation.schema, change.relation.name)
    return ", ".join(qualified(relation.schema, relation.name) for relation in change.relations)


def _told(change: Change, key: Mapping[str, str | None]) -> tuple[str, Jsonb, str, Jsonb]:
    """Table, key, kind and everything that is told of a change."""
    if isinstance(change, RowChange):
        image: dict[str, object] = {"old": change.old_values(), "new": change.new_values()}
    else:
        image = {"cascade": change.cascade, "restart_identity": change.restart_identity}
    return _relation(change), Jsonb(dict(key)), change.kind.value, Jsonb(image)


def _as_named(change: Change, named: Named, why: Rejection) -> parked.Entry:
    return parked.Entry(
        *(
            Fate.PARKED,
            named.relation,
            named.key,
            Reason.CANNOT_APPLY,
            f"{change.kind.value}: {why.reason}",
            (),
        ),
        *(named.before, named.migrated, named.now),
    )


def _entry(change: Change, found: Mapping[str, str | None], why: Rejection) -> parked.Entry:
    """The entry for people. A row without a key is known by its place in the history."""
    key = tuple(str(value) for value in found.values())
    return parked.Entry(
        fate=Fate.PARKED,
        relation=_relation(change),
        key=key or (f"{lsn_text(change.commit_lsn)}#{change.sequence}",),
        reason=Reason.CANNOT_APPLY,
        detail=f"{change.kind.value}: {why.reason}",
        columns=(),
        before=None,
        migrated=None,
        now=(change.new_values() or None) if isinstance(change, RowChange) else None,
    )
