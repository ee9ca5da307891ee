"""HAProxy before the database: every client is cut once, none writes to the side that was left."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backout.errors import ConfigurationError, NeighbourUnreachable
from backout.model.check import CheckState
from backout.plugins import traffic
from backout.ports.traffic import Address, Traffic
from backout.postgres.dead_man import Links, perform, spend
from tests.cutover import operating
from tests.cutover.balancer import CFG, Balancer, balancer
from tests.cutover.sides import Pooler, Sides
from tests.cutover.writers import writing


def config(sides: Sides, through: Balancer, directory: Path, **more: Any) -> dict[str, Any]:
    made = operating.config(sides, Pooler(directory, 1), directory, **more)
    made["logins"]["canary"] = through.dsn()
    return {**made, "lever": "haproxy", "options": through.options}


@pytest.mark.proves(
    claim="Traffic moves, each client is cut once, no acknowledged write is lost",
    on="two servers, HAProxy of the distribution, one machine, loopback",
    rights="superuser",
    versions="16",
    size="20 writers, some thousand rows",
)
def test_each_client_is_cut_once_and_no_acknowledged_write_is_lost(pair: Sides, tmp_path: Path):
    with balancer(pair) as through:
        before = through.cfg.read_text()
        with writing(through.dsn()) as ledger:
            time.sleep(0.5)
            done = operating.cut_over(config(pair, through, tmp_path))
            time.sleep(1.0)
        assert done["complete"], done["proof"]
        assert ledger.missing_on(pair.new, pair.database) == set()
        assert through.leads_to() == str(pair.new.port)
        refused = [error for error in ledger.errors if "connection" in error and "fail" in error]
        broken = [error.split("/")[0] for error in ledger.errors if error not in refused]
        assert len(broken) == len(set(broken)) <= 20, ledger.told()  # once a client
        assert ledger.longest_silence_ms < 1000 + ledger.slowest_ms
        lines = through.cfg.read_text().splitlines()
        assert "led to" in lines[0]
        wanted = before.replace(f"127.0.0.1:{pair.old.port}", f"127.0.0.1:{pair.new.port}").splitlines()
        assert lines[1:] == wanted, "every other byte is as it was"


def test_a_restarted_haproxy_reads_the_old_side_until_the_switch_and_the_new_one_after_it(
    pair: Sides, tmp_path: Path
):
    with balancer(pair) as through:
        lever = traffic("haproxy", through.options)
        warrant = lever.prepare(Address("127.0.0.1", pair.new.port, pair.database), "t1")
        through.kill()
        through.start()
        assert through.leads_to() == str(pair.old.port)
        lever.switch(warrant, 1.0)
        through.kill()
        through.start()
        assert through.leads_to() == str(pair.new.port)
        lever.close()


def test_an_operator_that_dies_behind_the_rename_is_completed_by_the_dead_man(pair: Sides, tmp_path: Path):
    """The old side refuses everybody by then: the dead-man ends who is left there."""
    with balancer(pair) as through, writing(through.dsn()) as ledger:
        hurt = {"step": "SWITCH", "when": "after", "how": "kill"}
        made = config(pair, through, tmp_path, hurt=hurt, enter=False)
        for _ in range(20):  # a loaded machine misses deadlines, and then nothing has moved
            operator = operating.start(made)
            operator.process.wait(60)
            if Path(made["mark"]).exists():
                break
            operator.said()
        died = time.monotonic()
        time.sleep(3.0)
        assert through.leads_to() == str(pair.new.port)
        assert ledger.since(died + 1.0) > 0, ledger.told()
    assert ledger.missing_on(pair.new, pair.database) == set()


def test_a_rename_that_nobody_told_haproxy_of_is_completed_by_the_orders_of_the_dead_man(pair: Sides):
    """The file leads to the new side and HAProxy does not: without it both sides would refuse."""
    new = Address("127.0.0.1", pair.new.port, pair.database)
    with balancer(pair) as through:
        lever = traffic("haproxy", through.options)
        assert spend(asdict(lever.prepare(new, "t1")))
        assert through.leads_to() == str(pair.old.port)
        links = Links({name: asdict(link) for name, link in lever.links().items()})
        for act in (*lever.forward(new), *lever.forward(new)):
            perform(asdict(act), links)
        assert through.leads_to() == str(pair.new.port)
        lever.close()


def test_sessions_that_stayed_are_ended_with_the_switch(pair: Sides):
    """A change of the address moves nobody who is there (measured): whoever is, is ended."""
    with balancer(pair) as through, psycopg.connect(through.dsn(), autocommit=True) as stays:
        lever = traffic("haproxy", through.options)
        lever.switch(lever.prepare(Address("127.0.0.1", pair.new.port, pair.database), "t1"), 1.0)
        assert stays.execute("SELECT inet_server_port()").fetchone() == (pair.old.port,)
        lever.release(1.0)
        with pytest.raises(psycopg.OperationalError):
            stays.execute("SELECT 1")
        with psycopg.connect(through.dsn()) as anew:
            assert anew.execute("SELECT inet_server_port()").fetchone() == (pair.new.port,)
        lever.close()


def state_of(lever: Traffic, name: str) -> CheckState:
    return {check.name: check.state for check in lever.checks()}[name]


def test_a_runtime_api_that_may_not_act_is_seen_before_anything_is_held(pair: Sides):
    with balancer(pair, level="operator") as through:
        lever = traffic("haproxy", through.options)
        assert state_of(lever, "runtime API") is CheckState.FAIL
    with balancer(pair) as through:
        lever = traffic("haproxy", through.options)
        assert state_of(lever, "runtime API") is CheckState.PASS
        assert state_of(lever, "configuration") is CheckState.PASS
        through.cfg.write_text(through.cfg.read_text().replace(str(pair.old.port), "1"))
        assert state_of(lever, "configuration") is CheckState.FAIL, "the file is not what is in force"
        with pytest.raises(NeighbourUnreachable, match="no server app/other"):
            traffic("haproxy", {**through.options, "server": "other"}).read_back()


def lever_of(directory: Path, text: str) -> Traffic:
    cfg = directory / "haproxy.cfg"
    cfg.write_text(text)
    names = {"backend": "app", "server": "db", "database": "shop", "socket": str(directory / "none.sock")}
    return traffic("haproxy", {"cfg": str(cfg), **names})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text + "    server other 127.0.0.1:1\n", "2 servers"),
        (lambda text: text.replace("server db", "server-template db"), "0 times"),
        (lambda text: text.replace("backend app", "backend shop"), "0 times"),
    ],
)
def test_a_backend_that_writes_go_to_in_parts_is_refused(tmp_path: Path, change: Any, why: str):
    lever = lever_of(tmp_path, change(CFG.format(socket="s", level="admin", port=1, old=5432)))
    with pytest.raises(ConfigurationError, match=why):
        lever.prepare(Address("127.0.0.1", 5433, "shop"), "t1")


def test_a_haproxy_elsewhere_says_what_a_cut_network_costs(tmp_path: Path):
    text = CFG.format(socket="s", level="admin", port=1, old=5432)
    assert lever_of(tmp_path, text).price().unattended == ""
    elsewhere = {"cfg": str(tmp_path / "haproxy.cfg"), "backend": "app", "server": "db", "database": "shop"}
    told = traffic("haproxy", {**elsewhere, "socket": "10.0.0.9:9999"}).price().unattended
    assert told.startswith("until a person acts")
    with pytest.raises(ConfigurationError, match="no place of a runtime API"):
        traffic("haproxy", {**elsewhere, "socket": "10.0.0.9"})
