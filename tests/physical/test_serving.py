"""A restored instance becomes the server that others use, or stays isolated; it is never taken for a copy."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
import trustme

from backout.app.copies import _destroy_instances
from backout.errors import ConfigurationError, NeighbourUnreachable, Refused
from backout.model.recovery import ForReplay
from backout.ports.backups import Instance, Listening, ServingSource
from backout.postgres import servers
from backout.postgres.connect import open_session
from backout.postgres.marks import is_marked
from backout.postgres.physical import serving
from backout.postgres.physical.carried import carried, forced, not_carried
from backout.postgres.physical.hba import LOOPBACK, lines_of_file, read_hba
from backout.postgres.physical.instances import Instances
from backout.postgres.physical.serving_source import read_source
from backout.postgres.scratch import layout_of
from backout.testing.servers import available_majors, free_port, has_tls
from tests.physical.world import DATABASE, Production, production

pytestmark = pytest.mark.slow  # a server is restored for real

MAJORS = (16, 18)
HBA = """
host all postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
SETTINGS = {
    "max_connections": "77",
    "max_wal_senders": "4",
    "work_mem": "5MB",
    "log_line_prefix": "it's %p: ",
    "shared_preload_libraries": "dict_snowball",  # as good as a scheduler: it must not come along
    "myapp.tenant": "blue",
}
ASKED = (
    *("fsync", "full_page_writes", "synchronous_commit", "wal_level", "autovacuum", "archive_mode"),
    *("max_connections", "max_wal_senders", "max_replication_slots", "max_logical_replication_workers"),
    *("work_mem", "log_line_prefix", "shared_preload_libraries", "recovery_target_name", "restore_command"),
)


@pytest.fixture(scope="module")
def productions() -> Iterator[dict[int, Production]]:
    with ExitStack() as stack:
        made = dict[int, Production]()
        for major in MAJORS:
            if major in available_majors():
                made[major] = stack.enter_context(production(major, SETTINGS, hba=HBA))
                made[major].run(
                    "CREATE ROLE app LOGIN PASSWORD 'secret of app'",
                    "CREATE ROLE owner LOGIN PASSWORD 'secret of owner'",
                )
        yield made


@pytest.fixture(params=MAJORS, ids=[f"pg{major}" for major in MAJORS])
def source(request: pytest.FixtureRequest, productions: dict[int, Production]) -> Production:
    return of(productions, request.param)


@pytest.fixture
def source16(productions: dict[int, Production]) -> Production:
    return of(productions, 16)


def of(productions: dict[int, Production], major: int) -> Production:
    if major not in productions:
        pytest.skip(f"PostgreSQL {major} is not on this machine")
    productions[major].clear()
    return productions[major]


def restored(source: Production, *more: str) -> Instance:
    """An instance with one row, isolated."""
    source.run("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)", "GRANT ALL ON t TO app", *more)
    source.backups.take("first")
    point = source.point("before_it")
    source.run("DELETE FROM t")
    source.settle()
    return source.backups.restore_new(ForReplay(source.line(), point), "one")


def seen(source: Production, user: str = "postgres") -> ServingSource:
    password = f"secret of {user}".replace(" ", "%20")
    with open_session(source.server.dsn(DATABASE, user, password), "backout/test/0") as session:
        before = session.execute("SELECT setting FROM pg_settings WHERE name = 'search_path'").fetchone()
        found = read_source(session)
        assert session.execute("SHOW search_path").fetchone() == before
    return found


def here() -> Listening:
    return Listening("127.0.0.1", free_port())


def as_app(at: Listening, password: str = "secret of app", **more: str) -> psycopg.Connection:
    parts = {"host": at.host, "port": str(at.port), "user": "app", "dbname": DATABASE, "password": password}
    return psycopg.connect(**cast(Any, parts | more), autocommit=True)


def notes(instance: Instance) -> str:
    assert instance.serving is not None
    return "\n".join(instance.serving.notes)


def marked(source: Production, instance: Instance) -> bool:
    with open_session(source.backups.conninfo(instance, DATABASE), "backout/test/0") as session:
        return is_marked(session)


