"""A migration that broke off in a tool of its own: node-pg-migrate without a transaction, Alembic beside an
autocommit block."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backout.errors import Refused
from tests.migrators.worlds import node_modules
from tests.story import half_applied as half
from tests.story.half_applied import carried_out, opened, proposed
from tests.story.harness import World
from tests.story.test_node_project import up

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[1] / "fixtures"

NODE_FIRST = """exports.up = (pgm) => {
  pgm.createTable('users', { id: 'id', email: 'text', nick: 'text' });
};
exports.down = (pgm) => { pgm.dropTable('users'); };
"""
NODE_BAD = """exports.up = (pgm) => {
  pgm.noTransaction();
  pgm.createIndex('users', 'nick', { name: 'one', method: 'btree', concurrently: true });
  pgm.createIndex('users', 'email', { name: 'users_email', unique: true, concurrently: true });
  pgm.createIndex('users', ['email', 'nick'], { name: 'three', concurrently: true });
};
exports.down = (pgm) => {
  pgm.noTransaction();
  for (const name of ['three', 'users_email', 'one'])
    pgm.dropIndex('users', [], { name, concurrently: true });
};
"""


@pytest.fixture
def node_half(heroes16: World) -> World:
    (heroes16.root / "node_modules").symlink_to(node_modules())
    (heroes16.root / "package.json").write_text(json.dumps({"name": "heroes", "private": True}))
    directory = heroes16.root / "migrations"
    directory.mkdir()
    (directory / "1700000000001_users.js").write_text(NODE_FIRST)
    heroes16.tool = "node-pg-migrate"
    heroes16.write_config()
    return heroes16


@pytest.mark.node
def test_node_pg_migrate_without_a_transaction_fails_at_statement_two_of_three(node_half: World):
    assert up(node_half).returncode == 0
    with node_half.connect() as session:
        session.execute("INSERT INTO users (email) SELECT 'x' || i % 9 FROM generate_series(1, 10) i")
    name = "1700000000002_email"
    (node_half.root / "migrations" / f"{name}.js").write_text(NODE_BAD)
    assert up(node_half).returncode != 0
    half.single_out(node_half)
    with pytest.raises(Refused, match=f"{name} is partly applied: .* 2 of 3 effects"):
        opened(node_half)
    answer = proposed(node_half, name)
    assert answer.proposals.recommended == "F-clean"
    ran = carried_out(node_half, answer, "F-finish")
    assert all(check.good for check in ran.verification.checks), ran.verification.checks
    assert [half.index_state(node_half, i) for i in ("one", "users_email", "three")] == [(True, True)] * 3
    assert node_half.one("SELECT count(*) FROM pgmigrations") == 2


ALEMBIC_USERS = """revision = "1f0a"
down_revision = None


def upgrade() -> None:
    op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("email", sa.Text))


def downgrade() -> None:
    op.drop_table("users")
"""
ALEMBIC_BAD = """revision = "2b1c"
down_revision = "1f0a"


def upgrade() -> None:
    op.add_column("users", sa.Column("nick", sa.Text))
    with op.get_context().autocommit_block():
        op.create_index("users_email", "users", ["email"], unique=True, postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("users_email", "users", postgresql_concurrently=True)
    op.drop_column("users", "nick")
"""


def alembic(made: World) -> subprocess.CompletedProcess[str]:
    """The user's own `upgrade head`."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=made.root,
        env={**os.environ, "HEROES_DATABASE_URL": made.dsn.replace("postgresql:", "postgresql+psycopg:")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.soak
def test_alembic_leaves_what_came_before_an_autocommit_block(heroes16: World):
    shutil.copytree(FIXTURES / "alembic_project", heroes16.root, dirs_exist_ok=True)
    versions = heroes16.root / "migrations" / "versions"
    for file in versions.iterdir():
        file.unlink()
    imports = "import sqlalchemy as sa\nfrom alembic import op\n\n"
    (versions / "1f0a_users.py").write_text(imports + ALEMBIC_USERS)
    heroes16.tool = "alembic"
    command = json.dumps([sys.executable, "-m", "alembic"])
    heroes16.options = f"command = {command}\n" + (
        'database_url_variable = "HEROES_DATABASE_URL"\nurl_scheme = "postgresql+psycopg"'
    )
    heroes16.write_config()
    done = alembic(heroes16)
    assert done.returncode == 0, done.stderr
    with heroes16.connect() as session:
        session.execute("INSERT INTO users (email) SELECT 'x' || i % 9 FROM generate_series(1, 10) i")
    (versions / "2b1c_email.py").write_text(imports + ALEMBIC_BAD)
    assert alembic(heroes16).returncode != 0
    half.single_out(heroes16)
    with pytest.raises(Refused, match=r"2b1c is partly applied: .* 2 of 2 effects"):
        opened(heroes16)
    answer = proposed(heroes16, "2b1c")
    assert answer.proposals.recommended == "F-clean"
    ran = carried_out(heroes16, answer, "F-finish")
    assert all(check.good for check in ran.verification.checks), ran.verification.checks
    assert half.index_state(heroes16) == (True, True)
    assert heroes16.one("SELECT version_num FROM alembic_version") == "2b1c"
