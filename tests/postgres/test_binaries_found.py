"""Server programs are recognised by what they say of themselves, however a distribution decorates it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backout.postgres import binaries


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"),
        ("postgres (PostgreSQL) 16.14", "16.14"),
        ("postgres (PostgreSQL) 18beta1", "18"),
    ],
)
def test_an_installation_is_known_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: str
):
    for name in ("postgres", "initdb", "pg_ctl", "pg_dump", "pg_restore"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("BACKOUT_PG_BIN", str(tmp_path))
    binaries.installations.cache_clear()
    try:
        found = [each.version for each in binaries.installations() if each.directory == tmp_path.resolve()]
    finally:
        binaries.installations.cache_clear()
    assert found == [version]
