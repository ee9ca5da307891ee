"""A backup that somebody else made: every form of pg_dump, and every way in which a file is not whole."""

from __future__ import annotations

import gzip
import io
import subprocess
from pathlib import Path

import pytest

from backout.errors import Refused
from backout.postgres import adopted, plain_dump
from backout.postgres.adopted import Form
from backout.postgres.binaries import client_for
from backout.postgres.dump_stream import Buffer

AWKWARD = r"""
CREATE TABLE t (id int PRIMARY KEY, "a;b" text, at timestamptz DEFAULT '2026-01-02 03:04:05+00');
INSERT INTO t SELECT i, E'tab\t, back\\slash, "quote", ''single'', \\. ' || i FROM generate_series(1, 500) i;
CREATE FUNCTION f(x text) RETURNS text LANGUAGE plpgsql AS $body$
BEGIN
  -- a comment; with 'quotes
  RETURN 'it''s; ' || $q$ a ; b $q$ || x;
END;
$body$;
COMMENT ON FUNCTION f(text) IS E'line one;\nit''s \\ line two;';
CREATE VIEW v AS SELECT id, f("a;b") AS w FROM t;
"""


@pytest.fixture
def dumped(pg16, tmp_path):
    """A database with awkward contents, and a way to dump it."""
    with pg16.database() as name:
        with pg16.connect(name) as session:
            session.execute(AWKWARD)

        def dump(form: str, to: str) -> Path:
            path: Path = tmp_path / to
            program = client_for(16).program("pg_dump")
            command = [program, f"--format={form}", f"--file={path}", f"--dbname={pg16.dsn(name)}"]
            subprocess.run(command, check=True, capture_output=True)
            return path

        yield dump


def restored(pg16, path: Path):
    from datetime import UTC, datetime

    from backout.model.target import CopyMarker
    from backout.postgres.connect import open_session
    from backout.postgres.source_facts import read_source_facts

    dsn = pg16.layout.conninfo("postgres")
    with open_session(dsn, "backout/test/1") as session:
        facts = read_source_facts(session)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    marker = CopyMarker("backout_adopted", "1", "x", now, now)
    seen = adopted.restore(
        path, dsn, "backout_adopted", facts, client_for(16), marker, application_name="backout/test/1"
    )
    with pg16.connect("backout_adopted") as session:
        row = session.execute("SELECT w FROM v WHERE id = 7").fetchone()
    with pg16.connect() as admin:
        admin.execute("DROP DATABASE backout_adopted")
    return seen, row[0]


@pytest.mark.parametrize("form", ["plain", "custom", "directory", "tar", "plain.gz", "plain.zst"])
def test_every_form_restores_and_is_read(dumped, pg16, form):
    path = dumped(form.partition(".")[0], "backup")
    if form == "plain.gz":
        packed = path.with_suffix(".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    if form == "plain.zst":
        if subprocess.run(["which", "zstd"], capture_output=True).returncode:
            pytest.skip("no zstd program on this machine")
        subprocess.run(["zstd", "-q", str(path)], check=True)
        path = path.with_suffix(".zst")
    seen, told = restored(pg16, path)
    assert seen.form is (Form.PLAIN if form.startswith("plain") else Form.ARCHIVE)
    assert seen.tables == (("public.t", 500),)
    assert seen.newest.startswith("2026-01-02T03:04:05")
    assert told.endswith("\\. 7") and told.startswith("it's;  a ; b ")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_plain_dump_that_was_cut_is_refused_wherever_it_was_cut(dumped, pg16, share):
    path = dumped("plain", "backup.sql")
    text = path.read_bytes()
    path.write_bytes(text[: int(len(text) * share)])
    with pytest.raises(Refused, match=r"not whole|does not restore"):
        restored(pg16, path)
    with pg16.connect() as admin:
        row = admin.execute("SELECT 1 FROM pg_database WHERE datname = 'backout_adopted'").fetchone()
    assert row is None, "the unfinished copy was dropped"


def test_a_packed_dump_that_was_cut_is_refused(dumped, pg16):
    path = dumped("plain", "backup.sql")
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(Refused, match="not whole"):
        restored(pg16, path)


def test_a_command_of_psql_in_the_file_is_not_run(dumped, pg16, tmp_path):
    path = dumped("plain", "backup.sql")
    trace = tmp_path / "trace"
    path.write_bytes(
        path.read_bytes().replace(b"CREATE VIEW", b"\\! touch %b\nCREATE VIEW" % bytes(trace), 1)
    )
    with pytest.raises(Refused, match="a command of psql"):
        restored(pg16, path)
    assert not trace.exists()


def test_a_statement_that_fails_refuses_the_backup(dumped, pg16):
    path = dumped("plain", "backup.sql")
    path.write_bytes(path.read_bytes().replace(b"CREATE VIEW public.v", b"CREATE VIEW nowhere.v", 1))
    with pytest.raises(Refused, match='schema "nowhere" does not exist'):
        restored(pg16, path)


def test_what_is_no_dump_is_said_to_be_none(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(Refused, match="no backup that backout can read"):
        adopted.form_of(path)


STATEMENTS = b"""
SELECT 'a;
b';
CREATE FUNCTION g() AS $x$ ;
 $y$ ; $x$;
/* a ; /* nested ; */
 ; */ SELECT 1;
SELECT E'it\\';
';
SELECT "odd;
name";
"""


def test_statements_end_only_outside_of_quotes_and_comments():
    dump = plain_dump.Dump(Path("x"), Buffer(io.BytesIO(STATEMENTS)))
    found = [statement.strip() for statement in dump.statements()]
    assert [f.split()[0] for f in found] == [b"SELECT", b"CREATE", b"/*", b"SELECT", b"SELECT"]
    assert b"".join(f + b"\n" for f in found).replace(b"\n", b"") == STATEMENTS.replace(b"\n", b"")
