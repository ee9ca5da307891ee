"""Guards on a server that the journal here does not know: armed by another machine, or its state was lost."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from backout.model.guard import Identity
from backout.postgres.capture import slots
from backout.postgres.connect import Session
from backout.postgres.names import OBJECT_PREFIX

_INSERTS = "_ins"


@dataclass(frozen=True, slots=True)
class Stranger:
    """One guard as the server alone tells of it; `expires_at` is empty where its note cannot be read."""

    name: str
    """Of its slot and first publication."""
    slot: bool
    publications: tuple[str, ...]
    target: str
    expires_at: str
    identities: tuple[Identity, ...]
    retained_bytes: int


def note(guard: str, target: str, expires_at: str, identities: Collection[Identity]) -> str:
    """The comment of a publication: all that is needed to take the guard away without its journal."""
    before = [[i.table, i.oid, i.before, i.index] for i in identities]
    said = {"guard": guard, "target": target, "expires_at": expires_at, "replica_identity_before": before}
    return json.dumps(said)


def strangers(session: Session, known: Collection[str]) -> tuple[Stranger, ...]:
    """Guards of this database whose name is not `known`."""
    publications = dict(_rows(session, _PUBLICATIONS))
    there = {name.removesuffix(_INSERTS) for name in publications} | {n for n, _ in _rows(session, _SLOTS)}
    return tuple(_stranger(session, name, publications) for name in sorted(there - set(known)))


_PUBLICATIONS = """
SELECT pubname::text, coalesce(pg_catalog.obj_description(oid, 'pg_publication'), '')
FROM pg_catalog.pg_publication WHERE pg_catalog.starts_with(pubname::text, %s)
"""
_SLOTS = """
SELECT slot_name::text, '' FROM pg_catalog.pg_replication_slots
WHERE database = pg_catalog.current_database() AND pg_catalog.starts_with(slot_name::text, %s)
"""


def _rows(session: Session, query: str) -> list[tuple[str, str]]:
    return [(name, said) for name, said in session.execute(query.encode(), (OBJECT_PREFIX,)).fetchall()]


def _stranger(session: Session, name: str, publications: Mapping[str, str]) -> Stranger:
    slot = slots.look(session, name)
    mine = tuple(p for p in (name, name + _INSERTS) if p in publications)
    said = _read(publications.get(name, ""))
    found = said.get("replica_identity_before", [])
    return Stranger(
        *(name, slot is not None, mine, str(said.get("target", "")), str(said.get("expires_at", ""))),
        tuple(Identity(str(t), int(oid), str(before), str(index)) for t, oid, before, index in found),
        slot.retained_bytes if slot is not None else 0,
    )


def _read(comment: str) -> Mapping[str, Any]:
    try:
        found = json.loads(comment)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
