"""Send plain SQL scripts the way their tools do, with the history row beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import Connection

from backout.adapters.migrator import sql_files, sql_history, sql_session
from backout.adapters.migrator.sql_files import Half, Layout, Script
from backout.adapters.migrator.sql_history import Book
from backout.errors import NeighbourUnreachable
from backout.model.statement import StatementClass
from backout.sql.parse import statements
from backout.sql.scripts import is_empty

_Note = Callable[[Book], None]


class Runner:
    """Runs halves of migrations in one session. Without a book nothing is written down (copies only)."""

    def __init__(
        self, connection: Connection[Any], book: Book | None, said: list[str], multi_statement: bool
    ) -> None:
        self._connection = connection
        self._book = book
        self._said = said
        self._multi_statement = multi_statement

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold golang-migrate's own locks, so that no run of the tool comes between; the session ends them.

        Raises `NeighbourUnreachable` when such a run is under way.
        """
        if self._book is not None and self._book.dirty:
            for key in sql_history.lock_keys(self._connection.info.dbname, self._book):
                row = self._connection.execute(
                    "SELECT pg_catalog.pg_try_advisory_lock(%s)", (key,)
                ).fetchone()
                if row != (True,):
                    raise NeighbourUnreachable(
                        "a run of golang-migrate holds its lock on this database",
                        where=self._connection.info.dbname,
                        intact="everything; no statement was sent",
                        next="wait until it has ended, then: backout resume",
                    )
        yield

    def down(self, script: Script, half: Half, stored: str, previous: str | None) -> None:
        """Run one down. `stored` is the version as it stands in the table, `previous` the one below it."""
        self._said.append(f"down {script.version} ({', '.join(script.paths)})")
        if self._book is not None and self._book.dirty:
            self._marked(half, after=previous, before=script.version)
        else:
            self._noted(script, half, lambda book: sql_history.forget(self._connection, book, stored))

    def up(self, script: Script, half: Half, previous: str | None) -> None:
        """Run one up; `previous` is the version below it."""
        self._said.append(f"up {script.version} ({', '.join(script.paths)})")
        if self._book is not None and self._book.dirty:
            self._marked(half, after=script.version, before=previous)
        else:
            self._noted(
                script, half, lambda book: sql_history.remember(self._connection, book, script.version)
            )

    def _marked(self, half: Half, *, after: str | None, before: str | None) -> None:
        """golang-migrate: the version to come, marked dirty; the script without a transaction; clean.

        The tool leaves the mark after any error. Where nothing of the script can have remained we take it
        back, because a lock that was not granted is tried again.
        """
        assert self._book is not None
        sql_history.set_version(self._connection, self._book, after, dirty=True)
        try:
            if self._multi_statement:
                self._one_by_one(half.text)
            else:
                self._at_once(half.text)
        except psycopg.Error:
            if not self._multi_statement and sql_files.atomic(half) and not self._connection.closed:
                self._connection.execute("ROLLBACK")
                sql_history.set_version(self._connection, self._book, before, dirty=False)
            raise
        sql_history.set_version(self._connection, self._book, after, dirty=False)

    def _noted(self, script: Script, half: Half, note: _Note) -> None:
        """dbmate and its like: script and row in one transaction, unless the script cannot or will not."""
        book = self._book
        if _fits_a_transaction(script, half):
            self._connection.execute("BEGIN")
            self._at_once(half.text)
            if book is not None:
                note(book)
            sql_session.commit(self._connection)
            return
        if sql_files.controls_transactions(half.text):
            self._at_once(half.text)
        else:
            self._one_by_one(half.text)
        if book is not None:
            note(book)

    def _at_once(self, text: str) -> None:
        """The text as one simple query, as the Go drivers send a script without parameters."""
        if not is_empty(text):
            self._connection.execute(text.encode())

    def _one_by_one(self, text: str) -> None:
        for statement in statements(text):
            self._said.append(statement.tag)
            self._connection.execute(statement.text.encode())


def _fits_a_transaction(script: Script, half: Half) -> bool:
    if sql_files.controls_transactions(half.text):
        return False
    if script.layout is Layout.SINGLE:
        return half.in_transaction
    return all(s.klass is not StatementClass.NON_TRANSACTIONAL for s in statements(half.text))
