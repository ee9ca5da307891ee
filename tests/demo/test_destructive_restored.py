"""The destructive night with strategy B: traffic moves to the restored state, with a pooler and without."""

from __future__ import annotations

import os
import random
import shutil

import pytest

from backout.demo.place import Place
from backout.demo.world import control, entrance, production, scratch
from backout.demo.world.application import CLIENTS
from backout.demo.world.processes import Processes
from backout.demo.world.production import BACKUP_ROLE, Production
from backout.errors import NeighbourUnreachable
from backout.postgres.connect import open_session
from tests.demo.test_destructive import everything_is_back
from tests.demo.typed import begin, end, kill_after

NIGHT = ("destructive", "--strategy", "restore", "--json")
pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.timeout(600)]


def everything_is_stopped(place: Place) -> None:
    """The server that was production, the one that is, and the way in."""
    made = Production(**control.read(place.root / "production.json"))
    for port in (made.port, made.new_port):
        with pytest.raises(NeighbourUnreachable):
            made.session(port).close()
    processes = Processes(place.processes)
    assert not any(processes.lives(name) for name in ("application", "etl", entrance.POOLER))


def the_role_may_what_the_page_names(place: Place) -> None:
    """docs/howto/restore-and-cut-over.md, and nothing else."""
    found = production.start(place)
    with found.administer() as admin:
        rights = admin.execute(
            """SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication,
                      ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid),
                      (SELECT datdba = r.oid FROM pg_database WHERE datname = 'heroes')
               FROM pg_roles r WHERE rolname = 'heroes'"""
        ).fetchone()
    production.stop(found)
    assert rights == (False, False, False, False, True, ["pg_signal_backend"], True)


def the_new_side_starts_again_and_goes_with_the_next_demo(place: Place) -> None:
    """Behind the fence by now: traffic went back."""
    made = Production(**control.read(place.root / "production.json"))
    scratch.start_serving(place)
    with pytest.raises(NeighbourUnreachable, match="too many connections"):
        made.session(made.new_port).close()
    there = made.url_at(f"127.0.0.1:{made.new_port}", BACKUP_ROLE, made.backup_password)
    with open_session(there, "backout-tests") as session:
        assert session.execute("SELECT count(motto) FROM public.users").fetchone() == (2000,)
    scratch.forget(place)
    with pytest.raises(NeighbourUnreachable):
        made.session(made.new_port).close()
    assert not place.state.exists()


def no_secret_is_shown(place: Place, screen: str) -> None:
    files = [*place.root.rglob("*-url")]
    assert len(files) >= 3
    for file in files:
        password = file.read_text().partition("@")[0].rpartition(":")[2]
        assert password not in screen, file.name


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not on this machine")
@pytest.mark.proves(
    claim="The destructive night with strategy B, and back",
    on="guard, base backup, PgBouncer, one machine, loopback",
    rights="plain owner of the database with REPLICATION; a superuser to go back",
    versions="16",
    size="4 writers, 23,000 rows",
)
def test_traffic_moves_through_the_pooler_and_back_without_an_error(own: Place) -> None:
    place = Place(own.root / "restore")
    code, document, screen = end(begin(own, *NIGHT))
    assert code == 0, screen
    assert document["seconds"] < 300
    everything_is_back(document, "B", went_back=True)
    no_secret_is_shown(place, screen)
    everything_is_stopped(place)
    the_role_may_what_the_page_names(place)
    the_new_side_starts_again_and_goes_with_the_next_demo(place)


@pytest.mark.soak  # the first demo is killed in the ordinary run
@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not on this machine")
def test_a_night_that_is_killed_in_the_middle_goes_on_with_the_same_incident(own: Place) -> None:
    place = Place(own.root / "restore")
    wanted = random.Random().choice(["open", "prove", "propose", "approve", "run", "verify", "count"])
    incident = kill_after(begin(own, *NIGHT), place, wanted, random.Random().uniform(0.2, 9.0))
    code, document, screen = end(begin(own, *NIGHT))
    assert code == 0, f"killed after {wanted}\n{screen}"
    assert document["incident"] == incident
    everything_is_back(document, "B", went_back=True)


@pytest.mark.soak  # the merge of the states has tests of its own
@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not on this machine")
def test_without_a_guard_the_states_are_compared_and_nothing_is_lost(own: Place) -> None:
    code, document, screen = end(begin(own, *NIGHT, "--no-guard"))
    assert code == 0, screen
    everything_is_back(document, "B", went_back=True)
    assert "backout guard" not in screen


def without_pooler() -> str:
    """Our PATH, without the directories in which a pooler lies."""
    kept = [d for d in os.environ["PATH"].split(os.pathsep) if shutil.which("pgbouncer", path=d) is None]
    path = os.pathsep.join(kept)
    if shutil.which("setpriv", path=path) is None:
        pytest.skip("pgbouncer lies in the same directory as the programs of the system")
    return path


@pytest.mark.soak  # the lever itself has tests of its own
def test_without_a_pooler_each_client_sees_one_error_and_nothing_is_lost(own: Place) -> None:
    place = Place(own.root / "restore")
    code, document, screen = end(begin(own, *NIGHT, path=without_pooler()))
    assert code == 0, screen
    everything_is_back(document, "B", errors=CLIENTS + 1)
    assert document["seconds"] < 300
    assert screen.count("No PgBouncer on this machine") == 1
    assert "multi-host: one error per client" in " ".join(screen.split())
    assert "$ backout guard --target heroes-production -- ./migrate up" in screen
    no_secret_is_shown(place, screen)
    everything_is_stopped(place)
