"""What the role or the server cannot do is said, with what remains; the rest is armed all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from backout.testing.servers import RealServer, start_server, stop_server
from tests.guard.conftest import logical
from tests.guard.world import shop_on


def parts(document: dict[str, dict[str, list[dict[str, object]]]]) -> dict[object, object]:
    return {part["name"]: part["possible"] for part in document["plan"]["parts"]}


@pytest.mark.parametrize("major", [16, 18])
def test_an_owner_without_replication_gets_the_restore_point_and_the_reason(
    major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with shop_on(logical(major), tmp_path, monkeypatch, capsys, rights="") as shop:
        before = shop.everything()
        code, document, said = shop.type("guard", "arm", "--full", "keyless")
        assert code == 0, document
        possible = parts(document)
        assert not possible["slot"] and not possible["publication"] and possible["restore point"]
        assert document["guard"]["slot"] == "" and document["guard"]["restore_point"]["lsn"]
        assert "by state only" in document["guard"]["remains"]
        assert "permission denied" in said or "REPLICATION" in said
        assert shop.everything() == before, "nothing is left of a slot that cannot be"
        code, status, _ = shop.type("guard", "status")
        assert code == 0 and status["health"]["checks"][0]["state"] == "warn"
        assert shop.type("guard", "drop")[0] == 0


def test_a_server_without_a_logical_log(
    pg: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with shop_on(pg, tmp_path, monkeypatch, capsys) as shop:
        code, document, said = shop.type("guard", "arm")
        assert code == 0
        assert "wal_level is replica" in said and "ALTER SYSTEM SET wal_level = logical" in said
        assert document["guard"]["publications"] == []


def test_without_the_restore_point_the_slot_is_armed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with shop_on(logical(18), tmp_path, monkeypatch, capsys, restore_points=False) as shop:
        code, document, _ = shop.type("guard", "arm")
        assert code == 0
        assert not parts(document)["restore point"] and not parts(document)["WAL switch"]
        assert document["guard"]["slot"] and document["guard"]["restore_point"] is None
        assert "snapshot prove" in document["guard"]["remains"]


def test_tables_of_another_role_are_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with shop_on(logical(16), tmp_path, monkeypatch, capsys) as shop:
        with shop.admin() as admin:
            admin.execute("CREATE TABLE theirs (id int PRIMARY KEY); GRANT SELECT ON theirs TO PUBLIC")
        code, document, _ = shop.type("guard", "arm")
        assert code == 0
        found = next(t for t in document["guard"]["coverage"] if t["table"] == "public.theirs")
        assert found["reach"] == "nothing" and "another role" in found["note"]


def test_a_managed_service_is_recognised_by_its_roles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with shop_on(logical(16), tmp_path, monkeypatch, capsys) as shop, shop.admin() as admin:
        for role, name in (("rds_superuser", "Amazon RDS"), ("cloudsqlsuperuser", "Google Cloud SQL")):
            admin.execute(f"CREATE ROLE {role}".encode())
            try:
                _, document, _ = shop.type("guard", "plan")
            finally:
                admin.execute(f"DROP ROLE {role}".encode())
            assert any(w.startswith(name) for w in document["plan"]["warnings"])


def test_slots_are_made_by_the_role_of_the_snapshots_where_one_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with shop_on(logical(18), tmp_path, monkeypatch, capsys, rights="", restore_points=False) as shop:
        monkeypatch.setenv("DUMP_DSN", shop.server.dsn(shop.database))
        text = (shop.root / "backout.toml").read_text()
        named = 'dsn.operate.env = "SHOP_DSN"\ndsn.snapshot.env = "DUMP_DSN"'
        (shop.root / "backout.toml").write_text(text.replace('dsn.operate.env = "SHOP_DSN"', named))
        before = shop.everything()
        code, document, _ = shop.type("guard", "arm", "--full", "keyless")
        assert code == 0 and all(parts(document).values()), document
        assert shop.rows("SELECT pubowner::regrole::text FROM pg_publication") == [(shop.role,)] * 2
        assert shop.type("guard", "drop")[0] == 0
        assert shop.everything() == before


def test_under_patroni_a_person_has_to_say_that_the_slot_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with shop_on(logical(18), tmp_path, monkeypatch, capsys) as shop, shop.admin() as patroni:
        patroni.execute("SET application_name = 'Patroni heartbeat'")
        code, document, _ = shop.type("guard", "arm")
        assert code == 3 and "Patroni" in document["what"] and "ignore_slots" in document["next"]
        assert shop.rows("SELECT 1 FROM pg_publication") == []
        code, document, _ = shop.type("guard", "arm", "--slot-is-kept")
        assert code == 0 and any("Patroni" in w for w in document["plan"]["warnings"])


def test_a_server_that_keeps_no_log_to_restore_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    server = start_server(16, settings={"wal_level": "minimal", "max_wal_senders": "0"})
    try:
        with shop_on(server, tmp_path, monkeypatch, capsys) as shop:
            code, document, said = shop.type("guard", "arm")
            assert code == 0 and "wal_level is minimal" in said
            assert document["guard"]["restore_point"] is None and document["guard"]["files"]
    finally:
        stop_server(server)
