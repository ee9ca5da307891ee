"""A users table, a healthy migration, and one after it that breaks off; every way of breaking off."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from backout.app import incidents
from backout.app.results import Opened, Proposed, Ran
from backout.model.plan import Option, Strategy
from tests.story.harness import World

HEALTHY = "20240101000000"
BAD = "20240201000000"
UNIQUE = "CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email);"
DOUBLED = 5
"""Addresses that stand twice."""


def healthy(made: World, rows: int = 100) -> World:
    """The healthy migration is applied; `DOUBLED` addresses stand twice."""
    first = "CREATE TABLE users (id bigserial PRIMARY KEY, email text)"
    made.migration(f"{HEALTHY}_users", f"{first};", "DROP TABLE users;")
    with made.connect() as session:
        session.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    made.applied(HEALTHY, first)
    with made.connect() as session:
        session.execute(
            "INSERT INTO users (email) SELECT 'secret' || i %% %s || '@x' FROM generate_series(1, %s) i",
            (rows - DOUBLED, rows),
        )
    made.write_config()
    return made


def bad(made: World, up: str = UNIQUE, down: str = "DROP INDEX CONCURRENTLY users_email;") -> None:
    """The file of the migration that breaks off; its statements run outside a transaction."""
    made.migration(f"{BAD}_email", up, down, options=" transaction:false")


def run_up(made: World, *statements: str) -> list[str]:
    """What the tool did before it died: each statement alone, no history row. The SQLSTATEs."""
    states = []
    with made.connect() as session:
        for statement in statements:
            try:
                session.execute(statement.encode())
                states.append("")
            except psycopg.Error as error:
                states.append(error.sqlstate or "")
    return states


def single_out(made: World) -> None:
    """Somebody removed the duplicates."""
    with made.connect() as session:
        session.execute("DELETE FROM users a USING users b WHERE a.email = b.email AND a.id > b.id")


def fails_at_build(made: World) -> None:
    bad(made)
    assert run_up(made, UNIQUE) == ["23505"]
    assert index_state(made) == (False, False)


def fails_at_validation(made: World) -> None:
    """A duplicate is committed between build and validation: the index is left ready, and rejects writes."""
    bad(made)
    single_out(made)
    with psycopg.connect(made.dsn) as holder, psycopg.connect(made.dsn) as late:
        holder.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        with building(made) as states:
            wait_for(made, "SELECT count(*) = 1 FROM pg_class WHERE relname = 'users_email'")
            late.execute("INSERT INTO users (email) SELECT email FROM users LIMIT 1")
            holder.rollback()
            wait_for(made, "SELECT indisready FROM pg_index WHERE indexrelid = 'users_email'::regclass")
            late.commit()
        assert states == ["23505"]
    assert index_state(made) == (False, True)


def cancelled(made: World) -> None:
    """Cancelled while it waited for an old snapshot: built, ready, never valid."""
    bad(made)
    single_out(made)
    with psycopg.connect(made.dsn) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT 1")
        assert run_up(made, "SET statement_timeout = 400", UNIQUE) == ["", "57014"]
        holder.rollback()
    assert index_state(made) == (False, True)


def index_state(made: World, name: str = "users_email") -> tuple[bool, bool] | None:
    """(valid, ready) of an index; None without one."""
    with made.connect() as session:
        row = session.execute(
            "SELECT indisvalid, indisready FROM pg_index WHERE indexrelid = to_regclass(%s)", (name,)
        ).fetchone()
    return (row[0], row[1]) if row else None


def history(made: World) -> list[str]:
    with made.connect() as session:
        return [str(r[0]) for r in session.execute("SELECT version FROM schema_migrations ORDER BY 1")]


@contextmanager
def building(made: World) -> Iterator[list[str]]:
    """The build runs in a session of its own until the block has let it end."""
    states: list[str] = []
    thread = threading.Thread(target=lambda: states.extend(run_up(made, UNIQUE)))
    thread.start()
    try:
        yield states
    finally:
        thread.join()


@contextmanager
def held(made: World) -> Iterator[psycopg.Connection]:
    """Somebody's open transaction on users."""
    with psycopg.connect(made.dsn, application_name="report") as holder:
        holder.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        yield holder
        with suppress(psycopg.Error):
            holder.rollback()


def wait_for(made: World, query: str, tries: int = 200) -> None:
    for _ in range(tries):
        with suppress(psycopg.Error):
            if made.one(query):
                return
        time.sleep(0.02)
    raise AssertionError(f"never true: {query}")


def killed_client(made: World) -> None:
    """A process begins the build and is killed with SIGKILL; its server session works on."""
    program = f"import psycopg; psycopg.connect({made.dsn!r}, autocommit=True).execute({UNIQUE!r})"
    child = subprocess.Popen([sys.executable, "-c", program])
    wait_for(made, "SELECT count(*) = 1 FROM pg_class WHERE relname = 'users_email'")
    child.kill()
    child.wait()


def opened(made: World, *names: str) -> Opened:
    return incidents.open_incident(made.desk(), incidents.Asked("heroes", names, 1, "sign-ups fail"))


def proposed(made: World, *names: str) -> Proposed:
    return incidents.propose(made.desk(), opened(made, *names).incident.id)


def rows(answer: Proposed) -> dict[Strategy, Option]:
    return {option.strategy: option for option in answer.proposals.options}


def carried_out(made: World, answer: Proposed, strategy: str | None = None) -> Ran:
    made.approve(answer.incident.id, strategy=strategy)
    return incidents.run(made.desk(), answer.incident.id, {}, 0)
