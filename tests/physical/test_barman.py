"""Barman, really executed: what is not archived yet is fetched first, and its configuration stays behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from backout.adapters.backups import barman
from backout.errors import NeighbourUnreachable, Refused
from backout.model.check import CheckState
from backout.model.recovery import BadMigration, ForReplay, Lsn, NamedPoint, twin_after, twin_before
from backout.postgres import servers
from backout.postgres.binaries import for_major
from backout.postgres.physical.first_bad import find_first_bad
from backout.testing.servers import available_majors
from tests.physical.world import Production, production

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("barman") is None, reason="barman: apt-get install barman"),
    pytest.mark.skipif(15 not in available_majors(), reason="needs PostgreSQL 15 (Debian's)"),
]


@dataclass(frozen=True)
class Catalogue:
    source: Production
    backups: barman.Barman


def write_config(place: Path, source: Production) -> Path:
    config = place / "barman.conf"
    layout = source.server.layout
    reach = f"host={layout.socket_directory} port={layout.port} user=postgres"
    config.write_text(
        f"[barman]\nbarman_user = {servers.service_user() or layout.data.owner()}\n"
        f"barman_home = {place}/home\nbarman_lock_directory = {place}\nlog_file = {place}/barman.log\n"
        f"compression = gzip\n[world]\ndescription = world\nconninfo = {reach} dbname=postgres\n"
        f"streaming_conninfo = {reach}\nbackup_method = postgres\narchiver = on\n"
        f"path_prefix = {layout.binaries.directory}\n"
    )
    servers.give(config)
    return config


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    place = servers.private_directory("bkbarm")
    incoming = f"{place}/home/world/incoming"
    try:
        with production(15, {"archive_command": f"test ! -f {incoming}/%f && cp %p {incoming}/%f"}) as source:
            options = {"server": "world", "config": str(write_config(place, source))}
            made = barman.from_settings(options, source.surroundings)
            with suppress(NeighbourUnreachable):  # makes its directories, and says that no WAL came yet
                made._program.run("check", "world")
            yield Catalogue(source, made)
            for instance in made.instances():
                made.destroy(instance.name)
    finally:
        shutil.rmtree(place)


@pytest.fixture
def fresh(catalogue: Catalogue) -> Catalogue:
    catalogue.source.clear()
    return catalogue


def test_wal_that_barman_has_not_filed_is_switched_and_filed_first(fresh: Catalogue):
    source = fresh.source
    source.run("CREATE TABLE t (id int PRIMARY KEY)")
    taken = fresh.backups.take("first")
    assert fresh.backups.list()[-1] == taken
    source.run("INSERT INTO t SELECT generate_series(1, 77)")
    point = source.point("before_it")
    source.run("DELETE FROM t")
    instance = fresh.backups.restore_new(ForReplay(source.line(), point), "one")
    assert instance.backup == taken.id
    assert source.rows(instance, "SELECT count(*) FROM t") == [(77,)]
    shown = source.rows(
        instance,
        "SELECT current_setting('archive_mode'), current_setting('port'), "
        "current_setting('unix_socket_directories'), current_setting('archive_command')",
    )
    assert shown == [("off", str(instance.port), instance.host, "(disabled)")]


@pytest.mark.proves(
    claim="Both sides of a migration come from Barman",
    on="Barman of the distribution, one machine, loopback",
    rights="files of the server",
    versions="the system's",
    size="some thousand rows",
)
def test_both_sides_of_a_migration_come_from_the_older_of_two_backups(fresh: Catalogue):
    source = fresh.source
    source.run("CREATE TABLE history (id int)", "CREATE TABLE t (id int)")
    older = fresh.backups.take("older")
    source.run("INSERT INTO t VALUES (1)", "BEGIN; INSERT INTO history VALUES (1); DROP TABLE t; COMMIT")
    newer = fresh.backups.take("newer")
    xid = int(str(source.ask("SELECT xmin FROM history")))
    migration = find_first_bad(fresh.backups.wal(), for_major(15), source.line(), [xid])
    assert isinstance(migration, BadMigration)
    assert older.stop < migration.first_bad < newer.stop
    twin = fresh.backups.restore_twin(twin_before(migration), twin_after(migration), "twin")
    assert (twin.before.backup, twin.after.backup) == (older.id, older.id)
    assert source.rows(twin.before, "SELECT * FROM t") == [(1,)]
    assert source.rows(twin.after, "SELECT to_regclass('t'), count(*) FROM history") == [(None, 1)]


def test_a_target_before_every_backup_is_refused(fresh: Catalogue):
    early = NamedPoint("early", Lsn.parse("0/1000100"))
    with pytest.raises(Refused, match="every backup is newer than the target"):
        fresh.backups.restore_new(ForReplay(fresh.source.line(), early), "one")


def test_checks_say_what_is_missing(fresh: Catalogue):
    assert [check.state for check in fresh.backups.checks()] == [CheckState.PASS]
    other = barman.from_settings({"server": "nobody"}, fresh.source.surroundings)
    (check,) = other.checks()
    assert check.state is CheckState.FAIL
