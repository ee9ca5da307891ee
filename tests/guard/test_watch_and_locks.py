"""An armed guard is looked at: slot gone, server restarted, cap reached; nothing waits long for a lock."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from backout.postgres import servers
from backout.testing.servers import start_server, stop_server
from tests.guard.conftest import LOGICAL
from tests.guard.world import Shop, shop_on
from tests.story.harness import in_background

pytestmark = pytest.mark.slow


def test_a_slot_dropped_behind_our_back_is_red_at_the_next_look(shop: Shop):
    _, document, _ = shop.type("guard", "arm")
    with shop.admin() as administrator:
        administrator.execute("SELECT pg_drop_replication_slot(%s)", (document["guard"]["slot"],))
    _, _, said = shop.type("status")
    assert "ALARM" in said and "the slot is gone" in said
    code, status, _ = shop.type("guard", "status")
    assert code == 1
    assert status["health"]["checks"][0]["state"] == "fail"
    shop.type("guard", "status")
    notices = (shop.root / "notices.log").read_text()
    assert notices.count("the slot is gone") == 1, "told once"
    assert shop.type("guard", "drop")[0] == 0
    assert shop.rows("SELECT 1 FROM pg_publication") == []


def test_a_watch_ends_red_as_soon_as_the_slot_is_gone(shop16: Shop):
    _, document, _ = shop16.type("guard", "arm")
    slot = document["guard"]["slot"]

    def administrator(stop: threading.Event) -> None:
        stop.wait(1.0)
        with shop16.admin() as session:
            session.execute("SELECT pg_drop_replication_slot(%s)", (slot,))

    begun = time.monotonic()
    with in_background(administrator):
        code, watched, _ = shop16.type("guard", "watch", "--every", "200ms")
    assert code == 1 and "the slot is gone" in str(watched["health"]["checks"])
    assert 1.0 <= time.monotonic() - begun < 30.0


def test_a_watch_drops_the_guard_at_the_end_of_its_window(shop16: Shop):
    before = shop16.everything()
    shop16.configure(window="2s")
    shop16.type("guard", "arm")
    code, watched, _ = shop16.type("guard", "watch", "--every", "100ms")
    assert code == 0 and watched["dropped"]["reason"] == "its window is over"
    assert shop16.everything() == before


@pytest.mark.parametrize("major", [16, 18])
def test_a_restart_of_the_server_changes_nothing(
    major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    server = start_server(major, settings=LOGICAL)
    try:
        with shop_on(server, tmp_path, monkeypatch, capsys) as shop:
            _, document, _ = shop.type("guard", "arm")
            servers.stop(server.layout)
            servers.start(server.layout)
            with shop.connect() as application:
                application.execute("UPDATE users SET name = 'after the restart' WHERE id = 1")
            code, status, _ = shop.type("guard", "status")
            assert code == 0, status
            assert any(b"after the restart" in m for m in shop.peek(document["guard"]["slot"]))
    finally:
        stop_server(server)


def test_at_the_cap_it_drops_itself_and_says_so(shop: Shop):
    before = shop.everything()
    shop.configure(cap="1MB")
    shop.type("guard", "arm", "--full", "keyless")
    with shop.connect() as application:
        application.execute(
            "INSERT INTO keyless SELECT repeat(md5(n::text), 20) FROM generate_series(1, 4000) n"
        )
    code, status, _ = shop.type("guard", "list")
    assert code == 0 and status["guards"] == [], "any command sees it"
    assert shop.everything() == before
    assert "dropped itself" in (shop.root / "notices.log").read_text()


def test_the_server_takes_a_slot_that_it_may_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    small = {"max_slot_wal_keep_size": "2MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    server = start_server(16, settings={**LOGICAL, **small})
    try:
        with shop_on(server, tmp_path, monkeypatch, capsys) as shop:
            _, document, _ = shop.type("guard", "arm")
            assert any("max_slot_wal_keep_size" in w for w in document["plan"]["warnings"])
            with shop.admin() as administrator:
                for _ in range(6):
                    administrator.execute(
                        "INSERT INTO keyless SELECT repeat('y', 900) FROM generate_series(1, 9000)"
                    )
                    administrator.execute("SELECT pg_switch_wal()")
                    administrator.execute("CHECKPOINT")
            code, status, _ = shop.type("guard", "status")
            assert code == 1
            assert "lost" in status["health"]["checks"][0]["detail"]
            assert shop.type("guard", "drop")[0] == 0
    finally:
        stop_server(server)


@pytest.mark.timeout(120)
def test_behind_a_transaction_that_wrote_it_gives_up_and_names_it(shop: Shop):
    before = shop.everything()
    with shop.connect() as writer:
        writer.autocommit = False
        writer.execute("SET application_name = 'nightly-etl'")
        writer.execute("INSERT INTO keyless VALUES ('held open')")
        code, document, said = shop.type("guard", "arm")
        assert code == 5, document
        assert "nightly-etl" in document["what"] and "nightly-etl" in said
        assert shop.everything() == before, "what was armed before is gone again"
        writer.rollback()
    assert shop.type("guard", "arm")[0] == 0


@pytest.mark.timeout(120)
def test_an_identity_waits_in_short_tries_and_readers_go_on(shop16: Shop):
    before = shop16.everything()
    with shop16.connect() as reader, shop16.connect() as another:
        reader.autocommit = False
        reader.execute("SET application_name = 'report'")
        reader.execute("SELECT count(*) FROM keyless")
        another.execute("SET statement_timeout = '2s'")
        code, document, _ = shop16.type("guard", "arm", "--full", "keyless")
        assert code == 5 and "report" in document["what"]
        another.execute("SELECT count(*) FROM keyless")
        reader.rollback()
    assert shop16.everything() == before


def test_a_server_that_dies_while_it_waits_is_an_error_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    server = start_server(18, settings=LOGICAL)
    try:
        with shop_on(server, tmp_path, monkeypatch, capsys) as shop:
            before = shop.everything()
            writer = shop.connect()
            writer.autocommit = False
            writer.execute("INSERT INTO keyless VALUES ('held open')")

            def crash(stop: threading.Event) -> None:
                while not stop.wait(0.05) and not shop.rows("SELECT 1 FROM pg_replication_slots"):
                    pass
                servers.stop(server.layout)

            with in_background(crash):
                code, document, _ = shop.type("guard", "arm")
            writer.close()
            assert code == 7 and "went away" in document["what"], document
            servers.start(server.layout)
            _, _, said = shop.type("status")
            assert "cleared guard" in said
            assert shop.everything() == before
    finally:
        stop_server(server)
