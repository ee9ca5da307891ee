"""`doctor` on real servers: what a calm day shows, one named check each."""

from __future__ import annotations

import time

import psycopg
import pytest
from psycopg import sql

from tests.readiness.world import Place, role_of


@pytest.fixture
def ready(here: Place) -> Place:
    """A target as it should be: two people, a plan."""
    here.type("init", "--target", "heroes-production")
    toml = here.project / "backout.toml"
    toml.write_text(toml.read_text().replace('environment = "development"', 'environment = "production"'))
    here.enrol("jonas.lind=sre", "priya.raman=owner")
    return here


def test_a_plain_owner_is_enough(anywhere: Place):
    anywhere.type("init", "--target", "heroes-production")
    anywhere.enrol("jonas.lind=sre", "priya.raman=owner")
    done = anywhere.type("doctor", "--json")
    bad = [c for c in done.document["checks"] if c["state"] in ("fail", "unknown")]
    assert (done.exit_code, bad) == (0, [])
    assert done.document["role"] == anywhere.role
    assert done.document["next"] == "backout rehearse --last 1"


def test_it_is_quick(ready: Place):
    began = time.monotonic()
    ready.type("doctor")
    assert time.monotonic() - began < 3


def test_nothing_is_written_into_the_target(ready: Place):
    with ready.admin() as session:
        before = session.execute("SELECT pg_current_xact_id_if_assigned(), max(oid) FROM pg_class").fetchone()
        xid = session.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())").fetchone()
    ready.type("doctor")
    with ready.admin() as session:
        assert session.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())").fetchone() == xid
        assert (
            session.execute("SELECT pg_current_xact_id_if_assigned(), max(oid) FROM pg_class").fetchone()
            == before
        )


def test_the_screen_names_target_and_role_and_ends_in_next(ready: Place):
    done = ready.type("doctor")
    lines = done.out.splitlines()
    assert lines[0].startswith("heroes-production  PRODUCTION  ")
    assert lines[0].endswith("(primary)")
    assert lines[-1] == "next: backout rehearse --last 1"
    assert ready.role in done.out


def test_a_role_with_nothing_is_told_everything_it_lacks(ready: Place):
    stranger = role_of(ready.server)
    ready.as_role(stranger)
    done = ready.type("doctor", "--json")
    assert done.exit_code == 1
    states = done.states
    assert (states["privileges"], states["our schemas"], states["readable"]) == ("fail",) * 3
    assert states["history"] == "unknown"
    assert "--print-schema-sql" in done.check("our schemas")["mend"]


def test_rows_hidden_by_a_policy_are_named(ready: Place):
    with ready.admin() as session:
        session.execute("ALTER TABLE public.users ENABLE ROW LEVEL SECURITY")
        session.execute("ALTER TABLE public.users FORCE ROW LEVEL SECURITY")
    done = ready.type("doctor", "--json")
    assert done.exit_code == 1
    assert done.states["row-level security"] == "fail"
    assert "public.users" in done.check("forced policies")["detail"]
    with ready.admin() as session:
        session.execute("ALTER TABLE public.users NO FORCE ROW LEVEL SECURITY")
    assert ready.type("doctor", "--json").exit_code == 0


def test_a_publication_for_all_tables_is_named(ready: Place):
    with ready.admin() as session:
        session.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    assert "everything" in ready.type("doctor", "--json").check("publications")["detail"]


def test_tables_of_other_roles_are_named(ready: Place):
    with ready.admin() as session:
        session.execute("CREATE TABLE public.audit (a int)")
        session.execute("GRANT SELECT ON public.audit TO PUBLIC")
    found = ready.type("doctor", "--json").check("privileges")
    assert found["state"] == "warn"
    assert "public.audit" in found["detail"]


def test_a_schema_of_ours_that_others_own_is_no_schema_of_ours(ready: Place):
    with ready.admin() as session:
        session.execute("CREATE SCHEMA backout; CREATE SCHEMA backout_kept")
    found = ready.type("doctor", "--json").check("our schemas")
    assert (found["state"], ready.role in found["detail"]) == ("fail", True)


