"""A standby that stands still before the migration: a backup of it is a way back, promoting it none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from backout.adapters.backups.base_backup import BaseBackups
from backout.errors import Refused
from backout.model.recovery import FirstRecord, ForReplay, Line, Lsn
from backout.ports.backups import Surroundings
from backout.postgres import servers
from backout.postgres.connect import open_session
from backout.postgres.physical.clone import clone, give_tree
from backout.postgres.physical.standby import Standing, read_standing, require_before
from backout.testing.servers import RealServer, free_port
from tests.physical.world import DATABASE, Production, value

pytestmark = pytest.mark.slow  # a server is restored or read for real


@contextmanager
def standby_of(source: Production) -> Iterator[RealServer]:
    """A streaming standby of the production, from a base backup of it."""
    source.backups.take("base")
    base = servers.private_directory("bkstby")
    clone(source.base / "store" / "base" / "data", base / "d")
    give_tree(base / "d")
    there = source.server.layout
    layout = servers.Layout(there.binaries, base / "d", base / "s", free_port(), "postgres", True)
    settings = {"primary_conninfo": there.conninfo(DATABASE), "archive_mode": "off"}
    with (base / "d" / "postgresql.auto.conf").open("a") as conf:
        conf.write(servers.as_configuration(settings))
    (base / "d" / "standby.signal").touch()
    (base / "d" / "postmaster.pid").unlink(missing_ok=True)
    servers.start(layout)
    try:
        yield RealServer(layout)
    finally:
        servers.destroy(layout)
        base.rmdir()


def wait_until(standby: RealServer, query: str) -> None:
    deadline = time.monotonic() + 60
    with standby.connect() as connection:
        while value(connection, query) is not True:
            assert time.monotonic() < deadline, query
            time.sleep(0.1)


def count(server: RealServer) -> object:
    with server.connect() as connection:
        return value(connection, "SELECT count(*) FROM t")


def test_a_paused_standby_is_not_a_restore_point_if_promoted(source: Production):
    source.run("CREATE TABLE t (id int)", "INSERT INTO t SELECT generate_series(1, 10)")
    with standby_of(source) as standby:
        source.run("INSERT INTO t SELECT generate_series(11, 1000)")
        wait_until(standby, f"SELECT pg_last_wal_replay_lsn() >= '{source.position()}'")
        with standby.connect() as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
        wait_until(standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
        bad = ForReplay(source.line(), FirstRecord(source.position()))
        source.run("DELETE FROM t WHERE id > 10")
        wait_until(standby, f"SELECT pg_last_wal_receive_lsn() >= '{source.position()}'")
        source.settle()
        with open_session(standby.dsn(DATABASE), "backout/test/0") as session:
            require_before(read_standing(session), bad)
        of_standby = Surroundings(source.base / "instances", source.base, standby.dsn(DATABASE))
        backups = BaseBackups(source.base / "store", (source.archive,), of_standby)
        taken = backups.take("of_standby")
        assert taken.stop <= bad.at.lsn
        instance = backups.restore_new(bad, "one")
        assert instance.backup == "of_standby"
        assert source.rows(instance, "SELECT count(*) FROM t") == [(1000,)]
        assert count(standby) == 1000
        with psycopg.connect(standby.layout.conninfo(DATABASE), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
        assert count(standby) == 10, "everything that was received is replayed"
        with open_session(standby.dsn(DATABASE), "backout/test/0") as session:
            promoted = read_standing(session)
        with pytest.raises(Refused, match="it was promoted"):
            require_before(promoted, bad)


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (
            Standing(True, True, Lsn(200), Lsn(300)),
            "it has replayed to 0/C8, the target lies at 0/64",
        ),
        (Standing(True, False, Lsn(50), Lsn(300)), r"its replay goes on \(now at 0/32\)"),
        (Standing(False, False, Lsn(50), Lsn(0)), "it is no standby any more"),
    ],
)
def test_a_standby_of_no_use_says_why(standing: Standing, reason: str):
    with pytest.raises(Refused, match=reason):
        require_before(standing, ForReplay(Line("1", 1), FirstRecord(Lsn(100))))
