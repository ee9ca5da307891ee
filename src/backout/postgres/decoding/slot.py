"""May reading begin at this slot? What the server says of it, and the judgement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from backout.errors import Refused, Stopped, UnknownName
from backout.model.changes import lsn_of, lsn_text
from backout.postgres.connect import Session, place, place_of

_READABLE = frozenset({"reserved", "extended"})


@dataclass(frozen=True, slots=True)
class SlotState:
    """A logical slot as `pg_replication_slots` shows it."""

    name: str
    plugin: str
    database: str
    wal_status: str
    """`reserved`, `extended`, `unreserved` (on its way out), `lost`."""
    confirmed_flush: int
    two_phase: bool
    active_pid: int | None


@dataclass(frozen=True, slots=True)
class PublicationState:
    """A publication, and whether it is as old as the slot needs."""

    name: str
    younger: bool
    """It, or a table in it, was entered or altered after the slot was made."""


def arming_snapshot(session: Session) -> str:
    """To be taken when the publications are committed and the slot is not yet made; kept with the slot."""
    row = session.execute("SELECT pg_catalog.pg_current_snapshot()::text").fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def exported(
    dsn: str, slot: str, application_name: str, patience_seconds: float
) -> Iterator[tuple[int, str]]:
    """Make a slot; its first position, and a snapshot of exactly what had committed before it, which others
    may use while the block runs.

    It waits for every transaction that had begun to write; raises `Stopped` when that takes longer than
    `patience_seconds`, and nothing is left behind then.
    """
    session: Session = psycopg.connect(
        dsn,
        replication="database",
        application_name=application_name,
        connect_timeout=10,
        autocommit=True,
        options=f"-c lock_timeout={int(patience_seconds * 1000)}",
    )
    try:
        new = session.info.server_version >= 150000
        how = sql.SQL("(SNAPSHOT 'export')" if new else "EXPORT_SNAPSHOT")
        command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {}").format(sql.Identifier(slot), how)
        row = session.execute(command).fetchone()
        assert row is not None
        yield lsn_of(row[1]), str(row[2])
    except psycopg.errors.LockNotAvailable:
        raise Stopped(
            f"a slot waits for transactions that write, longer than {patience_seconds:.0f} s",
            where=place(dsn),
            intact="everything; no slot was made",
            next="end the long transactions, then: backout resume",
        ) from None
    finally:
        session.close()


def adopt_snapshot(session: Session, snapshot: str) -> None:
    """See exactly what the exporter of this snapshot saw; first in a REPEATABLE READ transaction."""
    session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))


def read_slot(session: Session, slot: str) -> SlotState:
    """Look at the slot; raises `UnknownName` when there is none."""
    row = session.execute(
        """SELECT plugin::text, database::text, coalesce(wal_status, ''), confirmed_flush_lsn::text,
                  two_phase, active_pid
           FROM pg_catalog.pg_replication_slots WHERE slot_name = %s AND slot_type = 'logical'""",
        (slot,),
    ).fetchone()
    if row is None:
        raise UnknownName(
            f"there is no logical slot {slot}",
            where=place_of(session),
            intact="everything; nothing was read",
            next="backout guard list",
        )
    confirmed = lsn_of(row[3]) if row[3] else 0  # empty for a slot that was lost
    return SlotState(slot, row[0], row[1], row[2], confirmed, row[4], row[5])


def read_publications(
    session: Session, slot: str, names: tuple[str, ...], armed: str | None
) -> list[PublicationState]:
    """Look at the publications that exist; a missing one is not in the list.

    With `armed` (see `arming_snapshot`) the answer is exact. Without it they are compared with the slot's
    catalog horizon, and what is called younger may be older: a writer that was already running when the
    slot was made holds the horizon back.
    """
    rows = session.execute(
        """WITH entered AS (
             SELECT p.pubname::text AS name, p.xmin AS xid FROM pg_catalog.pg_publication p
             UNION ALL
             SELECT p.pubname::text, r.xmin FROM pg_catalog.pg_publication p
               JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
             UNION ALL
             SELECT p.pubname::text, n.xmin FROM pg_catalog.pg_publication p
               JOIN pg_catalog.pg_publication_namespace n ON n.pnpubid = p.oid),
           clock AS (
             SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS next)
           SELECT e.name, bool_or(CASE
             WHEN pg_catalog.age(e.xid) = 2147483647 THEN false
             WHEN %(armed)s::pg_catalog.pg_snapshot IS NOT NULL THEN NOT pg_catalog.pg_visible_in_snapshot(
               (c.next - pg_catalog.age(e.xid))::text::pg_catalog.xid8, %(armed)s::pg_catalog.pg_snapshot)
             ELSE pg_catalog.age(e.xid) <= pg_catalog.age(s.catalog_xmin) END)
           FROM entered e, clock c, pg_catalog.pg_replication_slots s
           WHERE s.slot_name = %(slot)s AND e.name = ANY(%(names)s) GROUP BY e.name""",
        {"slot": slot, "names": list(names), "armed": armed},
    ).fetchall()
    return [PublicationState(name, younger) for name, younger in rows]


def partitioned_tables(session: Session) -> frozenset[int]:
    """oids of all partitioned tables (see `Assembler`)."""
    rows = session.execute("SELECT oid::bigint FROM pg_catalog.pg_class WHERE relkind = 'p'").fetchall()
    return frozenset(oid for (oid,) in rows)


def judge_slot(slot: SlotState, progress: int, database: str) -> str | None:
    """Why the changes behind `progress` cannot be had whole from this slot; None = they can. Pure."""
    if slot.wal_status not in _READABLE:
        return f"its log is no longer kept (wal_status {slot.wal_status or 'unknown'}): changes are missing"
    if slot.plugin != "pgoutput":
        return f"it decodes with {slot.plugin}, not pgoutput"
    if slot.database != database:
        return f"it belongs to database {slot.database}"
    if slot.two_phase:
        return "it decodes prepared transactions before their commit (two_phase)"
    if slot.confirmed_flush > progress:
        return (
            f"somebody has confirmed it up to {lsn_text(slot.confirmed_flush)}, and only "
            f"{lsn_text(progress)} has been applied: the server would skip silently what lies between"
        )
    return None


def judge_publications(names: tuple[str, ...], found: list[PublicationState]) -> str | None:
    """Why these publications do not show every change since the slot was made; None = they do. Pure."""
    there = {publication.name: publication for publication in found}
    missing = [name for name in names if name not in there]
    if missing:
        return f"publication {', '.join(missing)} does not exist"
    younger = [name for name in names if there[name].younger]
    if younger:
        return (
            f"publication {', '.join(younger)} is younger than the slot, or was altered since: "
            "changes made before are not in the stream"
        )
    return None


def require_readable(
    session: Session, slot: str, publications: tuple[str, ...], progress: int, armed: str | None
) -> SlotState:
    """Look and judge; raises `Refused` with the reason."""
    state = read_slot(session, slot)
    why = judge_slot(state, progress, session.info.dbname) or judge_publications(
        publications, read_publications(session, slot, publications, armed)
    )
    if why is not None:
        raise cannot_read(slot, why, place_of(session))
    return state


def cannot_read(slot: str, why: str, where: str) -> Refused:
    """The refusal to read a slot."""
    return Refused(
        f"slot {slot} cannot be replayed without loss: {why}",
        where=where,
        intact="everything; nothing was applied, and the slot was not moved",
        next="backout guard status",
    )
