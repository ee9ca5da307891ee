"""A table too large to be copied under the lock: rehearsed, approved and kept from a pre-copy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from backout.app import closing, incidents
from backout.model.plan import KeepWay, Verdict
from backout.postgres import pre_copies
from tests.story.harness import World, names_world

ROWS, WIDTH = 6_000, 9_000
"""Wide values outside their rows: to copy them takes long, to look for newer rows does not."""
UP = "ALTER TABLE users ADD COLUMN story text;\nALTER TABLE users ALTER COLUMN story SET STORAGE EXTERNAL;"
DOWN = "ALTER TABLE users DROP COLUMN story;"


def large(made: World, hold: str, *, rows: int = ROWS, before: str = "") -> None:
    """A migration that added a column which the application has filled since."""
    names_world(made, rows)
    (made.root / "migrations" / "20240201000000_first_name.sql").unlink()
    made.migration("20240201000000_story", UP, DOWN)
    with made.connect() as session:
        session.execute(before.encode())
    made.applied("20240201000000", UP)
    with made.connect() as session:
        session.execute("UPDATE users SET story = repeat('x', %s)", (WIDTH,))
    config = made.root / "backout.toml"
    config.write_text(config.read_text() + f"[budgets]\nlock_hold = '{hold}'\n")


def ours(made: World) -> list[str]:
    """Tables of ours in the target, without the manifest."""
    with made.connect() as session:
        rows = session.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('backout_kept')"
            " AND relkind = 'r' AND relname <> 'manifest' ORDER BY 1"
        ).fetchall()
    return [row[0] for row in rows]


def figures(made: World) -> object:
    """Rows, values kept, values destroyed, by the manifest."""
    with made.connect() as session:
        return session.execute(
            "SELECT rows, kept_values, destroyed_values FROM backout_kept.manifest"
        ).fetchone()


def prepared(made: World) -> str:
    """An incident that only waits for the word to go."""
    large(made, "350ms")
    incident = made.open()
    found = incidents.propose(made.desk(), incident)
    assert found.proposals.recommended == "A", found.proposals.options
    made.approve(incident)
    return incident


DIES = """
import os, signal, sys
from backout.cli import command_line
from backout.phases.execution import act
act._through_proxy = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
command_line(sys.argv[1:])
"""
"""`backout` in a process that is killed between the pre-copy and the tool."""


def killed_before_the_tool(made: World, incident: str) -> None:
    command = [sys.executable, "-c", DIES, "run", incident, "--watch", "0"]
    ended = subprocess.run(
        [*command, "--config", str(made.root / "backout.toml")],
        env=os.environ.copy(),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.slow
def test_what_is_approved_is_the_way_it_is_kept(heroes16: World, capsys: pytest.CaptureFixture[str]):
    incident = prepared(heroes16)
    (keep,) = (
        incidents.proposed(heroes16.desk(), heroes16.desk().incident(incident)).proposals.proposals[0].keeps
    )
    assert keep.way is KeepWay.PRE_COPY
    code, document, _ = heroes16.cli(capsys, "show", incident)
    assert code == 0, document

    killed_before_the_tool(heroes16, incident)
    (left,) = ours(heroes16)
    assert left.startswith("pre_")
    assert figures(heroes16) is None, "it is not counted as kept"

    with heroes16.connect() as session:  # the application goes on
        session.execute("UPDATE users SET story = 'last words' WHERE id = 7")

    with written_to(heroes16) as ledger, deleting_after_the_pre_copy(heroes16, 8, 9):
        ran = incidents.resume(heroes16.desk(), incident, 0)
    assert ran.outcome == "backed_out"
    assert ran.execution.values_kept == ran.execution.values_destroyed == ROWS - 2
    assert figures(heroes16) == (ROWS, ROWS - 2, ROWS - 2)
    assert ran.execution.locked_seconds < 0.35
    (table,) = ours(heroes16)
    assert table.startswith("k_")
    assert heroes16.one(f"SELECT story FROM backout_kept.{table} WHERE id = 7") == "last words"
    with heroes16.connect() as session:
        kept: dict[int, str] = dict(session.execute(f"SELECT id, story FROM backout_kept.{table}").fetchall())
        session.execute("ALTER TABLE users ADD COLUMN story text")
    assert ledger and {key: kept.get(key) for key in ledger} == ledger

    code, document, _ = heroes16.cli(capsys, "kept", "put-back", incident, "--column", "users.story")
    assert (code, document["written"], document["row_gone"]) == (4, ROWS - 2, 2), document


@contextmanager
def deleting_after_the_pre_copy(made: World, *keys: int) -> Iterator[None]:
    """Rows that the application deletes between the pre-copy and the lock."""
    take = pre_copies.take

    def and_delete(*arguments: Any) -> Any:
        taken = take(*arguments)
        with made.connect() as session:
            session.execute("DELETE FROM users WHERE id = ANY(%s)", (list(keys),))
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pre_copies, "take", and_delete)
        yield


@contextmanager
def written_to(made: World) -> Iterator[dict[int, str]]:
    """The application writes on until the column is gone; the ledger holds what was acknowledged."""
    ledger: dict[int, str] = {}
    began = threading.Event()

    def write() -> None:
        number = 0
        with made.connect() as session:
            while True:
                number += 1
                key, story = 100 + number % 500, f"acknowledged {number}"
                try:
                    session.execute("UPDATE users SET story = %s WHERE id = %s", (story, key))
                except psycopg.errors.UndefinedColumn:
                    return
                ledger[key] = story
                began.set()

    writer = threading.Thread(target=write)
    writer.start()
    began.wait(10)
    try:
        yield ledger
    finally:
        with made.connect() as session:  # where the down did not come
            session.execute("ALTER TABLE users DROP COLUMN IF EXISTS story")
        writer.join()


@pytest.mark.soak
def test_closed_instead_of_resumed_nothing_is_left(heroes16: World):
    incident = prepared(heroes16)
    killed_before_the_tool(heroes16, incident)
    assert len(ours(heroes16)) == 1
    closing.close(heroes16.desk(), incident, "left as it is")
    assert ours(heroes16) == []


def test_a_table_that_cannot_be_copied_before_is_refused_with_the_figure_and_the_reason(heroes16: World):
    large(heroes16, "100ms", rows=2_000, before="ALTER TABLE users DROP CONSTRAINT users_pkey")
    option = incidents.propose(heroes16.desk(), heroes16.open()).proposals.options[0]
    assert option.verdict is Verdict.REFUSED
    assert "the budget is 0.1 s; no pre-copy: no table can be copied before" in option.reason
    assert "users: it has no unique key that is never NULL" in option.reason
