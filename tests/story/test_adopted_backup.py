"""One server, no WAL archive, only last night's `pg_dump | gzip`, and a dropped column."""

from __future__ import annotations

import gzip
import subprocess

import pytest

from backout.app import incidents
from backout.model.plan import Strategy, Verdict
from backout.postgres.binaries import client_for
from tests.story.harness import World, apply_names, names_world


def nightly(made: World) -> str:
    """What cron does every night: a plain dump through gzip."""
    program = client_for(made.server.major).program("pg_dump")
    dump = subprocess.run([program, f"--dbname={made.dsn}"], check=True, capture_output=True)
    path = made.root / "db.sql.gz"
    path.write_bytes(gzip.compress(dump.stdout))
    return str(path)


def test_every_value_of_the_nightly_dump_is_back_marked_and_rows_newer_than_it_are_listed(
    heroes: World, capsys: pytest.CaptureFixture[str]
):
    names_world(heroes)
    path = nightly(heroes)
    with heroes.connect() as session:
        session.execute("INSERT INTO users (full_name, email) VALUES ('after the dump', 'late@x')")
    apply_names(heroes)
    code, document, err = heroes.cli(
        capsys, "snapshot", "adopt", path, "--target", "heroes", "--taken-at", "2026-11-28T02:00:00+00:00"
    )
    assert code == 0, (document, err)
    assert document["snapshot"]["kind"] == "adopted"
    incident = heroes.open()
    proposed = incidents.propose(heroes.desk(), incident)
    option = next(o for o in proposed.proposals.options if o.strategy is Strategy.D)
    assert option.verdict is Verdict.POSSIBLE
    assert "as of 2026-11-28T02:00:00+00:00, up to an unknown number of transactions stale" in option.reason
    heroes.approve(incident, strategy="D", accepts=("stale users",))
    ran = incidents.run(heroes.desk(), incident, {}, 0)
    assert heroes.one("SELECT count(*) FROM users WHERE full_name = 'name ' || id") == 1000
    assert heroes.one("SELECT full_name FROM users WHERE email = 'late@x'") is None
    assert ran.repaired is not None
    assert ran.repaired.label.startswith("as of 2026-11-28T02:00:00")
    code, listed, _ = heroes.cli(capsys, "parked", "list", incident)
    newer = [row for row in listed["rows"] if row["reason"].startswith("newer than the snapshot")]
    assert len(newer) == 2, "one written between dump and migration, one after the migration"


def test_a_backup_that_changed_since_it_was_adopted_is_refused(
    heroes16: World, capsys: pytest.CaptureFixture[str]
):
    names_world(heroes16)
    path = nightly(heroes16)
    apply_names(heroes16)
    assert heroes16.cli(capsys, "snapshot", "adopt", path, "--target", "heroes")[0] == 0
    (heroes16.root / "db.sql.gz").write_bytes(b"something else")
    incident = heroes16.open()
    code, document, _ = heroes16.cli(capsys, "propose", incident)
    assert code == 3
    assert "is not the backup any more that was adopted" in document["what"]
