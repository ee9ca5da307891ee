"""Levers without a pooler: libpq's list of hosts, and a file with a restart; each says what it costs."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq
from psycopg.conninfo import make_conninfo

from backout.errors import ConfigurationError, NeighbourUnreachable, Stopped
from backout.model.cutover import Promise
from backout.plugins import TRAFFIC, names, traffic
from backout.ports.traffic import Address
from backout.postgres.dead_man import withdraw
from backout.testing.servers import RealServer
from tests.cutover import operating
from tests.cutover.sides import CLERK, SECRET, Pooler, Sides
from tests.cutover.writers import writing


def both_hosts(first: RealServer, second: RealServer, database: str) -> str:
    ports = f"{first.port},{second.port}"
    return (
        f"host=127.0.0.1,127.0.0.1 port={ports} dbname={database} user={CLERK} password={SECRET} "
        "target_session_attrs=read-write"
    )


def new_first(sides: Sides) -> str:
    return both_hosts(sides.new, sides.old, sides.database)


def multi_host(sides: Sides, directory: Path, **more: Any) -> dict[str, Any]:
    nobody = Pooler(directory, 1)
    made = operating.config(sides, nobody, directory, **more)
    made["logins"]["canary"] = new_first(sides)
    options = {
        "state": str(directory / "lever"),
        "new": sides.new.dsn("postgres"),
        "database": sides.database,
        "application": CLERK,
    }
    return {**made, "lever": "multi-host", "options": options}


@pytest.mark.proves(
    claim="The same with a list of hosts",
    on="two servers, psycopg, one machine, loopback",
    rights="superuser",
    versions="16",
    size="20 writers, some thousand rows",
)
def test_clients_with_a_list_of_hosts_see_one_error_each_and_lose_nothing(pair: Sides, tmp_path: Path):
    with pair.new.connect() as admin:  # the replica of a real set-up leads nobody to itself
        set_ = f"ALTER DATABASE {pair.database} SET default_transaction_read_only = on"
        admin.execute(set_.encode())
    with writing(new_first(pair)) as ledger:
        time.sleep(0.5)
        done = operating.cut_over(multi_host(pair, tmp_path))
        time.sleep(1.0)
    assert done["complete"], done["proof"]
    assert ledger.missing_on(pair.new, pair.database) == set()
    refused = [error for error in ledger.errors if "connection failed" in error]
    broken = [error.split("/")[0] for error in ledger.errors if error not in refused]
    assert len(broken) == len(set(broken)) <= 20, ledger.told()  # once a client
    assert ledger.longest_silence_ms < 1000 + ledger.slowest_ms


def test_instances_that_read_a_file_again_move_and_lose_nothing(pair: Sides, tmp_path: Path):
    """An attempt that is given up allows writes again; the move asks each instance what it has read."""
    file, allowed = tmp_path / "url", tmp_path / "allowed"
    file.write_text(pair.old.dsn(pair.database, CLERK, SECRET))
    ask = f"print('web-1', {str(file)!r} and open({str(file)!r}).read().rpartition('@')[2])"
    options = {
        "file": str(file),
        "restart": [sys.executable, "-c", ""],
        "stop_writes": [sys.executable, "-c", ""],
        "allow_writes": [sys.executable, "-c", f"open({str(allowed)!r}, 'a').write('x')"],
        "instances": [sys.executable, "-c", ask],
    }
    made = multi_host(pair, tmp_path, lever="file", options=options, budget={"pause": 5000, "release": 5000})
    made["logins"]["canary"] = pair.new.dsn(pair.database, CLERK, SECRET)
    made |= {"lever": "file", "options": options}
    with writing(file.read_text) as ledger:
        aborted = operating.start({**made, "budget": {**made["budget"], "drain": -5300}}).said()
        assert aborted["error"]["kind"] == "Stopped", aborted
        assert allowed.read_text() == "x"
        assert str(pair.old.port) in file.read_text()
        done = operating.cut_over(made)
        time.sleep(1.0)
    assert done["complete"], done["proof"]
    assert ledger.missing_on(pair.new, pair.database) == set()


def file_lever(file: Path, **more: object):
    return traffic("file", {"file": str(file), "restart": [sys.executable, "-c", ""], **more})


def test_a_file_keeps_role_password_and_all_else_of_its_connection_string(tmp_path: Path):
    file = tmp_path / "app.env"
    file.write_text(
        "# the shop\nDATABASE_URL='postgresql://clerk:p%40ss@db-1:5432/shop?sslmode=require'\nX=1\n"
    )
    file.chmod(0o640)
    lever = file_lever(file)
    warrant = lever.prepare(Address("db-2", 6432, "shop"), "t1")
    assert "db-1" in file.read_text()
    lever.switch(warrant, 1.0)
    assert file.read_text() == (
        "# the shop\nDATABASE_URL='postgresql://clerk:p%40ss@db-2:6432/shop?sslmode=require'\nX=1\n"
    )
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_withdrawn_permission_stops_the_switch_and_leaves_the_file(tmp_path: Path):
    file = tmp_path / "url"
    file.write_text("postgresql://clerk@db-1/shop")
    lever = file_lever(file)
    warrant = lever.prepare(Address("db-2", 5432, "shop"), "t1")
    assert withdraw(asdict(warrant))
    with pytest.raises(Stopped, match="withdrawn"):
        lever.switch(warrant, 1.0)
    assert file.read_text() == "postgresql://clerk@db-1/shop"


def test_an_instance_that_still_reads_the_old_string_is_named(tmp_path: Path):
    file = tmp_path / "url"
    file.write_text("postgresql://clerk@db-1/shop")
    tell = "print('web-1 db-2:5432/shop'); print('web-2 db-1:5432/shop'); print('web-3 ?')"
    led = file_lever(file, instances=[sys.executable, "-c", tell]).read_back()
    assert [(one.who, str(one.now)) for one in led] == [
        ("instance web-1", "db-2:5432/shop"),
        ("instance web-2", "db-1:5432/shop"),
        ("instance web-3", "None"),
    ]


def test_without_a_way_to_read_back_an_instance_is_unknown_and_never_complete(tmp_path: Path):
    file = tmp_path / "url"
    file.write_text("postgresql://clerk@db-1/shop")
    assert [one.now for one in file_lever(file).read_back()] == [None]


def command_lever(secret: Path, state: Path, **more: object):
    """A secrets manager, as two programs of the user's see it: a reader gets the old one or the new one."""
    read = [sys.executable, "-c", f"print(open({str(secret)!r}).read(), end='')"]
    write = [
        sys.executable,
        "-c",
        f"""
import os, sys
with open({str(secret)!r} + '.new', 'w') as out:
    out.write(sys.stdin.read())
os.replace({str(secret)!r} + '.new', {str(secret)!r})
""",
    ]
    restart = [sys.executable, "-c", ""]
    return {"state": str(state), "read": read, "write": write, "restart": restart, **more}


