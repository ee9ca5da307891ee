"""`./run` on machines that are not as one hopes: its messages, exit codes and streams."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tools import environment

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "run"), *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_help_names_every_verb_from_any_directory(tmp_path: Path):
    shown = run("help", cwd=tmp_path)
    assert shown.returncode == 0
    assert [
        verb for verb in ("demo", "test", "check", "bench", "docs") if f"\n  {verb} " not in shown.stdout
    ] == []


def test_an_unknown_verb_is_a_usage_error():
    refused = run("dance")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no such verb: dance" in refused.stderr


def test_an_old_python_is_named_with_what_is_needed(tmp_path: Path):
    old = program(tmp_path / "python3", 'case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac')
    refused = run("check", BACKOUT_PYTHON=str(old))
    assert refused.returncode == 2
    assert "needs python3 3.11 or newer" in refused.stderr
    assert "Python 3.9.2" in refused.stderr


def test_a_missing_python_is_named_too(tmp_path: Path):
    refused = run("check", BACKOUT_PYTHON=str(tmp_path / "python3"))
    assert refused.returncode == 2
    assert "missing" in refused.stderr


def test_the_launcher_is_plain_posix_shell():
    subprocess.run(["sh", "-n", str(ROOT / "run")], check=True)


def test_without_ensurepip_an_ordinary_user_is_told_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(environment, "on_debian", lambda: True)
    with pytest.raises(environment.SetupFailed, match=r"sudo apt-get install -y python3\S*-venv") as refused:
        environment.need_venv()
    assert refused.value.code == 2


def test_what_needs_root_is_one_line_for_an_ordinary_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(environment, "missing_system_packages", lambda: ["postgresql", "openssh-client"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(environment, "on_debian", lambda: True)
    environment.make_system()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "sudo apt-get install -y postgresql openssh-client" in said.err


def test_the_pooler_of_a_demo_is_asked_for_only_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(environment, "on_debian", lambda: True)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/sbin/{name}")
    environment.make_pooler()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("shutil.which", lambda name: None)
    environment.make_pooler()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "sudo apt-get install -y pgbouncer" in said


def test_a_failing_command_shows_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(environment, "LOG", tmp_path / "setup.log")
    failing = program(tmp_path / "failing", "echo '{no route to the registry}'; exit 3")
    with pytest.raises(environment.SetupFailed, match=r"\(exit 3\):\n    \{no route"):
        environment.patiently("fetching", [failing], tmp_path, os.environ, tmp_path)
    assert capsys.readouterr().out == ""


def test_a_part_is_made_again_when_what_it_is_made_from_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(environment, "STAMPS", tmp_path / "stamps")
    assert not environment.stamped("node", "a")
    environment.write_stamp("node", "a")
    assert environment.stamped("node", "a")
    assert not environment.stamped("node", "b")
    environment.forget("node")
    assert not environment.stamped("node", "a")


def test_the_node_lock_pins_versions_and_names_no_registry():
    lock = json.loads((ROOT / "tools" / "node" / "package-lock.json").read_text())
    assert [where for where, entry in lock["packages"].items() if "resolved" in entry] == []
    wanted = json.loads((ROOT / "tools" / "node" / "package.json").read_text())["dependencies"]
    assert wanted == {name: lock["packages"][f"node_modules/{name}"]["version"] for name in wanted}
