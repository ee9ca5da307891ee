"""What a restored copy is asked, and what follows when it does not hold."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

from backout.postgres import consistency
from backout.postgres.connect import open_session
from backout.testing.servers import RealServer
from tests.restore.places import ROWS, Place, checks, count

pytestmark = pytest.mark.slow


def test_a_failed_restore_is_kept_and_its_point_not_offered_until_somebody_says_why(place16: Place):
    place16.take()
    at = place16.position()
    place16.write(1)
    place16.configure(
        f'[target.heroes.checks.floor]\nsql = "SELECT count(*) FROM issues"\nexpect = "> {ROWS}"'
    )
    code, failed, _ = place16.typed("restore", "--to", at)
    name = failed["restored"]["instance"]
    assert (code, failed["outcome"], checks(failed)["floor"]) == (1, "failed", "fail")
    assert failed["next"] == f"backout restore --failed {name} --reason TEXT"
    refused = place16.refused("--to", at)
    assert f"before and failed: floor: {ROWS}, expected > {ROWS}" in refused["what"]
    assert place16.typed("copies", "--destroy", name)[0] == 3, "the copy is evidence"
    newer = place16.restored()
    assert newer["id"] == failed["id"], "back to the choice, inside the same story"
    assert newer["restored"]["instance"] == name.replace("-1", "-3"), "each round has its own instance"
    code, told, _ = place16.typed("restore", "--failed", name, "--reason", "the floor was of the day after")
    assert (code, told["outcome"], told["next"]) == (0, "explained", f"backout copies --destroy {name}")
    assert place16.typed("copies", "--destroy", name)[0] == 0
    assert place16.typed("restore", "--to", at, "--plan")[0] == 0, "offered again"


WORKER = """
import os, psycopg
with psycopg.connect(os.environ["HEROES_DSN"]) as session:
    session.execute("UPDATE users SET name = 'done ' || name WHERE name LIKE 'smoke%'")
"""


def test_the_validation_plan_and_an_etl_round_trip_run_on_the_copy_alone(
    place16: Place,
):
    place16.take()
    seen, worker = place16.made.root / "seen", place16.made.root / "worker.py"
    program = f"import os; open({str(seen)!r}, 'w').write(os.environ['HEROES_DSN'] + os.environ['PGHOST'])"
    worker.write_text(WORKER)
    place16.configure(
        '[target.heroes.checks.health]\nhttp = "http://127.0.0.1:1/health"\n'
        '[target.heroes.checks.elsewhere]\ncommand = ["false"]\n'
        f"[target.heroes.checks.program]\ncommand = {[sys.executable, '-c', program]!r}\non_copy = true\n"
        "[target.heroes.checks.etl]\n"
        "insert = \"INSERT INTO users (name) VALUES ('smoke') RETURNING id\"\n"
        "processed = \"SELECT name LIKE 'done%%' FROM users WHERE id = %(key)s\"\n"
        'remove = "DELETE FROM users WHERE id = %(key)s"\nsmoke = "write"\nsettle = "10s"\non_copy = true\n'
        f"worker = {[sys.executable, str(worker)]!r}\n"
    )
    before = place16.made.one("SELECT last_value FROM users_id_seq")
    answer = place16.restored()
    found = checks(answer)
    assert (found["health"], found["elsewhere"], found["program"]) == ("skipped", "skipped", "pass")
    assert (found["users"], found["table"], found["etl"]) == ("pass", "pass", "pass"), answer["smoked"]
    assert str(place16.prod.server.port) not in seen.read_text()
    assert answer["handed"]["connection"] in seen.read_text()
    assert count(answer, "users") == 100, "the marked row is gone again"
    assert place16.made.one("SELECT last_value FROM users_id_seq") == before, "production was not written"


def _broken(admin: psycopg.Connection) -> None:
    """Damage of every kind that no constraint of the server shows by itself."""
    admin.execute("CREATE TABLE parents (id int PRIMARY KEY, code text)")
    admin.execute("CREATE TABLE children (id serial PRIMARY KEY, parent int REFERENCES parents, other int)")
    admin.execute(
        "ALTER TABLE children ADD CONSTRAINT loose FOREIGN KEY (other) REFERENCES parents NOT VALID"
    )
    admin.execute("INSERT INTO parents VALUES (1, 'a'), (2, 'a')")
    admin.execute("INSERT INTO children (parent) VALUES (1), (2)")
    admin.execute("SET session_replication_role = replica")
    admin.execute("INSERT INTO children (parent, other) VALUES (77, 88)")
    admin.execute("RESET session_replication_role")
    admin.execute("CREATE INDEX codes ON parents (code) WHERE code <> 'z'")
    admin.execute("SET allow_system_table_mods = on")
    admin.execute("UPDATE pg_index SET indisunique = true WHERE indexrelid = 'codes'::regclass")
    admin.execute("SELECT setval('children_id_seq', 1)")


def test_orphans_doubled_keys_and_late_sequences_are_found_in_the_heap(pg: RealServer):
    with pg.database() as name:
        with pg.connect(name) as admin:
            _broken(admin)
        with open_session(pg.dsn(name), "backout/test/1") as session:
            looked, orphans = consistency.orphans(session)
            unique, twice = consistency.duplicates(session)
            owned, late = consistency.behind(session)
            assert consistency.count(session, "public.children").rows == 3
            assert consistency.not_validated(session) == ("loose on public.children",)
    assert looked == 2
    assert {(one.name, one.count, one.declared) for one in orphans} == {
        ("children_parent_fkey on public.children", 1, True),
        ("loose on public.children", 1, False),
    }
    assert unique == 3 and [(one.name, one.count) for one in twice] == [("codes on public.parents", 1)]
    assert owned == 1
    assert [(one.name, one.count) for one in late] == [("public.children_id_seq of public.children.id", 2)], (
        "values 2 and 3 would be given out again"
    )


def test_a_sound_database_with_awkward_parts_is_sound(pg: RealServer):
    """Keys over several columns, expressions, NULLs, partitions, an empty table with a descending start."""
    with pg.database() as name:
        with pg.connect(name) as admin:
            admin.execute((Path(__file__).with_name("awkward.sql")).read_text().encode())
        with open_session(pg.dsn(name), "backout/test/1") as session:
            for look in (consistency.orphans, consistency.duplicates, consistency.behind):
                looked, found = look(session)
                assert looked > 0 and found == (), found


def test_damage_of_a_restored_copy_keeps_it_from_being_handed_over(alone16: Place):
    alone16.take()
    with alone16.prod.server.connect(alone16.made.database) as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("INSERT INTO issues (author, title) VALUES (999, 'of nobody')")
        admin.execute("RESET session_replication_role")
        admin.execute("SELECT setval('users_id_seq', 5)")
    code, answer, _ = alone16.typed("restore")
    found = checks(answer)
    assert (code, found["foreign keys"]) == (1, "fail")
    assert found["sequences"] == "warn", "it stands so in the source as well"
    assert answer["handed"] is None
