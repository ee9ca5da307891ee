"""The real migration tools under a guard, typed as their users type them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.conftest import logical
from tests.guard.world import Shop, shop_on
from tests.migrators.worlds import FIXTURES, node_modules, node_on_path

CONFIG = """\
[target.shop]
environment = "production"
dsn.operate.env = "SHOP_DSN"
[target.shop.migrations]
tool = "{tool}"
{options}
"""
ALEMBIC = f'command = ["{sys.executable}", "-m", "alembic"]\ndirectory = "migrations"'
INI_ENV = """
from alembic import context
from sqlalchemy import create_engine, pool
engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.fixture
def empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shop]:
    """A project directory without a tool beside a database without tables; `public` is its owner's."""
    with shop_on(logical(18), tmp_path, monkeypatch, capsys) as made:
        shutil.rmtree(tmp_path / "migrations")
        with made.connect() as owner:
            owner.execute("DROP TABLE users CASCADE; DROP TABLE child; DROP TABLE schema_migrations")
        monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
        yield made


def project(shop: Shop, fixture: str, tool: str, options: str) -> None:
    shutil.copytree(FIXTURES / fixture, shop.root, dirs_exist_ok=True)
    (shop.root / "backout.toml").write_text(CONFIG.format(tool=tool, options=options))


@pytest.mark.node
def test_node_pg_migrate_as_its_script_types_it(empty: Shop, monkeypatch: pytest.MonkeyPatch):
    node_on_path(monkeypatch)
    project(empty, "node_project", "node-pg-migrate", 'config = "database/migration-config.js"')
    (empty.root / "node_modules").symlink_to(node_modules())
    tool = str(empty.root / "node_modules" / ".bin" / "node-pg-migrate")
    config = ("--config-file", "database/migration-config.js")
    code, document, said = empty.type("guard", "--", tool, "up", *config)
    assert code == 0, (document, said)
    ran = document["command"]
    assert ran["xids"] and not ran["past_us"] and ran["history_head"].endswith("split-names")
    assert document["guard"]["history_head"] == ""


def test_alembic_whose_env_py_reads_a_variable(empty: Shop):
    project(empty, "alembic_project", "alembic", ALEMBIC)
    code, document, said = empty.type("guard", "--", sys.executable, "-m", "alembic", "upgrade", "head")
    assert code == 0, (document, said)
    assert document["command"]["xids"] and not document["command"]["past_us"]
    assert document["command"]["history_head"] == "4c21"


def test_alembic_whose_connection_stands_in_its_ini(empty: Shop):
    project(empty, "alembic_project", "alembic", ALEMBIC)
    url = empty.dsn.replace("postgresql://", "postgresql+psycopg://")
    (empty.root / "alembic.ini").write_text(
        f"[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = {url}\n"
    )
    (empty.root / "migrations" / "env.py").write_text(INI_ENV)
    code, document, said = empty.type("guard", "--", sys.executable, "-m", "alembic", "upgrade", "head")
    assert code == 0, (document, said)
    assert document["command"]["xids"] and not document["command"]["past_us"]