def test_a_restored_copy_serves_with_the_settings_and_logins_of_its_source(source: Production):
    instance = restored(
        source,
        "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)",
        "ALTER SUBSCRIPTION feed ENABLE",
    )
    at = here()
    served = source.backups.serve("one", at, seen(source))
    with as_app(at) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        assert connection.execute("SELECT id FROM t ORDER BY id").fetchall() == [(1,), (2,)]
        assert connection.execute("SHOW myapp.tenant").fetchone() == ("blue",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        as_app(at, "wrong")
    rows = source.rows(served, f"SELECT name, setting FROM pg_settings WHERE name IN {ASKED}")
    assert {str(name): value for name, value in rows} == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_level": "logical",
        "autovacuum": "on",
        "archive_mode": "off",
        "max_connections": "77",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_logical_replication_workers": "0",
        "work_mem": "5120",
        "log_line_prefix": "it's %p: ",
        "shared_preload_libraries": "",
        "recovery_target_name": "",
        "restore_command": "",
    }
    assert not marked(source, served)
    assert source.rows(served, "SELECT to_regnamespace('backout')") == [(None,)]
    assert source.rows(served, "SELECT subname, subenabled FROM pg_subscription") == [("feed", False)]
    assert source.rows(served, "SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL") == [(0,)]
    assert (served.host, served.port, served.cut_off) == (instance.host, at.port, False)
    assert "archiving is off" in notes(served)
    assert "dict_snowball is not loaded (shared_preload_libraries)" in notes(served)
    assert "subscription feed in postgres is disabled" in notes(served)
    assert "pg_hba" not in notes(served)
    drop_subscription(source)


def drop_subscription(source: Production) -> None:
    source.run(
        "ALTER SUBSCRIPTION feed DISABLE",
        "ALTER SUBSCRIPTION feed SET (slot_name = NONE)",
        "DROP SUBSCRIPTION feed",
    )


def test_one_that_serves_is_returned_as_it_is_and_is_not_destroyed(source16: Production):
    backups, at, told = source16.backups, here(), seen(source16)
    isolated = restored(source16)
    served = backups.serve("one", at, told)
    with as_app(at) as connection:
        pid = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert backups.serve("one", at, told) == served
        assert connection.execute("SELECT pg_backend_pid()").fetchone() == pid
    assert backups.instances() == (served,)
    with pytest.raises(Refused, match="may be the production"):
        backups.destroy("one")
    with pytest.raises(Refused, match=r"serves already, on 127\.0\.0\.1"):
        backups.serve("one", here(), told)
    config = source16.base / "backout.toml"
    desk = SimpleNamespace(app=SimpleNamespace(state=source16.base, config_path=config))
    assert _destroy_instances(cast(Any, desk), "") == []
    with as_app(at) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    backups.retire("one")
    backups.retire("one")
    backups.retire("never there")
    assert backups.instances() == (isolated,)
    assert marked(source16, isolated)
    with pytest.raises(psycopg.OperationalError):
        as_app(at)
    backups.destroy("one")
    assert backups.instances() == ()


def test_it_is_started_by_hand_and_by_being_asked_for(source16: Production):
    backups, at, told = source16.backups, here(), seen(source16)
    restored(source16)
    served = backups.serve("one", at, told)
    record, _ = Instances(source16.surroundings).whole("one")
    layout = layout_of(record)
    servers.stop(layout, mode="fast")
    subprocess.run(["rm", "-rf", record.sockets], check=True)  # as a reboot does
    assert served.serving is not None
    subprocess.run(served.serving.start_command, shell=True, check=True, timeout=60)
    with as_app(at) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    servers.stop(layout, mode="fast")
    assert backups.serve("one", at, told) == served
    with as_app(at) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_a_port_that_is_taken_is_refused_before_anything_is_stopped(source16: Production):
    instance = restored(source16)
    pid = source16.rows(instance, "SELECT pg_postmaster_start_time()")
    told = seen(source16)
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        for host in ("127.0.0.1", "0.0.0.0", "*", "localhost"):
            at = Listening(host, somebody.getsockname()[1])
            with pytest.raises(Refused, match="Address already in use"):
                source16.backups.serve("one", at, told)
    with pytest.raises(Refused, match="no such address"):
        source16.backups.serve("one", Listening("192.0.2.1", free_port()), told)
    for host, port in (("'; x", 5432), ("127.0.0.1", 0), ("", 5432)):
        with pytest.raises(ConfigurationError, match="no place to listen"):
            source16.backups.serve("one", Listening(host, port), told)
    assert source16.backups.instances() == (instance,)
    assert source16.rows(instance, "SELECT pg_postmaster_start_time()") == pid
    assert marked(source16, instance)


