"""What git still knows of a migration."""

from __future__ import annotations

import subprocess
from pathlib import Path

from backout.adapters.migrator import git_history
from backout.testing.migrator_contract import commit_everything


def git(project: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=project, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_file_is_found_on_another_branch_and_after_a_reset(tmp_path: Path):
    (tmp_path / "a.sql").write_text("old")
    commit_everything(tmp_path, "Start")
    git(tmp_path, "checkout", "-q", "-b", "feature")
    (tmp_path / "b.sql").write_text("on a branch")
    commit_everything(tmp_path, "Add b")
    on_branch = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "checkout", "-q", "-")
    (tmp_path / "c.sql").write_text("reset away")
    commit_everything(tmp_path, "Add c")
    git(tmp_path, "reset", "-q", "--hard", "HEAD~1")
    (b,) = git_history.find(tmp_path, ["b.sql"])
    (c,) = git_history.find(tmp_path, ["c.sql"])
    assert (b.commit, b.content, b.author) == (on_branch, b"on a branch", "Ada <ada@example.org>")
    assert c.content == b"reset away"


def test_a_deleted_file_comes_from_the_commit_that_still_had_it(tmp_path: Path):
    project = tmp_path / "services" / "api"
    project.mkdir(parents=True)
    (project / "x.sql").write_text("one")
    commit_everything(tmp_path, "Start")
    (project / "x.sql").write_text("two")
    commit_everything(tmp_path, "Change")
    changed = git(tmp_path, "rev-parse", "HEAD")
    (project / "x.sql").unlink()
    commit_everything(tmp_path, "Delete")
    (found,) = git_history.find(project, [":(glob)*.sql"])
    assert (found.path, found.commit, found.content) == ("x.sql", changed, b"two")


def test_commits_that_name_a_migration_are_found(tmp_path: Path):
    (tmp_path / "x").write_text("")
    commit_everything(tmp_path, "Split names\n\nMIGRATION: db/17_split-names.js\n")
    (tmp_path / "y").write_text("")
    commit_everything(tmp_path, "Talk about 17_split-names.js without being it")
    assert [note.subject for note in git_history.notes(tmp_path, "17_split-names.js")] == ["Split names"]
    assert git_history.notes(tmp_path, "18_other.js") == ()


def test_no_repository_is_no_error(tmp_path: Path):
    assert not git_history.readable(tmp_path)
    assert git_history.find(tmp_path, ["x"]) == ()
    assert git_history.authors(tmp_path, tmp_path) == {}
    assert git_history.notes(tmp_path, "x") == ()


def test_a_repository_cannot_make_us_run_its_programs(tmp_path: Path):
    (tmp_path / "a.sql").write_text("x")
    (tmp_path / ".gitattributes").write_text("*.sql diff=evil\n")
    commit_everything(tmp_path, "Start")
    program = tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\ncat \"$1\"\n")
    program.chmod(0o755)
    for key in ("diff.evil.textconv", "diff.evil.command", "diff.external", "core.fsmonitor", "core.pager"):
        git(tmp_path, "config", key, str(program))
    (found,) = git_history.find(tmp_path, ["a.sql"])
    git_history.authors(tmp_path, tmp_path)
    git_history.notes(tmp_path, "a.sql")
    assert found.content == b"x"
    assert not (tmp_path / "ran").exists()
