"""A command under the guard: led to the proxy, each transaction marked, its exit code its own."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from backout.app.guard import newest_guard
from tests.guard.world import Shop

MIGRATE = """
import os, psycopg
with psycopg.connect(os.environ["{variable}"]) as session:
    {work}
"""
ADD = "session.execute('ALTER TABLE users ADD COLUMN nick text')"
ONE = f"{ADD}; session.execute(\"INSERT INTO schema_migrations VALUES ('20240101')\")"
TWO = f"{ONE}; session.commit(); session.execute('UPDATE users SET nick = name')"
NOTHING = "session.execute('SELECT 1')"
BROKEN = f"{ADD}; raise SystemExit(7)"
HALF = f"{ONE}; session.commit(); raise SystemExit(7)"


def python(work: str, variable: str = "DATABASE_URL") -> tuple[str, ...]:
    return ("--", sys.executable, "-c", MIGRATE.format(work=work, variable=variable))


def marks(shop: Shop, slot: str) -> list[dict[str, Any]]:
    """Bodies of our transactional messages, as the slot has them."""
    found = []
    for message in shop.peek(slot):
        if message[:1] == b"M" and b"backout\0" in message:
            found.append(json.loads(message[message.index(b"{") :]))
    return found


@pytest.mark.parametrize("variable", ["DATABASE_URL", "SHOP_DSN"])
def test_each_transaction_of_the_command_is_marked_and_its_xid_kept(shop: Shop, variable: str):
    code, document, _ = shop.type("guard", *python(TWO, variable))
    assert code == 0, document
    guard = document["guard"]
    assert len(document["command"]["xids"]) == 2 and document["dropped"] is None
    assert [mark["incident"] for mark in marks(shop, guard["slot"])] == [guard["id"]] * 2
    assert {mark["kind"] for mark in marks(shop, guard["slot"])} == {"migration"}
    found = newest_guard(shop.desk(), "shop")
    assert found is not None and list(found.xids) == document["command"]["xids"]
    assert found.history_head == "" and document["command"]["history_head"] == "20240101"
    assert any("nick" in text for text in document["command"]["statements"])
    with shop.connect() as application:
        application.execute("UPDATE users SET nick = 'mine' WHERE id = 5")
    assert len(marks(shop, guard["slot"])) == 2, "the application's writes are not"


def test_a_command_that_failed_without_effect_takes_the_guard_with_it(shop: Shop):
    before = shop.everything()
    code, document, _ = shop.type("guard", *python(BROKEN))
    assert code == 7, "the exit code is the command's"
    assert document["dropped"]["reason"].endswith("failed (exit 7) and nothing of it was committed")
    assert shop.everything() == before


def test_a_command_that_failed_half_way_keeps_its_guard(shop: Shop):
    code, document, _ = shop.type("guard", *python(HALF))
    assert code == 7 and document["dropped"] is None and document["command"]["changed"]
    assert document["next"].startswith("backout open")
    assert shop.type("guard", "status")[0] == 0


def test_a_command_that_goes_past_the_proxy_is_said(shop16: Shop):
    shop = shop16
    work = MIGRATE.format(work=ONE, variable="HIDDEN").replace('os.environ["HIDDEN"]', repr(shop.dsn))
    code, document, _ = shop.type("guard", "--", sys.executable, "-c", work)
    assert code == 0 and document["command"]["past_us"]
    assert shop.type("guard", "status")[0] == 0, "slot and restore point are there all the same"


def test_a_program_that_is_not_there(shop16: Shop):
    before = shop16.everything()
    code, document, _ = shop16.type("guard", "--", "no-such-program")
    assert code == 2 and "no-such-program" in document["what"]
    assert shop16.everything() == before


def test_the_secrets_of_production_do_not_reach_the_command(shop16: Shop):
    shop16.monkeypatch.setenv("OTHER_URL", shop16.dsn)
    shop16.monkeypatch.setenv("PGPASSWORD", "x")
    look = "import os, sys; sys.exit(any(':x@' in v or v == 'x' for v in os.environ.values()))"
    code, document, _ = shop16.type("guard", "--", sys.executable, "-c", look)
    assert code == 0, document


def test_origins_on_request_where_the_role_may(shop: Shop):
    before = shop.everything()
    with shop.admin() as admin:
        for function in (
            "_create(text)",
            "_session_setup(text)",
            "_session_reset()",
            "_drop(text)",
            "_oid(text)",
        ):
            admin.execute(
                f"GRANT EXECUTE ON FUNCTION pg_replication_origin{function} TO {shop.role}".encode()
            )
    code, document, _ = shop.type("guard", "--origin", *python(ONE))
    assert code == 0, document
    slot = document["guard"]["slot"]
    assert shop.rows("SELECT roname FROM pg_replication_origin") == [(f"{slot}_1",)]
    assert any(message[:1] == b"O" for message in shop.peek(slot))
    code, document, _ = shop.type("guard", "drop")
    assert code == 0 and not document["dropped"]["left"]
    assert shop.everything()[1:] == before[1:]


def test_no_migration_without_a_proven_snapshot(shop16: Shop):
    shop = shop16
    command = ("guard", "--require-proven-snapshot", "1h", *python(NOTHING))
    code, document, _ = shop.type(*command)
    assert code == 3 and document["next"] == "backout snapshot prove --target shop"
    assert shop.rows("SELECT 1 FROM pg_publication") == []
    with shop.connect() as owner:
        owner.execute("DROP MATERIALIZED VIEW names")
    assert shop.type("snapshot", "prove")[0] == 0
    assert shop.type(*command)[0] == 0
    code, document, _ = shop.type("guard", "arm", "--require-proven-snapshot", "0s")
    assert code == 3 and "the newest was proven at" in document["what"]
