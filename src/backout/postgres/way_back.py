"""The way back of a cutover: a slot on the new side, armed before the first client is released.

The slot retains every write of the new side until somebody carries it over. Where both sides have the same
schema a native subscription on the old side does that (it gets in over the fence, and past a read-only
default); where they differ, the replayer with its translation reads the same slot.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from psycopg import sql

from backout.ports.handover import Armed
from backout.postgres import whole_rows, witness
from backout.postgres.connect import Session
from backout.postgres.routing import make_writable


def changed_since(session: Session, publications: tuple[str, ...]) -> frozenset[tuple[int, int]]:
    """Columns (oid of the table, attnum) made or altered since the first of these publications was made."""
    rows = session.execute(
        """SELECT a.attrelid::bigint, a.attnum::int FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
           WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
             AND pg_catalog.age(a.xmin) < (SELECT max(pg_catalog.age(p.xmin))
               FROM pg_catalog.pg_publication p WHERE p.pubname = ANY(%s))""",
        (list(publications),),
    ).fetchall()
    return frozenset((oid, attnum) for oid, attnum in rows)


class SlotWayBack:
    """`ports.handover.WayBack` with a slot and publications of PostgreSQL's own.

    `new` is a session on the new database. `reads_from` is the connection string that the old side's
    subscription uses; None = somebody else follows (the replayer).
    """

    def __init__(
        self, new: Session, old: Session | None, reads_from: str | None, *, hours: float = 48.0
    ) -> None:
        make_writable(new)
        self._new = new
        self._old = old
        self._reads_from = reads_from
        self._until = datetime.now(UTC) + timedelta(hours=hours)
        self._blind: tuple[str, ...] = ()

    def prepare(self, name: str) -> tuple[str, ...]:
        _, self._blind = witness.publish(self._new, name)
        if self._reads_from is None:
            whole_rows.see(self._new, name)
        return self._blind

    def arm(self, name: str, seconds: float) -> Armed:
        witness.make_slot(self._new, name, seconds)
        return Armed(name, self._until, self._blind)

    def follow(self, name: str) -> None:
        """Begin to carry new writes to the old side, once."""
        if self._old is None or self._reads_from is None or self._follows(name):
            return
        options = sql.SQL("create_slot = false, copy_data = false, slot_name = {}, synchronous_commit = 'on'")
        listed = sql.SQL(", ").join(map(sql.Identifier, publications(self._new, name)))
        filtered = sql.SQL(", origin = 'none'" if self._old.info.server_version >= 160000 else "")
        self._old.execute(
            sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH ({}{})").format(
                sql.Identifier(name),
                sql.Literal(self._reads_from),
                listed,
                options.format(sql.Literal(name)),
                filtered,
            )
        )

    def expired(self, now: datetime) -> bool:
        return now > self._until

    def drop(self, name: str) -> None:
        if self._old is not None and self._follows(name):
            quoted = sql.Identifier(name)
            self._old.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(quoted))
            self._old.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(quoted))
            self._old.execute(sql.SQL("DROP SUBSCRIPTION {}").format(quoted))
        self._end_reader(name)
        whole_rows.forget(self._new, name)
        witness.drop(self._new, name, publications(self._new, name))

    def _follows(self, name: str) -> bool:
        assert self._old is not None
        row = self._old.execute(
            """SELECT 1 FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
               WHERE s.subname = %s AND d.datname = pg_catalog.current_database()""",
            (name,),
        ).fetchone()
        return row is not None

    def _end_reader(self, name: str) -> None:
        """A slot that is read cannot be dropped."""
        self._new.execute(
            """SELECT pg_catalog.pg_terminate_backend(active_pid, 5000)
               FROM pg_catalog.pg_replication_slots WHERE slot_name = %s AND active_pid IS NOT NULL""",
            (name,),
        )


class NoWayBack:
    """`ports.handover.WayBack` of a move that itself goes back: nothing is armed for a third one."""

    def prepare(self, name: str) -> tuple[str, ...]:
        return ()

    def arm(self, name: str, seconds: float) -> Armed:
        return Armed("", datetime.now(UTC), ())

    def follow(self, name: str) -> None:
        """Nothing follows."""

    def expired(self, now: datetime) -> bool:
        return False

    def drop(self, name: str) -> None:
        """Nothing is there."""


def publications(session: Session, name: str) -> tuple[str, ...]:
    """The publications of this way back that exist."""
    rows = session.execute(
        "SELECT pubname::text FROM pg_catalog.pg_publication WHERE pubname IN (%s, %s) ORDER BY 1",
        witness.publications_of(name),
    ).fetchall()
    return tuple(row[0] for row in rows)


def retained(session: Session, name: str) -> tuple[str, int] | None:
    """(state of its slot, bytes of WAL that it retains); None = there is no such slot any more."""
    row = session.execute(
        """SELECT coalesce(wal_status, '?'),
                  (pg_catalog.pg_current_wal_insert_lsn() - restart_lsn)::bigint
           FROM pg_catalog.pg_replication_slots WHERE slot_name = %s""",
        (name,),
    ).fetchone()
    return None if row is None else (str(row[0]), int(row[1] or 0))
