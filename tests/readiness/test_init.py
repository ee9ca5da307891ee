"""`init` looks, only reads, and writes a configuration that works as it stands."""

from __future__ import annotations

import os
from pathlib import Path

from backout import settings
from backout.app.compose import Application
from backout.model.check import all_good
from backout.phases.readiness import configuration
from backout.phases.verification.checks import run_plan
from backout.settings import Dsn
from tests.readiness.world import Place, role_of


def everything_in(here: Place) -> list[tuple[object, ...]]:
    """Objects and rows of the database, and who wrote the rows."""
    with here.admin() as session:
        tables = session.execute(
            "SELECT oid::regclass::text, xmin::text FROM pg_class"
            " WHERE relnamespace <> 'pg_catalog'::regnamespace"
        ).fetchall()
        return [
            *sorted(tables),
            *session.execute("SELECT id, first_name, xmin::text FROM public.users").fetchall(),
        ]


def test_the_plan_that_was_written_passes_at_once(anywhere: Place):
    before = everything_in(anywhere)
    done = anywhere.type("init")
    assert done.exit_code == 0, done.err
    assert everything_in(anywhere) == before
    app = Application()
    (name,) = app.settings.target
    world = app.world(name)
    checks = run_plan(world.validation, world.databases, "backout/test/0")
    assert all_good(checks)
    assert {check.name: check.detail for check in checks}["users_rows"] == "7, expected >= 7"
    assert [check.name for check in checks] == [
        "hero_snapshots_present", "history", "profile_summaries_present", "users_present", "users_rows",
    ]  # fmt: skip


def test_what_only_a_person_knows_is_shown_with_its_line(here: Place):
    done = here.type("init", "--json")
    document = done.document
    lines = (here.project / "backout.toml").read_text().splitlines()
    assert document["lines"] == len(lines)
    assert [item["what"] for item in document["todo"]] == ["health URL", "people and roles"]
    for item in document["todo"]:
        assert f"TODO {item['what']}:" in lines[item["line"] - 1]
    assert document["rough"] == []
    assert document["history"] == "public.schema_migrations"
    assert document["next"] == "backout doctor"


def test_the_screen_is_the_one_of_the_manual(here: Place):
    out = here.type("init", "--target", "heroes-production").out.splitlines()
    assert out[0] == "Looked at ./db/migrations/ (4 files), environment"
    assert [line[:11].strip() for line in out[1:5]] == ["tool", "target", "DSN", "TODO"]
    assert "heroes-production  PostgreSQL 18." in out[2]
    assert out[-2].endswith("lines. The database was only read.")
    assert out[-1] == "next: backout doctor"


def test_a_file_that_is_there_is_never_overwritten_unasked(here: Place):
    path = here.project / "backout.toml"
    path.write_text("# mine\n")
    refused = here.type("init")
    assert (refused.exit_code, path.read_text()) == (2, "# mine\n")
    assert "--force" in refused.err
    assert here.type("init", "--force").exit_code == 0
    assert path.read_text() != "# mine\n"


def test_no_secret_is_written_or_shown(here: Place):
    role = role_of(here.server, "LOGIN SUPERUSER PASSWORD 'hunter2-secret'")
    here.monkeypatch.setenv("DATABASE_URL", here.server.dsn(here.database, role, "hunter2-secret"))
    done = here.type("init")
    assert done.exit_code == 0
    text = (here.project / "backout.toml").read_text()
    assert "hunter2" not in done.out + done.err + text
    assert 'operate = { env = "DATABASE_URL" }' in text


def test_a_direct_variable_is_preferred_to_a_pooled_one(here: Place):
    here.monkeypatch.setenv("DATABASE_URL_DIRECT", here.url())
    assert here.type("init", "--json").document["dsn_env"] == "DATABASE_URL_DIRECT"


def test_variables_of_env_files_are_known_by_name_only(here: Place):
    here.monkeypatch.delenv("DATABASE_URL")
    (here.project / ".env").write_text(f"DIRECT_URL={here.url()}\nTEST_DATABASE_URL=x\n")
    document = here.type("init", "--json").document
    assert (document["dsn_env"], document["database"]) == ("DIRECT_URL", "")
    assert document["next"].startswith("export DIRECT_URL=...")
    assert document["todo"][0]["what"] == "DSN"


