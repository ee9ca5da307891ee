"""The files of an export hold values: they are whole, and nobody else may read them."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

import pytest

from backout.app import incidents, private_files
from backout.errors import Stopped
from tests.story.harness import World, apply_names, names_world


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_an_export_is_readable_by_its_owner_alone_whatever_the_umask(
    heroes16: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    names_world(heroes16)
    apply_names(heroes16)
    incident = heroes16.open()
    incidents.propose(heroes16.desk(), incident)
    heroes16.approve(incident, strategy="A", accepts=("users.full_name",))
    incidents.run(heroes16.desk(), incident, {}, 0)
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        for _ in range(2):  # the second one replaces the first
            code, document, err = heroes16.cli(capsys, "kept", "export", incident, "--to", str(shared))
            assert code == 0, err
    finally:
        os.umask(before)
    (path,) = map(Path, document["paths"])
    assert path.parent == shared / incident
    assert (mode(shared), mode(path.parent), mode(path)) == ("0o755", "0o700", "0o600")
    assert list(path.parent.iterdir()) == [path]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1001
    assert {row["first_name"] for row in rows} >= {"edited 1", "edited 50", "name 51", "new"}


def test_a_stream_that_breaks_leaves_no_file(tmp_path: Path):
    def broken():
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(Stopped, match="No space left") as caught:
        private_files.write(tmp_path / "kept.csv", broken())
    assert caught.value.where == str(tmp_path / "kept.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_said(tmp_path: Path):
    (tmp_path / "inc-1").write_text("a file")
    with pytest.raises(Stopped, match="cannot be written"):
        private_files.private_directory(tmp_path / "inc-1")
