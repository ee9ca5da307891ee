"""What the tests of several migration tools share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile Alembic and SQLAlchemy once: without compiled files each start takes a second."""
    directory = tmp_path_factory.mktemp("bytecode")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import alembic.config, alembic.command, sqlalchemy.dialects.postgresql.psycopg",
        ],
        env=environment | {"PYTHONPYCACHEPREFIX": str(directory)},
        check=True,
    )
    return directory
