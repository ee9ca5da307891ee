"""Nothing of ours is forgotten: cut after every step, killed, failed, expired, the next command clears it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backout.app import guard, incidents, lock
from backout.app.guard import newest_guard
from backout.engine.journals import SqliteJournal
from backout.model.guard import Wishes
from backout.model.journal import Entry
from tests.guard.world import Shop
from tests.story.harness import Cut, CuttingJournal

pytestmark = pytest.mark.slow

WISHES = Wishes(full=("keyless", "refusing", "events"))
KILLS = 8


class DyingJournal(SqliteJournal):
    """The process dies right before its n-th entry is written: an effect has happened and nobody noted it."""

    def __init__(self, path: Path, before: int) -> None:
        super().__init__(path)
        self.left = before

    def append(self, *arguments: Any, **named: Any) -> Entry:
        self.left -= 1
        if self.left == 0:
            raise Cut
        return super().append(*arguments, **named)


def arm(shop: Shop, journal: SqliteJournal | None = None) -> None:
    guard.arm(shop.desk(journal), "shop", WISHES, lambda plan: None, None)


def entries_of_arming(shop: Shop) -> int:
    arm(shop)
    found = newest_guard(shop.desk(), "shop")
    assert found is not None
    count = len(shop.desk().app.journal.read(found.id))
    assert shop.type("guard", "drop")[0] == 0
    return count


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [CuttingJournal, DyingJournal])
def test_cut_at_every_entry_the_next_command_finds_everything(shop16: Shop, how: type[CuttingJournal]):
    before = shop16.everything()
    for at in range(1, entries_of_arming(shop16)):
        journal = how(shop16.state / "journal.db", at)
        with pytest.raises(Cut):
            arm(shop16, journal)
        journal.close()
        code, _, said = shop16.type("status")
        assert code == 0
        assert shop16.everything() == before, f"cut at entry {at}: {said}"
        code, listed, _ = shop16.type("guard", "list")
        assert listed["guards"] == [], f"cut at entry {at}"


@pytest.mark.timeout(600)
def test_killed_at_random_moments_the_next_command_finds_everything(shop: Shop):
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    before = shop.everything()
    command = [sys.executable, "-m", "backout", "guard", "arm", "--full", "keyless", "--full", "events"]
    command += ["--config", str(shop.root / "backout.toml")]
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    usual = time.monotonic() - begun
    assert shop.type("guard", "drop")[0] == 0
    for number in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.4, 1.0) * usual)
        process.send_signal(signal.SIGKILL)
        process.wait()
        shop.type("status")
        if newest_guard(shop.desk(), "shop") is not None:
            assert shop.type("guard", "drop")[0] == 0
        assert shop.everything() == before, f"seed {seed}, kill {number}"


def test_killed_while_it_waits_for_a_slot(shop: Shop):
    before = shop.everything()
    command = [sys.executable, "-m", "backout", "guard", "arm", "--config", str(shop.root / "backout.toml")]
    with shop.connect() as writer:
        writer.autocommit = False
        writer.execute("INSERT INTO keyless VALUES ('held open')")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        slots = "SELECT 1 FROM pg_replication_slots WHERE database = current_database()"
        while not shop.rows(slots) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, _, said = shop.type("status")
        assert "cleared guard" in said
        writer.rollback()
    assert shop.everything() == before


def test_when_its_window_is_over_the_next_command_drops_it(shop16: Shop):
    before = shop16.everything()
    shop16.configure(window="1s")
    assert shop16.type("guard", "arm")[0] == 0
    time.sleep(1.2)
    code, _, said = shop16.type("status")
    assert code == 0 and "its window is over" in said
    assert shop16.everything() == before


def test_an_open_incident_keeps_an_expired_guard(shop16: Shop):
    shop = shop16
    with shop.connect() as owner:
        owner.execute("ALTER TABLE users ADD COLUMN nick text")
        owner.execute("INSERT INTO schema_migrations VALUES ('20240101')")
    shop.configure(window="1s")
    assert shop.type("guard", "arm")[0] == 0
    incident = incidents.open_incident(shop.desk(), incidents.Asked("shop", (), 1, "names")).incident.id
    time.sleep(1.2)
    shop.type("status")
    assert newest_guard(shop.desk(), "shop") is not None
    assert shop.type("close", incident)[0] == 0
    shop.type("status")
    assert newest_guard(shop.desk(), "shop") is None
    assert shop.rows("SELECT 1 FROM pg_replication_slots") == []


def test_a_target_that_leads_elsewhere_by_now_is_not_touched(shop16: Shop):
    shop = shop16
    assert shop.type("guard", "arm")[0] == 0
    with shop.server.database(shop.role) as other:
        shop.monkeypatch.setenv("SHOP_DSN", shop.server.dsn(other, shop.role, "x"))
        code, document, _ = shop.type("guard", "drop")
        assert code == 3 and "another database" in document["what"]
        code, status, _ = shop.type("guard", "status")
        assert code == 1 and status["health"]["checks"][0]["state"] == "unknown"
    shop.monkeypatch.setenv("SHOP_DSN", shop.dsn)
    assert shop.type("guard", "drop")[0] == 0


def test_a_guard_whose_journal_is_lost_is_seen_and_dropped_from_another_machine(shop: Shop):
    before = shop.everything()
    shop.configure(window="1s")
    _, armed, _ = shop.type("guard", "arm", "--full", "refusing", "--full", "indexed")
    slot = armed["guard"]["slot"]
    shop.monkeypatch.setenv("BACKOUT_STATE", str(shop.root / "another"))
    time.sleep(1.2)
    code, listed, _ = shop.type("guard", "list")
    assert code == 0
    assert [(row["id"], row["state"]) for row in listed["guards"]] == [(slot, "armed elsewhere, over")]
    assert listed["next"] == f"backout guard drop {slot} --target shop"
    code, dropped, _ = shop.type("guard", "drop", slot)
    assert code == 0, dropped
    assert shop.everything() == before
    assert shop.type("guard", "list")[1]["guards"] == []


def test_killed_under_the_command_its_transactions_are_known_and_the_guard_stays(shop16: Shop):
    work = (
        "import os, psycopg, time\ns = psycopg.connect(os.environ['DATABASE_URL'])\n"
        "s.execute('ALTER TABLE users ADD COLUMN nick text'); s.commit(); time.sleep(60)"
    )
    command = [sys.executable, "-m", "backout", "guard", "--config", str(shop16.root / "backout.toml")]
    process = subprocess.Popen(
        [*command, "--", sys.executable, "-c", work], stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    column = "SELECT 1 FROM pg_attribute WHERE attname = 'nick'"
    while not shop16.rows(column) and time.monotonic() < deadline:
        time.sleep(0.05)
    with lock.worker(shop16.state, "open", "mara.okafor"):
        pass  # an incident may be opened while the migration runs
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert shop16.type("guard", "status")[0] == 0
    found = newest_guard(shop16.desk(), "shop")
    assert found is not None and len(found.xids) == 1
    assert shop16.rows(f"SELECT pg_xact_status('{found.xids[0]}')") == [("committed",)]