@pytest.mark.proves(
    claim="The same where commands read and write the connection string",
    on="two servers, two programs in place of a secrets manager, one machine, loopback",
    rights="superuser",
    versions="16",
    size="20 writers, some thousand rows",
)
def test_a_string_that_only_commands_reach_moves_and_loses_nothing(pair: Sides, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text('{"url": "' + pair.old.dsn(pair.database, CLERK, SECRET) + '"}')
    ask = f"print('pod-1', open({str(secret)!r}).read().rpartition('@')[2].rstrip('\"}}'))"
    options = command_lever(secret, tmp_path / "state", instances=[sys.executable, "-c", ask])
    made = multi_host(pair, tmp_path, budget={"pause": 5000, "release": 5000})
    made["logins"]["canary"] = pair.new.dsn(pair.database, CLERK, SECRET)
    made |= {"lever": "command", "options": options}
    with writing(lambda: json.loads(secret.read_text())["url"]) as ledger:
        done = operating.cut_over(made)
        time.sleep(1.0)
    assert done["complete"], done["proof"]
    assert ledger.missing_on(pair.new, pair.database) == set()
    assert json.loads(secret.read_text())["url"] == pair.new.dsn(pair.database, CLERK, SECRET)


def test_a_command_that_may_not_write_is_found_before_anything_is_held(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("postgresql://clerk:s3cret@db-1/shop")
    refuses = [sys.executable, "-c", "import sys; sys.exit('AccessDenied')"]
    lever = traffic("command", command_lever(secret, tmp_path, write=refuses))
    with pytest.raises(NeighbourUnreachable, match="ended with 1") as told:
        lever.prepare(Address("db-2", 5432, "shop"), "t1")
    assert "s3cret" not in str(told.value)
    assert not list(tmp_path.glob("command*"))


def test_a_spent_permission_is_written_again_by_whoever_comes_after_a_kill(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("postgresql://clerk@db-1/shop")
    lever = traffic("command", command_lever(secret, tmp_path))
    lever.switch(lever.prepare(Address("db-2", 6432, "shop"), "t1"), 1.0)
    assert secret.read_text() == "postgresql://clerk@db-1/shop"
    after = traffic("command", command_lever(secret, tmp_path))
    for _ in range(2):
        after.release(5.0)
        assert secret.read_text() == "postgresql://clerk@db-2:6432/shop"


def test_each_lever_prints_its_own_price(tmp_path: Path):
    file = tmp_path / "url"
    file.write_text("postgresql://clerk@db-1/shop")
    slow = file_lever(file, measured_seconds=212.0).price()
    assert slow.promise is Promise.RESTART
    assert slow.pause == "errors while instances restart: 212 s"
    assert file_lever(file).price().pause.endswith("unknown: no restart was measured")
    console = {
        "ini": "/etc/pgbouncer/pgbouncer.ini",
        "entry": "app",
        "admin": "postgresql://k@10.0.0.9:6432/pgbouncer",
    }
    assert traffic("pgbouncer", console).price().unattended.startswith("until a person acts")
    beside = {**console, "admin": "postgresql://k@127.0.0.1:6432/pgbouncer"}
    assert traffic("pgbouncer", beside).price().unattended == ""


def test_every_lever_comes_through_the_plugin_door():
    assert set(names(TRAFFIC)) >= {"pgbouncer", "multi-host", "haproxy", "file", "command"}
    with pytest.raises(ConfigurationError, match="no adapter for the traffic lever 'pgcat'"):
        traffic("pgcat", {})


@pytest.mark.parametrize("name", ["dns", "rotation", "secret", "kubernetes", "rds-proxy", "percentage"])
def test_what_the_runbook_calls_a_lever_and_is_none_here_says_why_and_what_does_it(name: str):
    with pytest.raises(ConfigurationError, match=f"{name} is no lever here: ") as told:
        traffic(name, {})
    assert "lever" in told.value.next


def libpq(conninfo: str) -> tuple[int, str]:
    """Which port libpq itself ends at, as drivers on it do; psycopg walks the list in Python."""
    connection = pq.PGconn.connect(conninfo.encode())
    try:
        reached = int(connection.port) if connection.status == pq.ConnStatus.OK else 0
        return reached, connection.get_error_message()
    finally:
        connection.finish()


def test_libpq_does_not_go_on_past_a_fenced_host_so_the_new_side_has_to_stand_first(pair: Sides):
    database = pair.database
    with pair.old.connect() as admin:
        admin.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 0".encode())
    reached, said = libpq(both_hosts(pair.old, pair.new, database))
    assert not reached and "too many connections for database" in said
    assert libpq(new_first(pair))[0] == pair.new.port
    with psycopg.connect(both_hosts(pair.old, pair.new, database)) as walked:
        assert walked.info.port == pair.new.port


def test_from_before_it_answers_until_the_switch_the_list_leads_to_the_old_side(pair: Sides, tmp_path: Path):
    lever = traffic("multi-host", multi_host(pair, tmp_path)["options"])
    assert libpq(new_first(pair))[0] == pair.new.port, "whoever connects would write there"
    lever.keep_away()
    lever.keep_away()
    assert libpq(new_first(pair))[0] == pair.old.port
    lever.close()


def test_the_list_reads_back_the_address_of_clients_and_not_our_own_door(pair: Sides, tmp_path: Path):
    """backout itself reaches a restored instance through its private socket, which no client knows."""
    options = multi_host(pair, tmp_path)["options"]
    lever = traffic("multi-host", {**options, "new": make_conninfo(options["new"], host="localhost")})
    new = Address("127.0.0.1", pair.new.port, pair.database)
    lever.switch(lever.prepare(new, "t1"), 1.0)
    lever.release(5.0)
    with psycopg.connect(new_first(pair)):
        assert [one.now for one in lever.read_back()] == [new]
    lever.close()
