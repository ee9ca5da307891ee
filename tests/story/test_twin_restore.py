"""Linear's night: a reviewed TRUNCATE … CASCADE, an application that writes on, and nothing is lost.

The copies come from a base backup and the archived WAL: just before the migration's commit and just after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from backout.app import incidents
from backout.model.loss import LossKind
from backout.model.plan import Strategy, Verdict
from backout.model.triage import Triage
from backout.testing.servers import available_majors
from tests.physical.world import Production, production
from tests.story.harness import World, world

pytestmark = pytest.mark.slow

FIRST = """
CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL, motto text);
CREATE TABLE labels (id int PRIMARY KEY, name text);
CREATE TABLE issues (id bigserial PRIMARY KEY, author bigint NOT NULL REFERENCES users,
    label int REFERENCES labels, title text NOT NULL, version int NOT NULL DEFAULT 0);
CREATE TABLE comments (id bigserial PRIMARY KEY, issue bigint NOT NULL REFERENCES issues, body text);
"""
BAD = "TRUNCATE labels CASCADE; ALTER TABLE users DROP COLUMN motto;"
DOWN = "ALTER TABLE users ADD COLUMN motto text;"


class Writer(threading.Thread):
    """Writes issues of its own, and keeps the last acknowledged state of each outside the database."""

    def __init__(self, made: World, number: int) -> None:
        super().__init__(daemon=True)
        self._made, self._number = made, number
        self.issues: dict[int, tuple[str, int]] = {}
        self.comments: dict[int, str] = {}
        self.errors: list[str] = []
        self.truncated: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        with self._made.connect() as session:
            count = 0
            while not self.over.wait(0.005):
                count += 1
                try:
                    self._write(session, count)
                except psycopg.errors.ForeignKeyViolation as error:
                    self.truncated.append(str(error))
                except psycopg.Error as error:
                    self.errors.append(str(error))

    def _write(self, session: psycopg.Connection, count: int) -> None:
        old = list(self.issues)[-count % 7 :][:1]
        if count % 3 == 0 and old:
            row = session.execute(
                "UPDATE issues SET version = version + 1 WHERE id = %s RETURNING version", (old[0],)
            ).fetchone()
            if row is not None:  # truncated meanwhile: nothing was acknowledged
                self.issues[old[0]] = (self.issues[old[0]][0], row[0])
            return
        title = f"{self._number}-{count}"
        row = session.execute(
            "INSERT INTO issues (author, title) VALUES (%s, %s) RETURNING id", (1 + count % 50, title)
        ).fetchone()
        assert row is not None
        self.issues[row[0]] = (title, 0)
        if count % 2 == 0:
            made = session.execute(
                "INSERT INTO comments (issue, body) VALUES (%s, %s) RETURNING id", (row[0], title)
            ).fetchone()
            assert made is not None
            self.comments[made[0]] = title


@pytest.fixture(params=[16, 18], ids=["pg16", "pg18"])
def archived(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[World, Production]]:
    if request.param not in available_majors():
        pytest.skip(f"PostgreSQL {request.param} is not on this machine")
    with _archived(request.param, tmp_path, monkeypatch) as both:
        yield both


@pytest.fixture
def archived16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, Production]]:
    """For what does not depend on the version."""
    with _archived(16, tmp_path, monkeypatch) as both:
        yield both


@contextmanager
def _archived(major: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, Production]]:
    with production(major) as prod, world(prod.server, root, monkeypatch) as made:
        monkeypatch.setenv("HEROES_ADMIN", prod.server.dsn(made.database))
        _project(made, prod)
        yield made, prod


def _project(made: World, prod: Production) -> None:
    made.migration("20240101000000_first", FIRST, "SELECT 1;")
    made.migration("20240201000000_labels", BAD, DOWN)
    with made.connect() as session:
        session.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    made.applied("20240101000000", FIRST)
    with made.connect() as session:
        session.execute(
            """INSERT INTO users (name, motto) SELECT i, 'motto ' || i FROM generate_series(1, 300) i;
               INSERT INTO labels SELECT i, 'label ' || i FROM generate_series(1, 5) i;
               INSERT INTO issues (author, title) SELECT 1, 'old ' || i FROM generate_series(1, 2000) i;
               INSERT INTO comments (issue, body) SELECT i, 'c' FROM generate_series(1, 2000) i"""
        )
    made.write_config()
    config = made.root / "backout.toml"
    operate = 'dsn.operate.env = "HEROES_DSN"'
    text = config.read_text().replace(operate, f'{operate}\ndsn.snapshot.env = "HEROES_ADMIN"')
    where = f'store = "{prod.base}/store"\narchive = "{prod.archive}"\n'
    config.write_text(f'{text}\n[target.heroes.backups]\ntool = "base_backup"\n{where}')


@pytest.mark.proves(
    claim="Strategy D from twin restores: what a TRUNCATE CASCADE destroyed is back beside the writers",
    on="base backup and archived WAL, one machine, loopback",
    rights="plain owner; superuser for the WAL switch",
    versions="16, 18",
    size="4 writers, 4,600 rows",
)
def test_a_truncate_cascade_under_writers_is_undone_exactly_and_no_write_is_lost(archived, capsys):
    made, _ = archived
    code, taken, err = made.cli(capsys, "backup", "take", "--target", "heroes")
    assert code == 0 and len(taken["backups"]) == 1, (taken, err)
    writers = [Writer(made, number) for number in range(4)]
    for writer in writers:
        writer.start()
    _until(lambda: all(len(writer.issues) > 10 for writer in writers))
    made.applied("20240201000000", BAD)
    before = {key: value for writer in writers for key, value in dict(writer.issues).items()}
    assert len(before) > 40
    incident = made.open()
    triage = made.desk().need(incident, "triage.find", Triage)
    assert {t.table for t in triage.touched} == {
        f"public.{name}" for name in ("labels", "issues", "comments", "users")
    }
    proposed = incidents.propose(made.desk(), incident)
    option = next(o for o in proposed.proposals.options if o.strategy is Strategy.D)
    assert option.verdict is Verdict.RECOMMENDED, option
    of_d = next(p for p in proposed.proposals.proposals if p.strategy is Strategy.D)
    gone = {loss.object for loss in of_d.loss if loss.kind is LossKind.ROWS_GONE}
    assert gone == {"public.labels", "public.issues", "public.comments"}, "CASCADE is counted, not only named"
    made.approve(incident)
    ran = incidents.run(made.desk(), incident, {}, 0)
    for writer in writers:
        writer.over.set()
        writer.join(30)
    assert [error for writer in writers for error in writer.errors] == []
    # The migration itself may come between an issue and its comment, once a writer; the repair may not.
    assert [writer.truncated for writer in writers if len(writer.truncated) > 1] == []
    _nothing_is_lost(made, writers)
    checks = {check.name: check for check in ran.verification.checks}
    assert checks["repaired"].good, checks["repaired"]
    assert ran.repaired is not None and ran.repaired.fates.parked == 0
    code, closed, _ = made.cli(capsys, "close", incident)
    assert code == 0 and f"{incident}-before" in closed["destroyed"]


def test_a_backup_taken_on_another_day_is_a_new_one(archived, capsys):
    made, prod = archived
    left = prod.base / "store" / "backout-heroes-of-a-killed-one.part"
    made.cli(capsys, "backup", "take")
    left.mkdir()
    threading.Event().wait(1.1)
    code, taken, _ = made.cli(capsys, "backup", "take")
    assert code == 0
    assert len({backup["id"] for backup in taken["backups"]}) == 2
    assert not left.exists()


def test_wal_that_nobody_may_switch_is_told_by_doctor_and_by_the_proposal_with_the_grant(archived16, capsys):
    made, _ = archived16
    assert made.cli(capsys, "backup", "list")[1]["next"] == "backout backup take"
    made.cli(capsys, "backup", "take")
    config = made.root / "backout.toml"
    config.write_text(config.read_text().replace("dsn.snapshot.env", "dsn.observe.env"))
    grant = "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO t_owner;"
    doctor = made.cli(capsys, "doctor")[1]
    (newest,) = [check for check in doctor["checks"] if check["name"] == "backups newest WAL"]
    assert (newest["state"], newest["mend"]) == ("fail", grant)
    made.applied("20240201000000", BAD)
    incident = made.open()
    assert grant in _why_no_repair(made, incident)
    with made.server.connect(made.database) as admin:
        admin.execute(grant.encode())
    assert _why_no_repair(made, incident).startswith("brings ")


def _why_no_repair(made: World, incident: str) -> str:
    proposed = incidents.propose(made.desk(), incident)
    return next(o.reason for o in proposed.proposals.options if o.strategy is Strategy.D)


def _until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends, "the writers do not come forward"
        time.sleep(0.05)


def _nothing_is_lost(made: World, writers: list[Writer]) -> None:
    with made.connect() as session:
        issues = {r[0]: (r[1], r[2]) for r in session.execute("SELECT id, title, version FROM issues")}
        comments: dict[int, str] = dict(session.execute("SELECT id, body FROM comments").fetchall())
    wanted = {key: value for writer in writers for key, value in writer.issues.items()}
    assert {key: issues.get(key) for key in wanted} == wanted
    said = {key: value for writer in writers for key, value in writer.comments.items()}
    assert {key: comments.get(key) for key in said} == said
    old = [title for title, _ in issues.values() if title.startswith("old ")]
    assert len(old) == len(set(old)) == 2000
    assert len(issues) == 2000 + len(wanted), "nothing doubled, nothing resurrected"
    assert made.one("SELECT count(*) FROM comments WHERE body = 'c'") == 2000
    assert made.one("SELECT count(*) FROM users WHERE motto = 'motto ' || name") == 300
