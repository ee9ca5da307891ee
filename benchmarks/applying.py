"""Replaying the log into another database, beside the native subscription that replays the same log."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from backout.model.changes import lsn_of
from backout.postgres.connect import open_session
from backout.postgres.decoding.stream import Source, Stream
from backout.postgres.decoding.transactions import End
from backout.postgres.writes import tables
from backout.postgres.writes.apply import Applier, open_target
from backout.postgres.writes.follow import follow
from backout.postgres.writes.same_schema import SameSchema, keys_of_tables
from backout.testing.servers import RealServer, available_majors, start_server, stop_server
from benchmarks.table import Judged, Line

_SETTINGS = {
    "wal_level": "logical",
    "fsync": "on",
    "max_logical_replication_workers": "4",
    "max_worker_processes": "8",
    "autovacuum": "off",
}
_ACCOUNTS = 10_000
_MADE = (
    "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, name text NOT NULL)",
    "CREATE TABLE entries (id bigint PRIMARY KEY, account int NOT NULL, amount int NOT NULL, at timestamptz,"
    " note text)",
    f"INSERT INTO accounts SELECT n, 0, 'account ' || n FROM generate_series(1, {_ACCOUNTS}) n",  # noqa: S608
)
# 4.8 changes a transaction: two updates, two inserts, and a delete in four of five.
_WORK = """DO $$ BEGIN FOR n IN 1..{transactions} LOOP
  UPDATE accounts SET balance = balance + 1 WHERE id = 1 + n % {accounts};
  UPDATE accounts SET balance = balance - 1 WHERE id = 1 + (n * 7 + 1) % {accounts};
  INSERT INTO entries VALUES (2 * n, 1 + n % {accounts}, 1, now(), md5(n::text)),
    (2 * n + 1, 1 + (n * 7 + 1) % {accounts}, -1, now(), md5(n::text));
  IF n % 5 > 0 THEN DELETE FROM entries WHERE id = 2 * (n - 10); END IF;
  COMMIT; END LOOP; END $$"""


@dataclass(frozen=True, slots=True)
class _Pair:
    source: RealServer
    target: RealServer


def lines(major: int | None, transactions: int) -> list[Line]:
    """Wall time beside the native worker's, and what one change costs our process."""
    with _pair(major or max(available_majors())) as pair:
        end = _write(pair, transactions)
        changes = _changes(pair)
        native = _native(pair, end)
        ours, cpu = _ours(pair, end)
        _require_equal(pair)
    return [
        Line(f"apply the log: {changes:,} changes", ours, "s", native, "native subscription", 2.0),
        Line(
            "  CPU of our process for one change", cpu / changes * 1e6, "µs", limit=35, judged=Judged.MEASURED
        ),
    ]


@contextmanager
def _pair(major: int) -> Iterator[_Pair]:
    source = start_server(major, settings=_SETTINGS)
    try:
        target = start_server(major, settings=_SETTINGS)
        try:
            yield _Pair(source, target)
        finally:
            stop_server(target)
    finally:
        stop_server(source)


def _run(server: RealServer, database: str, *statements: str) -> None:
    with server.connect(database) as session:
        for statement in statements:
            session.execute(statement.encode())


def _write(pair: _Pair, transactions: int) -> int:
    """Three databases with the same rows, two slots, one work; the position behind it."""
    _run(pair.target, "postgres", "CREATE DATABASE native", "CREATE DATABASE ours")
    for server, database in ((pair.source, "postgres"), (pair.target, "native"), (pair.target, "ours")):
        _run(server, database, *_MADE)
    _run(pair.source, "postgres", "CREATE PUBLICATION p FOR TABLE accounts, entries")
    for slot in ("native", "ours"):
        _run(pair.source, "postgres", f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    _run(pair.source, "postgres", _WORK.format(transactions=transactions, accounts=_ACCOUNTS), "CHECKPOINT")
    with pair.source.connect() as session:
        row = session.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert row is not None
    return lsn_of(row[0])


def _changes(pair: _Pair) -> int:
    with pair.source.connect() as session:
        row = session.execute(
            "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('ours', NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'p') WHERE get_byte(data, 0) IN (68, 73, 85)"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _native(pair: _Pair, end: int) -> float:
    """Seconds until the native worker has confirmed the end."""
    connection = (
        f"host={pair.source.layout.socket_directory} port={pair.source.port} user=postgres dbname=postgres"
    )
    begun = time.monotonic()
    _run(
        pair.target,
        "native",
        f"CREATE SUBSCRIPTION s CONNECTION '{connection}' PUBLICATION p"
        " WITH (create_slot = false, slot_name = 'native', copy_data = false)",
    )
    query = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'native'"
    with pair.source.connect() as session:
        while lsn_of(str((session.execute(query).fetchone() or ("0/0",))[0])) < end:
            time.sleep(0.02)
    spent = time.monotonic() - begun
    _run(pair.target, "native", "ALTER SUBSCRIPTION s DISABLE", "ALTER SUBSCRIPTION s SET (slot_name = NONE)")
    _run(pair.target, "native", "DROP SUBSCRIPTION s")
    return spent


def _ours(pair: _Pair, end: int) -> tuple[float, float]:
    """Wall seconds and CPU seconds of this process, from the opening of the slot on."""
    source_dsn, target_dsn = pair.source.layout.conninfo("postgres"), pair.target.layout.conninfo("ours")
    with pair.source.connect() as looking:
        row = looking.execute(
            "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'ours'"
        ).fetchone()
    assert row is not None
    with open_session(target_dsn, "backout/bench/1") as session:
        tables.make_tables(session)
        tables.begin_run(session, "bench", lsn_of(row[0]))
    begun, cpu = time.monotonic(), time.process_time()
    session = open_target(target_dsn, "backout/bench/2").session
    progress = tables.take_over(session, "bench")
    source = Source(source_dsn, "ours", ("p",), progress.lsn, "backout/bench/3")
    with tempfile.TemporaryDirectory(prefix="backout-bench-") as name, Stream(source) as stream:
        translation = SameSchema(keys_of_tables(session))
        applier = Applier(session, progress, translation, _refuse, alive=stream.tend)
        follow(stream, applier, End(lsn=end), Path(name), deadline=time.monotonic() + 600)
        applier.close()
    return time.monotonic() - begun, time.process_time() - cpu


def _refuse(*refused: object) -> None:
    raise RuntimeError(f"nothing may be parked here: {refused}")


def _require_equal(pair: _Pair) -> None:
    """A measure of something wrong would be worth nothing."""
    query = "SELECT (SELECT md5(string_agg(a::text, '' ORDER BY id)) FROM {} a)"
    for table in ("accounts", "entries"):
        found = set()
        for server, database in ((pair.source, "postgres"), (pair.target, "native"), (pair.target, "ours")):
            with psycopg.connect(server.layout.conninfo(database)) as session:
                found.add(session.execute(query.format(table).encode()).fetchone())
        if len(found) != 1:
            raise RuntimeError(f"{table} differs after applying")