def test_without_a_database_there_is_a_file_with_more_to_do(here: Place):
    here.monkeypatch.delenv("DATABASE_URL")
    done = here.type("init")
    assert done.exit_code == 0
    assert "No database was asked." in done.out
    loaded = settings.load(here.project / "backout.toml")
    (target,) = loaded.target.values()
    assert (target.environment, target.checks) == ("production", {})


def test_a_database_that_does_not_answer_is_said_on_one_line(here: Place):
    here.monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@127.0.0.1:9/nowhere")
    document = here.type("init", "--json").document
    assert [line for line in document["rough"] if "does not answer" in line]
    assert document["exit"] == 0


def test_a_variable_that_was_named_has_to_work(here: Place):
    assert here.type("init", "--dsn-env", "NOT_SET_ANYWHERE").exit_code == 2
    here.monkeypatch.setenv("MAIN", "postgresql://somebody@127.0.0.1:9/nowhere")
    assert here.type("init", "--dsn-env", "MAIN").exit_code == 7
    assert not (here.project / "backout.toml").exists()


def test_an_url_as_sqlalchemy_writes_it_is_understood(here: Place):
    here.monkeypatch.setenv("DATABASE_URL", here.url().replace("postgresql://", "postgresql+psycopg://"))
    assert here.type("init", "--json").document["database"].startswith("PostgreSQL 18")
    dsn = Dsn(env="DATABASE_URL", file=None, service=None, command=None)
    assert settings.resolve_dsn(dsn, Path(), "x").get_secret_value() == here.url()


def test_a_table_made_by_the_newest_migration_is_left_out(here: Place):
    with here.admin() as session:
        session.execute("DELETE FROM public.schema_migrations WHERE version > '20240102000000'")
    document = here.type("init", "--json").document
    assert document["checks"] == ["history", "users_present", "users_rows"]
    text = (here.project / "backout.toml").read_text()
    assert "takes them away: public.hero_snapshots, public.profile_summaries" in text


def test_names_that_need_quotes_survive(here: Place):
    with here.admin() as session:
        session.execute(f'SET ROLE "{here.role}"')
        session.execute('CREATE TABLE public."User Data" (a int); INSERT INTO public."User Data" VALUES (1)')
    (here.project / "db/migrations/20240105000000_more.sql").write_text(
        '-- migrate:up\nALTER TABLE "User Data" ADD b int;\n'
        '-- migrate:down\nALTER TABLE "User Data" DROP b;\n'
    )
    with here.admin() as session:
        session.execute("INSERT INTO public.schema_migrations VALUES ('20240105000000')")
    assert here.type("init", "--target", "a b.c").exit_code == 0
    app = Application()
    world = app.world("a b.c")
    checks = run_plan(world.validation, world.databases, "backout/test/0")
    assert all_good(checks)
    assert "User Data_rows" in [check.name for check in checks]


def test_the_environment_is_production_unless_something_says_otherwise():
    guess = configuration.environment_of
    assert guess(False, ("DATABASE_URL", "heroes", "db-1"))[0] == "production"
    assert guess(None, ())[0] == "production"
    assert guess(True, ("heroes",))[0] == "development"
    assert guess(True, ("heroes_prod",))[0] == "production"
    assert guess(False, ("heroes-staging",))[0] == "staging"
    assert guess(False, ("db-1.stg.example.com",))[0] == "staging"
    assert guess(False, ("latest_contest",))[0] == "production"


def test_a_directory_that_is_not_there_is_no_traceback(here: Place):
    done = here.type("init", "--dir", "nowhere", "--json")
    assert (done.exit_code, done.document["error"]) == (2, "ConfigurationError")


def test_elsewhere_the_next_command_names_the_file(here: Place):
    here.monkeypatch.chdir(here.project.parent)
    document = here.type("init", "--dir", here.project.name, "--json").document
    assert document["next"] == "backout doctor --config 'a project/backout.toml'"
    assert os.environ["DATABASE_URL"] not in str(document)