def test_a_copy_is_no_production(ready: Place):
    with ready.admin() as session:
        session.execute("CREATE SCHEMA backout; CREATE TABLE backout.copy_marker (copy_id text)")
    assert ready.type("doctor", "--json").states["identity"] == "fail"


def test_leftovers_and_half_built_indexes_are_named(ready: Place):
    with ready.admin() as session:
        session.execute("CREATE PUBLICATION backout_inc_1")
        session.execute("INSERT INTO public.users (first_name) VALUES ('U 1')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            session.execute("CREATE UNIQUE INDEX CONCURRENTLY twice ON public.users (first_name)")
    done = ready.type("doctor", "--json")
    assert "publication backout_inc_1" in done.check("leftovers")["detail"]
    assert "public.twice" in done.check("indexes")["detail"]


def test_history_and_files_are_compared(ready: Place):
    (ready.project / "db/migrations/20240104000000_split_names.sql").unlink()
    (ready.project / "db/migrations/20240109000000_later.sql").write_text(
        "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 1;\n"
    )
    done = ready.type("doctor", "--json")
    found = done.check("history")
    assert (found["state"], "20240104000000" in found["detail"]) == ("fail", True)


def test_the_policy_has_to_be_met_by_distinct_people(ready: Place):
    toml = ready.project / "backout.toml"
    toml.write_text(toml.read_text().replace('roles = ["owner"]', 'roles = ["sre"]'))
    found = ready.type("doctor", "--json").check("people")
    assert (found["state"], "sre + owner" in found["detail"]) == ("fail", True)
    toml.write_text(toml.read_text() + '[policy.production]\napprovals = ["any"]\n')
    assert ready.type("doctor", "--json").states["people"] == "pass"


def test_an_empty_plan_is_a_failure(ready: Place):
    toml = ready.project / "backout.toml"
    head, _, rest = toml.read_text().partition("# The validation plan")
    toml.write_text(head + rest[rest.index("[channels]") :])
    assert ready.type("doctor", "--json").states["validation"] == "fail"


def test_a_server_that_does_not_answer_leaves_the_other_checks(ready: Place):
    ready.monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@127.0.0.1:9/nowhere")
    done = ready.type("doctor", "--json")
    assert (done.exit_code, done.states["connection"], done.states["people"]) == (7, "fail", "pass")
    shown = ready.type("doctor")
    assert shown.exit_code == 7
    assert "exit 7" in shown.out
    assert shown.err.startswith("error (exit 7): the database does not answer")


def test_a_database_that_is_not_there_is_a_matter_of_the_configuration(ready: Place):
    ready.monkeypatch.setenv("DATABASE_URL", ready.server.dsn("not_there", ready.role))
    done = ready.type("doctor", "--json")
    assert (done.exit_code, done.document["error"] != "") == (2, True)


def test_a_variable_that_is_not_set_is_named(ready: Place):
    ready.monkeypatch.delenv("DATABASE_URL")
    done = ready.type("doctor", "--json")
    assert done.exit_code == 2
    assert "DATABASE_URL is not set" in done.check("connection")["detail"]


def test_no_configuration_is_said_with_the_way_to_one(here: Place):
    done = here.type("doctor")
    assert done.exit_code == 2
    assert done.err.endswith("next: backout init\n")


def test_a_login_for_reading_is_looked_at_too(ready: Place):
    reader = role_of(ready.server)
    with ready.admin() as session:
        session.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(reader)))
    ready.monkeypatch.setenv("READ_URL", ready.url(reader))
    toml = ready.project / "backout.toml"
    toml.write_text(toml.read_text().replace("operate = {", 'observe = { env = "READ_URL" }\noperate = {'))
    done = ready.type("doctor", "--json")
    assert done.exit_code == 0
    assert f"{ready.role}, {reader}" in done.check("connection")["detail"]
