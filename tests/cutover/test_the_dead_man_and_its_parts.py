"""The dead-man is one file of the standard library; the permission to switch is spent or withdrawn once."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backout.errors import NeighbourUnreachable, Refused
from backout.model.cutover import Warrant
from backout.ports.traffic import Act, Link
from backout.postgres import dead_man, fence, sequences
from backout.postgres.connect import open_session
from backout.postgres.dead_man_process import DeadMan, Orders
from backout.testing.servers import RealServer, start_server, stop_server


def test_it_needs_nothing_but_python():
    tree = ast.parse(Path(dead_man.__file__).read_text())
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)
    lonely = [sys.executable, "-I", "-S", dead_man.__file__]
    answer = subprocess.run(lonely, input=b"", capture_output=True, check=False)
    assert answer.returncode == 1 and b"the orders ended" in answer.stdout


def warrant(directory: Path) -> dict[str, str]:
    (directory / "final").write_text("old")
    (directory / "prepared").write_text("new")
    return {
        "prepared": str(directory / "prepared"),
        "final": str(directory / "final"),
        "withdrawn": str(directory / "withdrawn"),
        "digest": hashlib.sha256(b"new").hexdigest(),
    }


def test_a_permission_is_spent_or_withdrawn_never_both(tmp_path: Path):
    for number in range(200):
        directory = tmp_path / str(number)
        directory.mkdir()
        made = warrant(directory)
        won: dict[str, bool] = {}
        gate = threading.Barrier(2)

        def run(name: str, function, made=made, won=won, gate=gate) -> None:
            gate.wait()
            won[name] = function(made)

        both = [
            threading.Thread(target=run, args=("spent", dead_man.spend)),
            threading.Thread(target=run, args=("withdrawn", dead_man.withdraw)),
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert won["spent"] is not won["withdrawn"]
        assert dead_man.switched(made) is won["spent"]
        assert dead_man.withdraw(made) is not won["spent"]  # asked again, it says the same


@pytest.mark.parametrize("method", ["trust", "password", "md5", "scram-sha-256"])
def test_it_logs_in_by_each_method(method: str):
    encryption = "md5" if method == "md5" else "scram-sha-256"
    server = start_server(
        16, hba=f"host all all 127.0.0.1/32 {method}\n", settings={"password_encryption": encryption}
    )
    try:
        with server.connect() as admin:
            admin.execute("CREATE ROLE keeper LOGIN PASSWORD 'k3eper'")
        address = {
            "host": "127.0.0.1",
            "port": server.port,
            "user": "keeper",
            "password": "k3eper",
            "database": "postgres",
        }
        wire = dead_man.Wire(address)
        assert wire.ask("SELECT 1 AS a, NULL AS b; SELECT 'x' AS a, 'ß' AS b") == [
            {"a": "1", "b": None},
            {"a": "x", "b": "ß"},
        ]
        with pytest.raises(dead_man.Refusal, match="does not exist"):
            wire.ask("SELECT * FROM nowhere")
        with pytest.raises(TimeoutError):
            wire.ask("SELECT pg_sleep(5)", 0.2)
        assert wire.closed
        if method != "trust":
            with pytest.raises(dead_man.Refusal, match="password authentication failed"):
                dead_man.Wire({**address, "password": "wrong"})
    finally:
        stop_server(server)


def orders(server: RealServer, directory: Path, password: str = "") -> Orders:
    link = Link("127.0.0.1", server.port, "postgres", "postgres", password)
    act = Act("old", "CREATE TABLE IF NOT EXISTS settled (a int)")
    return Orders(Warrant(**warrant(directory)), {"old": link}, (act,), (), (), (), 300)


def test_a_dead_man_that_cannot_watch_says_why_and_nothing_is_held(pg16: RealServer, tmp_path: Path):
    made = orders(pg16, tmp_path)
    nowhere = Link("127.0.0.1", 1, "nobody", "nothing", "hush-hush")
    broken = Orders(made.warrant, {"old": nowhere}, (), (), (), (), 300)
    with pytest.raises(NeighbourUnreachable, match="cannot watch") as refused:
        DeadMan.start(broken)
    assert "hush-hush" not in str(refused.value)


def test_no_password_is_in_its_arguments(pg16: RealServer, tmp_path: Path):
    guard = DeadMan.start(orders(pg16, tmp_path, "hush-hush"))
    try:
        assert b"hush-hush" not in Path(f"/proc/{guard.pid}/cmdline").read_bytes()
        assert b"hush-hush" not in Path(f"/proc/{guard.pid}/environ").read_bytes()
        assert guard.answers(5.0)
    finally:
        assert guard.disarm(5.0)


def test_disarmed_it_touches_nothing_and_rested_its_clock_stands_still(pg16: RealServer, tmp_path: Path):
    guard = DeadMan.start(orders(pg16, tmp_path))
    guard.hold()
    guard.rest()
    time.sleep(0.6)
    assert not guard.has_acted()
    assert guard.disarm(5.0)
    with pg16.connect() as admin:
        assert admin.execute("SELECT to_regclass('settled')").fetchone() == (None,)


def test_the_fence_keeps_the_owner_out_and_is_opened_from_another_database(pg: RealServer):
    with pg.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS keeper_of_one")
        admin.execute("CREATE ROLE keeper_of_one LOGIN")
    with pg.database("keeper_of_one") as name:
        elsewhere = open_session(pg.dsn("postgres", "keeper_of_one"), "t")
        with elsewhere:
            fence.prove_rights(elsewhere, name)
            fence.set_limit(elsewhere, name, 0)
            assert fence.cross(pg.dsn(name, "keeper_of_one")) == ""
            assert "no connection limit stops it" in fence.cross(pg.dsn(name))
            fence.set_limit(elsewhere, name, -1)
            assert fence.cross(pg.dsn(name, "keeper_of_one")) == "keeper_of_one got in"


def test_a_warning_behind_which_nothing_happened_is_an_error(pg16: RealServer):
    with pg16.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS bystander")
        admin.execute("CREATE ROLE bystander LOGIN")
    with (
        pg16.database() as name,
        open_session(pg16.dsn(name, "bystander"), "t") as session,
        pytest.raises(Refused, match="no privileges could be revoked"),
        fence.warnings_are_errors(session),
    ):
        session.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC".encode())


def test_sequences_move_in_their_own_direction_and_never_back(pg16: RealServer):
    with (
        pg16.database() as one,
        pg16.database() as other,
        open_session(pg16.dsn(one), "t") as old,
        open_session(pg16.dsn(other), "t") as new,
    ):
        for session in (old, new):
            session.execute("CREATE SEQUENCE public.up; CREATE SEQUENCE public.down INCREMENT -2")
            session.execute("CREATE SEQUENCE public.small MAXVALUE 50; CREATE SEQUENCE public.ahead")
        old.execute("SELECT setval('public.up', 700), setval('public.down', -30), setval('public.small', 49)")
        new.execute("SELECT setval('public.ahead', 90000)")
        assert sequences.carry(old, new, margin=100) == 4
        assert {name: value for _, name, value in sequences.positions(new)} == {
            "up": 800,
            "down": -230,
            "small": 50,
            "ahead": 90100,
        }
