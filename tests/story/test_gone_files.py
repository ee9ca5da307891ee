"""The image was rolled back, and with it the migration's file: git still has it, and `next` puts it back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backout.testing.migrator_contract import commit_everything
from tests.story.harness import World, names_world

UP = "ALTER TABLE users ADD COLUMN source text;"
DOWN = "ALTER TABLE users DROP COLUMN source;"


def as_one_file(made: World) -> tuple[Path, ...]:
    made.migration("20240201000000_source", UP, DOWN)
    return (made.root / "migrations" / "20240201000000_source.sql",)


def as_a_pair(made: World) -> tuple[Path, ...]:
    """Two files, which go in different commits; the one migration before them is a pair too."""
    directory = made.root / "migrations"
    first = directory / "20240101000000_users.sql"
    first.unlink()
    (directory / "20240101000000_users.up.sql").write_text("CREATE TABLE users (id bigserial PRIMARY KEY);")
    (directory / "20240101000000_users.down.sql").write_text("DROP TABLE users;")
    pair = tuple(directory / f"20240201000000_source.{half}.sql" for half in ("up", "down"))
    for path, text in zip(pair, (UP, DOWN), strict=True):
        path.write_text(text)
    return pair


@pytest.mark.parametrize("write", [as_one_file, as_a_pair], ids=["one file", "pair"])
def test_what_next_says_puts_the_file_back_and_propose_works(
    heroes16: World, capsys: pytest.CaptureFixture[str], write, tmp_path: Path
):
    names_world(heroes16)
    (heroes16.root / "migrations" / "20240201000000_first_name.sql").unlink()
    files = write(heroes16)
    (heroes16.root / ".gitignore").write_text("state\n*.key\n")
    before = [path.read_bytes() for path in files]
    commit_everything(heroes16.root, "Add the source of users")
    heroes16.applied("20240201000000", UP)
    for path in files:
        path.unlink()
        commit_everything(heroes16.root, f"Roll back {path.name}")
    incident = heroes16.open()
    code, refused, err = heroes16.cli(capsys, "propose", incident)
    assert (code, refused["proposals"]["proposals"]) == (3, []), err
    assert "only in the git history, in commit" in refused["proposals"]["options"][0]["reason"]
    assert " show " in refused["next"] and refused["next"].endswith(f" && backout propose {incident}")
    done = subprocess.run(
        ("sh", "-c", f"{refused['next']} --config {heroes16.root / 'backout.toml'} --json"),
        cwd="/",
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert [path.read_bytes() for path in files] == before
    assert f'"next": "backout approve {incident}"' in done.stdout


def test_a_rehearsal_says_it_too(heroes16: World, capsys: pytest.CaptureFixture[str]):
    names_world(heroes16)
    (heroes16.root / "migrations" / "20240201000000_first_name.sql").unlink()
    (file,) = as_one_file(heroes16)
    (heroes16.root / ".gitignore").write_text("state\n*.key\n")
    commit_everything(heroes16.root, "Add the source of users")
    heroes16.applied("20240201000000", UP)
    file.unlink()
    code, exercise, err = heroes16.cli(capsys, "rehearse")
    assert code == 1, err
    subprocess.run(("sh", "-c", exercise["next"]), cwd="/", check=True)
    code, exercise, err = heroes16.cli(capsys, "rehearse")
    assert (code, exercise["next"]) == (0, "nothing"), err
