"""The same story with pgBackRest, on the system's PostgreSQL: its sets, its archive, its own refusals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backout.adapters.backups import pgbackrest
from backout.postgres import servers
from backout.testing.servers import available_majors
from tests.physical.test_pgbackrest import write_config
from tests.physical.world import production
from tests.restore.places import BAD, ROWS, Place, checks, count, project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="pgbackrest: apt-get install pgbackrest"),
    pytest.mark.skipif(15 not in available_majors(), reason="needs PostgreSQL 15 (Debian's pgBackRest)"),
]


@pytest.fixture
def stanza(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    where = servers.private_directory("bkpgbr")
    command = f"pgbackrest --config={where}/pgbackrest.conf --stanza=world archive-push %p"
    try:
        with (
            production(15, {"archive_command": command}) as prod,
            project(prod, tmp_path, monkeypatch, capsys) as made,
        ):
            config = write_config(where, prod)
            options = {"stanza": "world", "config": str(config)}
            pgbackrest.from_settings(options, prod.surroundings)._program.run("stanza-create")
            file = made.made.root / "backout.toml"
            file.write_text(
                file.read_text().split("[target.heroes.backups]")[0]
                + f'[target.heroes.backups]\ntool = "pgbackrest"\nstanza = "world"\nconfig = "{config}"\n'
            )
            yield made
    finally:
        shutil.rmtree(where)


def test_a_set_is_chosen_restored_tested_and_handed_over(stanza: Place):
    older = stanza.take()
    stanza.write(5)
    stanza.made.applied("20240201000000", BAD)
    stanza.take()
    before = ("--before-migration", "20240201000000")
    config = stanza.made.root / "backout.toml"
    good = config.read_text()
    stanza.configure('superuser = "nobody_knows"')
    told = stanza.refused(*before)["what"]
    assert "entered as nobody_knows, and the source has no such superuser" in told
    config.write_text(good)
    answer = stanza.restored(*before)
    assert answer["choice"]["backup"] == older
    assert count(answer, "issues") == ROWS + 5
    assert set(checks(answer).values()) <= {"pass", "warn"}, answer["smoked"]


@pytest.mark.soak
def test_the_end_of_a_set_is_reached_without_any_later_wal(stanza: Place):
    older = stanza.take()
    stanza.write(5)
    assert count(stanza.restored("--at-backup", older), "issues") == ROWS
