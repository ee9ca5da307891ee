"""One session in which plain SQL migrations run: to the endpoint and nowhere else, with a deadline."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import Connection

from backout.errors import NeighbourUnreachable
from backout.ports.migrator import Endpoint, ToolResult
from backout.postgres.connect import to_endpoint

_PATIENCE_AFTER_CANCEL = 3.0


class TransactionLost(Exception):
    """COMMIT was answered with ROLLBACK: the transaction had failed before, and nothing happened."""


@contextlib.contextmanager
def opened(endpoint: Endpoint) -> Iterator[Connection[Any]]:
    """An autocommit session with the role's own settings: the scripts rely on its search path.

    Raises `NeighbourUnreachable`.
    """
    try:
        connection: Connection[Any] = psycopg.connect(
            to_endpoint(endpoint),
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.OperationalError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise NeighbourUnreachable(
            f"the way to the database is closed: {reason}",
            where=f"{endpoint.host}:{endpoint.port}",
            intact="everything; no statement was sent",
            next="backout resume",
        ) from None
    with contextlib.closing(connection):
        yield connection


def run(
    endpoint: Endpoint, deadline: float, work: Callable[[Connection[Any], list[str]], None]
) -> ToolResult:
    """Do the work in one session; an error of the database is a result, as it is of a tool.

    Past `deadline` seconds the running statement is cancelled, and what is open is rolled back.
    """
    began = time.monotonic()
    said: list[str] = []
    exit_code = 0
    with opened(endpoint) as connection:
        connection.add_notice_handler(
            lambda notice: said.append(f"{notice.severity}: {notice.message_primary}")
        )
        with _ended_after(connection, deadline) as late:
            try:
                work(connection, said)
            except (psycopg.Error, TransactionLost) as error:
                exit_code = 1
                said.append(_explained(error))
                _roll_back(connection)
    output = "\n".join(said).replace(endpoint.password, "***") if endpoint.password else "\n".join(said)
    return ToolResult(exit_code, output, time.monotonic() - began, late.is_set())


def _explained(error: psycopg.Error | TransactionLost) -> str:
    if isinstance(error, TransactionLost):
        return "ERROR: COMMIT was answered with ROLLBACK; nothing happened"
    detail = error.diag.message_detail if isinstance(error, psycopg.Error) else None
    return (
        f"ERROR: {str(error).strip()} (SQLSTATE {error.sqlstate or 'none'}){f' {detail}' if detail else ''}"
    )


def _roll_back(connection: Connection[Any]) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def _ended_after(connection: Connection[Any], deadline: float) -> Iterator[threading.Event]:
    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(deadline):
            return
        late.set()
        with contextlib.suppress(psycopg.Error):
            connection.cancel_safe(timeout=_PATIENCE_AFTER_CANCEL)
        if not done.wait(_PATIENCE_AFTER_CANCEL):
            _hang_up(connection)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield late
    finally:
        done.set()
        watcher.join()


def _hang_up(connection: Connection[Any]) -> None:
    """The last resort when nobody answers a cancel: end the conversation from below."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)


def commit(connection: Connection[Any]) -> None:
    """COMMIT, and believe it only when the server says COMMIT."""
    if connection.execute("COMMIT").statusmessage != "COMMIT":
        raise TransactionLost
