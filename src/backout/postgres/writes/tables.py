"""Our tables in the database that changes are applied to: progress, refused changes, memory of the merge."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from backout.errors import Refused, UnknownName
from backout.model.changes import lsn_of, lsn_text
from backout.postgres import parked
from backout.postgres.connect import Session
from backout.postgres.names import BASE_TABLE, PROGRESS_TABLE, REFUSED_TABLE, STATE_SCHEMA

_TABLES = (
    (
        PROGRESS_TABLE,
        """run text PRIMARY KEY, lsn pg_lsn NOT NULL, tx bigint NOT NULL DEFAULT 0,
           epoch bigint NOT NULL DEFAULT 0, moved_at timestamptz NOT NULL DEFAULT now()""",
    ),
    (
        REFUSED_TABLE,
        """run text, lsn pg_lsn, seq bigint, rel text NOT NULL, pk jsonb NOT NULL, kind text NOT NULL,
           image jsonb NOT NULL, reason text NOT NULL, sqlstate text NOT NULL,
           at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run, lsn, seq)""",
    ),
    (
        BASE_TABLE,
        """run text, rel text, pk text[], pre jsonb, migrated jsonb, current jsonb,
           PRIMARY KEY (run, rel, pk)""",
    ),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, and which process may go on with it."""

    run: str
    lsn: int
    transactions: int
    epoch: int


def make_tables(session: Session) -> None:
    """Create what is missing; touches nothing that is there."""
    with session.transaction():
        there = session.execute("SELECT pg_catalog.to_regnamespace(%s) IS NOT NULL", (STATE_SCHEMA,))
        if there.fetchone() != (True,):  # IF NOT EXISTS would ask for the right to create schemas
            session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(STATE_SCHEMA)))
        for name, columns in _TABLES:
            session.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(name, sql.SQL(columns)))
        parked.ensure(session)


def begin_run(session: Session, run: str, lsn: int) -> None:
    """Record where this run begins; a run that has begun stays where it is."""
    session.execute(
        sql.SQL("INSERT INTO {} (run, lsn) VALUES (%s, %s) ON CONFLICT (run) DO NOTHING").format(
            PROGRESS_TABLE
        ),
        (run, lsn_text(lsn)),
    )


def take_over(session: Session, run: str) -> Progress:
    """Become the only process that may apply this run, and learn how far it has come.

    Waits for a commit of the former process that is under way; whatever it sends later is refused.
    """
    row = session.execute(
        sql.SQL("UPDATE {} SET epoch = epoch + 1 WHERE run = %s RETURNING lsn::text, tx, epoch").format(
            PROGRESS_TABLE
        ),
        (run,),
    ).fetchone()
    if row is None:
        raise UnknownName(
            f"run {run} has no progress in this database",
            where=session.info.dbname,
            intact="everything; nothing was applied",
            next="backout status",
        )
    return Progress(run, lsn_of(row[0]), row[1], row[2])


def read_progress(session: Session, run: str) -> Progress | None:
    """How far the run has come; None = it has not begun here."""
    row = session.execute(
        sql.SQL("SELECT lsn::text, tx, epoch FROM {} WHERE run = %s").format(PROGRESS_TABLE), (run,)
    ).fetchone()
    return None if row is None else Progress(run, lsn_of(row[0]), row[1], row[2])


def move_progress(session: Session, run: str, epoch: int, lsn: int, transactions: int) -> None:
    """Move on, inside the caller's transaction. Raises `Refused` unless exactly this run moved *forward*
    under this epoch; the caller then rolls back.

    To be answered before COMMIT is sent: a server goes on with what it has received after its client died,
    and would commit rows beside a progress that another process holds by then.
    """
    done = session.execute(
        sql.SQL(
            "UPDATE {} SET lsn = %s, tx = tx + %s, moved_at = now()"
            " WHERE run = %s AND epoch = %s AND lsn < %s"
        ).format(PROGRESS_TABLE),
        (lsn_text(lsn), transactions, run, epoch, lsn_text(lsn)),
    )
    if done.rowcount != 1:
        found = read_progress(session, run)
        now = "it is gone" if found is None else f"epoch {found.epoch}, position {lsn_text(found.lsn)}"
        raise Refused(
            f"another process has taken over run {run}: "
            f"epoch {epoch} may not move to {lsn_text(lsn)} ({now})",
            where=session.info.dbname,
            intact="everything; the rows of this window were rolled back",
            next="backout status",
        )
