"""A guard is armed in its order, says what it covers, and leaves the catalog as it found it."""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest

from backout.app.guard import newest_guard
from backout.records import codec
from tests.guard.world import Shop

FULL = ("--full", "keyless", "--full", "refusing", "--full", "indexed", "--full", "events")


def reach(document: dict[str, object], table: str) -> str:
    plan = document["plan"]
    assert isinstance(plan, dict)
    return str(next(t["reach"] for t in plan["coverage"] if t["table"] == f"public.{table}"))


def identities(shop: Shop) -> dict[str, str]:
    rows = shop.rows("SELECT relname, relreplident::text FROM pg_class WHERE relkind IN ('r', 'p')")
    return dict(rows)


def test_armed_looked_at_and_dropped_the_catalog_is_what_it_was(shop: Shop):
    before, found = shop.everything(), identities(shop)
    code, document, _ = shop.type("guard", "arm", *FULL)
    assert code == 0, document
    full = {name for name, identity in identities(shop).items() if identity == "f"}
    assert full == {"keyless", "refusing", "indexed", "events_1", "events_2"}, "identity is set leaf by leaf"
    assert document["guard"]["schema_digest"] == before[0]
    code, status, _ = shop.type("guard", "status")
    assert code == 0, status
    code, dropped, _ = shop.type("guard", "drop")
    assert code == 0
    assert identities(shop) == found
    assert shop.everything() == before
    assert any("slot" in what for what in dropped["dropped"]["removed"])


def test_each_table_is_covered_as_far_as_its_key_allows(shop: Shop):
    _, document, _ = shop.type("guard", "plan")
    expected = {
        **dict.fromkeys(("users", "indexed", "events", "parent", "schema_migrations"), "every write"),
        **dict.fromkeys(("keyless", "later", "refusing", "chosen", "child"), "inserts only"),
        "cache": "nothing",
    }
    assert {name: reach(document, name) for name in expected} == expected
    assert "events_1" not in str(document["plan"]["coverage"]), "leaves are published under their root"
    notes = {t["table"]: t["note"] for t in document["plan"]["coverage"]}
    assert "DEFERRABLE" in notes["public.later"]
    assert "USING INDEX chosen_code" in notes["public.chosen"]
    assert "NOTHING" in notes["public.refusing"]
    assert document["plan"]["unseen"][:2] == [
        "1 materialized view (public.names)",
        "1 sequence (public.numbers)",
    ]
    assert shop.rows("SELECT 1 FROM pg_publication") == [], "a plan only reads"


def test_the_application_goes_on_and_the_slot_holds_what_it_writes(shop: Shop):
    _, document, _ = shop.type("guard", "arm")
    slot = document["guard"]["slot"]
    flags = shop.rows(
        "SELECT puballtables, pubviaroot, pubinsert, pubupdate FROM pg_publication ORDER BY pubname"
    )
    assert flags == [(False, True, True, True), (False, True, True, False)]
    assert shop.rows("SELECT 1 FROM pg_publication_rel WHERE prattrs IS NOT NULL") == [], "no column lists"
    with shop.connect() as application:
        application.execute("UPDATE users SET name = 'other' WHERE id = 1")
        application.execute(
            "INSERT INTO keyless VALUES ('a'); UPDATE keyless SET note = 'b'; DELETE FROM keyless"
        )
        application.execute("INSERT INTO later VALUES (1, 'a'); UPDATE later SET note = 'b'")
        application.execute("INSERT INTO events VALUES (1, '2026-01-05', 'a')")
        application.execute("INSERT INTO child VALUES (7, 'c'); UPDATE child SET note = 'd'")
    kinds = Counter(message[:1] for message in shop.peek(slot))
    assert kinds[b"I"] == 4 and kinds[b"U"] == 1 and kinds[b"D"] == 0