@pytest.mark.parametrize("step", ["draw_up", "release", "_sync", "_configure", "_serving", "look"])
def test_one_killed_between_two_steps_is_brought_to_the_end(
    source16: Production, monkeypatch: pytest.MonkeyPatch, step: str
):
    restored(source16)
    at, told = here(), seen(source16)
    real = getattr(serving, step)

    def killed(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(serving, step, killed)
        with pytest.raises(KeyboardInterrupt):
            source16.backups.serve("one", at, told)
    (left,) = source16.backups.instances()
    assert (left.serving is not None) == (step == "look")
    served = source16.backups.serve("one", at, told)
    with as_app(at) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert not marked(source16, served)


def test_one_given_up_is_killed_halfway_and_given_up_again(
    source16: Production, monkeypatch: pytest.MonkeyPatch
):
    restored(source16)
    source16.backups.serve("one", here(), seen(source16))
    with monkeypatch.context() as patched:
        patched.setattr(Instances, "mark", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            source16.backups.retire("one")
    with pytest.raises(Refused, match="may be the production"):
        source16.backups.destroy("one")
    source16.backups.retire("one")
    (left,) = source16.backups.instances()
    assert marked(source16, left)
    assert source16.rows(left, "SELECT current_setting('listen_addresses')") == [("",)]


def test_one_that_does_not_come_up_is_isolated_and_marked_again(source16: Production):
    instance = restored(source16)
    told = seen(source16)
    too_much = ServingSource((*told.settings, ("shared_buffers", "1000000000")), told.hba)
    with pytest.raises(Refused, match="the instance does not serve"):
        source16.backups.serve("one", here(), too_much)
    assert source16.backups.instances() == (instance,)
    assert marked(source16, instance)
    assert source16.rows(instance, "SELECT count(*) FROM t") == [(1,)]
    with as_app(served_at(source16, told)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)


def served_at(source: Production, told: ServingSource) -> Listening:
    at = here()
    source.backups.serve("one", at, told)
    return at


def test_a_slot_made_while_it_served_does_not_keep_it_from_being_isolated(source16: Production):
    restored(source16)
    served = source16.backups.serve("one", here(), seen(source16))
    source16.rows(served, "SELECT pg_create_logical_replication_slot('back', 'pgoutput')")
    source16.backups.retire("one")
    (left,) = source16.backups.instances()
    assert source16.rows(left, "SELECT count(*) FROM pg_replication_slots") == [(0,)]


# ── what is read of the source ──────────────────────────────────────────────────────────────────────────


def test_a_plain_owner_reads_settings_and_the_logins_come_from_the_backup(source: Production):
    restored(source)
    source.run("ALTER ROLE owner SET work_mem = '9MB'")
    told = seen(source, "owner")
    source.run("ALTER ROLE owner RESET work_mem")
    assert told.hba == ()
    assert not told.all_seen
    assert told.covered == ("work_mem",)
    assert dict(told.settings)["max_connections"] == "77"
    at = here()
    served = source.backups.serve("one", at, told)
    with as_app(at) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("77",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        as_app(at, "wrong")
    assert "its pg_hba is the one of the backup" in notes(served)
    assert "settings that only superusers see were not read" in notes(served)
    assert "work_mem is at its default" in notes(served)


def test_a_superuser_reads_what_stands_behind_a_setting_of_the_role(source: Production):
    source.run("ALTER ROLE postgres SET work_mem = '9MB'")
    told = seen(source)
    source.run("ALTER ROLE postgres RESET work_mem")
    assert told.covered == ()
    assert dict(told.settings)["work_mem"] in ("5MB", "5120")
    assert dict(told.settings)["myapp.tenant"] == "blue"
    assert "archive_command" not in dict(told.settings)
    assert "secret" not in repr(ServingSource((("a", "secret"),), ("secret",)))


def test_without_any_pg_hba_only_this_machine_gets_in(source16: Production):
    instance = restored(source16)
    record, _ = Instances(source16.surroundings).whole("one")
    (layout_of(record).data / "pg_hba.conf.of_source").unlink()
    served = source16.backups.serve("one", at := here(), ServingSource((), ()))
    assert "only this machine gets in" in notes(served)
    assert source16.rows(served, "SELECT count(*) FROM pg_hba_file_rules") == [(1 + len(LOOPBACK),)]
    with as_app(at):
        pass
    assert instance.serving is None


def test_a_setting_and_a_login_that_do_not_fit_here_are_left_out_and_named(source16: Production):
    restored(source16)
    settings = (("lc_time", "xx_YY"), ("nothing.of_it", "a'b\\c"), ("no_such", "1"), ("work_mem", "7MB"))
    lines = ("host all app 127.0.0.1/32 scram-sha-256", "host all all all pam", "host all all all trust")
    served = source16.backups.serve("one", at := here(), ServingSource(settings, lines))
    assert "lc_time is not carried over" in notes(served)
    assert "no_such is not carried over" in notes(served)
    assert "its pg_hba ends before its network line 2" in notes(served)
    with as_app(at) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
        assert connection.execute("SHOW nothing.of_it").fetchone() == ("a'b\\c",)
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(host=at.host, port=at.port, user="postgres", dbname=DATABASE)


def test_the_lines_of_a_pg_hba_are_read_as_they_were_meant(source16: Production):
    layout = source16.server.layout
    whole = (layout.data / "pg_hba.conf").read_text()
    lines = (
        "host all all 10.0.0.0 255.0.0.0 md5",
        'hostnossl "my db",all +staff,+"two words" ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff reject',
        "host replication all samenet scram-sha-256",
        "host sameuser all .example.com cert map=people",
        "host all all all trust",
    )
    (layout.data / "pg_hba.conf").write_text("local all all trust\n# note\n" + "\n".join(lines) + "\n")
    try:
        with open_session(layout.conninfo(DATABASE), "backout/test/0") as session:
            read = read_hba(session)
    finally:
        (layout.data / "pg_hba.conf").write_text(whole)
    expected = list(lines)
    del expected[3]  # cert wants hostssl: an error, no rule
    assert read == tuple(expected)


def test_a_pg_hba_file_counts_up_to_what_it_includes():
    text = "# x\nlocal all all peer\n host all all \\\n 10.0.0.0/8 md5\n"
    text += "include more.conf\nhost all all all trust\n"
    assert lines_of_file(text) == ("host all all   10.0.0.0/8 md5",)


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_tls_comes_along_with_its_files_and_is_off_without_them():
    major = next((major for major in available_majors() if has_tls(major)), None)
    if major is None:
        pytest.skip("no PostgreSQL with TLS on this machine")
    pair = trustme.CA().issue_cert("127.0.0.1")
    files = {
        "server.key": pair.private_key_pem.bytes(),
        "server.crt": b"".join(blob.bytes() for blob in pair.cert_chain_pems),
    }
    with production(
        major, {"ssl": "on"}, hba=HBA + "hostssl all all 0.0.0.0/0 cert\n", files=files
    ) as source:
        source.run("CREATE ROLE app LOGIN PASSWORD 'secret of app'")
        restored(source)
        at, told = here(), seen(source)
        served = source.backups.serve("one", at, told)
        assert "TLS" not in notes(served)
        with as_app(at, sslmode="require") as connection:
            assert connection.execute("SHOW ssl").fetchone() == ("on",)
        source.backups.retire("one")
        key = layout_of(Instances(source.surroundings).whole("one")[0]).data / "server.key"
        for spoil, why in ((key.write_text, "passphrase"), (lambda _: key.unlink(), "not in the backup")):
            spoil("no key")
            served = source.backups.serve("one", at, told)
            assert f"TLS is off: server.{'key is ' if 'not' in why else ''}" in notes(served)
            assert why in notes(served)
            assert "over TLS only cannot come in" in notes(served)
            with as_app(at) as connection:
                assert connection.execute("SHOW ssl").fetchone() == ("off",)
            source.backups.retire("one")


# ── what is carried ─────────────────────────────────────────────────────────────────────────────────────


def test_what_names_the_source_or_acts_on_others_stays_behind():
    kept = (("work_mem", "5120"), ("TimeZone", "Europe/Berlin"), ("max_connections", "300"))
    left = {
        "data_directory": "/d",
        "port": "5432",
        "archive_mode": "on",
        "primary_conninfo": "host=x",
        "shared_preload_libraries": 'pg_cron, "pg_stat_statements"',
        "recovery_min_apply_delay": "1",
        "ssl_cert_file": "/etc/x",
        "syslog_ident": "x",
        "huge_pages": "on",
        "synchronous_standby_names": "*",
    }
    source = ServingSource((*kept, *left.items()), ())
    assert carried(source) == dict(kept)
    ours = forced(source, {"max_connections": "100", "max_wal_senders": "12", "max_worker_processes": "8"})
    assert (ours["max_connections"], ours["max_wal_senders"]) == ("300", "12")
    assert (ours["max_worker_processes"], ours["max_replication_slots"]) == ("8", "10")
    said = "\n".join(not_carried(source))
    for word in ("archiving", "pg_cron is", "pg_stat_statements is", "no standby", "huge_pages"):
        assert word in said
    assert not_carried(ServingSource(kept, ())) == ()


def test_an_instance_that_is_not_there_cannot_serve(source16: Production):
    with pytest.raises(ConfigurationError, match="there is no instance gone"):
        source16.backups.serve("gone", here(), ServingSource((), ()))


def test_one_that_is_gone_is_told_from_one_that_serves(source16: Production, monkeypatch: pytest.MonkeyPatch):
    """A second call on a serving one that does not answer says so, and cuts nobody off."""
    restored(source16)
    at = served_at(source16, seen(source16))
    with monkeypatch.context() as patched:
        patched.setattr(serving, "make_conninfo", lambda **_: f"host=127.0.0.1 port={free_port()}")
        with pytest.raises(NeighbourUnreachable, match="nobody answers"):
            source16.backups.serve("one", at, ServingSource((), ()))
    with as_app(at) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
