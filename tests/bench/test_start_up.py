"""The command line answers before it has imported what only a verb needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backout.cli.main import VERBS

HEAVY = ("psycopg", "pydantic", "cryptography", "postgast", "rich", "asyncio")


def test_help_imports_neither_a_verb_nor_what_only_verbs_need():
    program = (
        "import sys; from backout.cli import command_line; command_line(['--help']);"
        "print('loaded:', *sorted(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = set(shown.partition("loaded:")[2].split())
    ours = {name for name in loaded if name.startswith("backout.")}
    assert ours == {"backout.cli", "backout.cli.lazy", "backout.cli.main", "backout.errors"}
    assert not loaded & set(HEAVY)


def test_every_verb_is_shown_on_one_line_of_80_columns():
    shown = subprocess.run(
        [sys.executable, "-m", "backout", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80"},
    ).stdout
    for verb in VERBS:
        assert f"  {verb.name:<10}  {verb.summary}\n" in shown


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_every_verb_loads(verb):
    assert verb.load().help


def test_status_does_without_the_database_driver_and_the_keys_of_people():
    program = (
        "import sys, backout.cli.status, backout.cli.at_work, backout.app.reading, backout.render.screens;"
        "from backout.app.desk import Desk; print(*sorted(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not set(shown.split()) & {"psycopg", "cryptography", "postgast", "asyncio"}