def test_full_is_not_set_where_the_updates_of_the_application_would_fail(shop: Shop):
    """From 18 on, publishing updates under FULL makes those of a table with generated columns fail."""
    with shop.connect() as application:
        application.execute(
            """CREATE TABLE priced (id int PRIMARY KEY, net int,
                                    gross int GENERATED ALWAYS AS (net * 2) STORED);
               INSERT INTO priced VALUES (1, 1);
               CREATE TABLE loose (net int, gross int GENERATED ALWAYS AS (net * 2) STORED);
               ALTER TABLE loose REPLICA IDENTITY FULL; INSERT INTO loose VALUES (1)"""
        )
    code, document, _ = shop.type("guard", "arm", "--full", "priced")
    assert code == 0, document
    with shop.connect() as application:
        assert application.execute("UPDATE priced SET net = 2").rowcount == 1
        assert application.execute("UPDATE loose SET net = 2").rowcount == 1
    new = shop.server.major >= 18
    assert identities(shop)["priced"] == ("d" if new else "f")
    assert (reach(document, "priced"), reach(document, "loose")) == (
        "every write",
        "inserts only" if new else "every write",
    )


def test_what_it_leaves_in_the_journal_is_found_again_whole(shop16: Shop):
    shop = shop16
    _, first, _ = shop.type("guard", "arm", "--tables", "users")
    _, second, _ = shop.type("guard", "arm", "--tables", "users,parent")
    found = newest_guard(shop.desk(), "shop")
    assert found is not None and found.id == second["guard"]["id"] != first["guard"]["id"]
    assert [t.table for t in found.coverage] == ["public.parent", "public.users"]
    assert found.restore_point is not None and found.restore_point.lsn and found.slot_lsn
    [file] = found.files
    stored = shop.state / "store" / "migrations" / file.sha256
    assert stored.read_text() == (shop.root / file.path).read_text()
    _, listed, _ = shop.type("guard", "list")
    assert [row["id"] for row in listed["guards"]] == [second["guard"]["id"], first["guard"]["id"]]
    assert codec.digest(found) == codec.digest(newest_guard(shop.desk(), "shop"))


def test_a_failover_slot_where_the_server_has_them(shop: Shop):
    _, document, _ = shop.type("guard", "arm", "--tables", "users")
    found = shop.rows("SELECT to_jsonb(s)->>'failover' FROM pg_replication_slots s")
    assert found == [("true",)] if shop.server.major >= 17 else [(None,)]
    assert document["guard"]["failover"] == (shop.server.major >= 17)


def test_a_table_that_is_not_there_is_named_with_those_that_are(shop16: Shop):
    code, document, _ = shop16.type("guard", "arm", "--full", "userz")
    assert code == 2 and "userz" in document["what"] and "public." in document["next"]
    assert shop16.rows("SELECT 1 FROM pg_publication") == []


def test_a_migration_that_drops_a_key_does_not_stop_the_application(shop: Shop):
    _, document, _ = shop.type("guard", "arm", "--tables", "users,parent")
    with shop.connect() as owner:
        owner.execute("ALTER TABLE users DROP CONSTRAINT users_pkey")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            owner.execute("UPDATE users SET name = 'x' WHERE id = 2")
        code, status, _ = shop.type("guard", "status")
        assert code == 0, status
        owner.execute("UPDATE users SET name = 'x' WHERE id = 2")
        owner.execute("INSERT INTO users VALUES (1000, 'new')")
    assert reach({"plan": status["guard"]}, "users") == "inserts only"
    assert [c["state"] for c in status["health"]["checks"] if c["name"] == "identity"] == ["warn"]
    assert Counter(m[:1] for m in shop.peek(document["guard"]["slot"]))[b"I"] == 1


def test_a_migration_may_drop_and_rename_guarded_tables(shop16: Shop):
    shop = shop16
    found = identities(shop)
    shop.type("guard", "arm", "--full", "keyless", "--full", "refusing")
    with shop.connect() as owner:
        owner.execute("ALTER TABLE keyless RENAME TO unkeyed; DROP TABLE refusing")
    code, status, _ = shop.type("guard", "status")
    assert code == 0, status
    code, _, _ = shop.type("guard", "drop")
    assert code == 0
    assert identities(shop)["unkeyed"] == found["keyless"] == "d"


def test_a_leaf_that_is_detached_is_red(shop16: Shop):
    shop16.type("guard", "arm")
    with shop16.connect() as owner:
        owner.execute("ALTER TABLE events DETACH PARTITION events_1")
    code, status, _ = shop16.type("guard", "status")
    assert code == 1
    [found] = [c for c in status["health"]["checks"] if c["name"] == "partitions"]
    assert found["state"] == "fail" and "events_1" in found["detail"]
    assert shop16.type("guard", "drop")[0] == 0
