"""The store as a private directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from backout.adapters.store.directory import DirectoryStore
from backout.errors import ConfigurationError, Stopped, UnknownName


def test_bytes_are_kept_and_private(tmp_path: Path):
    store = DirectoryStore(tmp_path / "store")
    path = store.write("bundles", "inc-1.json", b"{}")
    assert store.read("bundles", "inc-1.json") == b"{}"
    assert store.names("bundles") == ("inc-1.json",)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
    store.remove(path)
    store.remove(path)
    assert store.names("bundles") == ()
    assert store.free_bytes() > 0


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x.part", "a\0b"])
def test_a_name_cannot_leave_the_store(tmp_path: Path, name: str):
    with pytest.raises(ConfigurationError):
        DirectoryStore(tmp_path).directory("snapshots", name)
    with pytest.raises(ConfigurationError):
        DirectoryStore(tmp_path / "store").remove(tmp_path / "other")


def test_what_is_not_there_has_a_name(tmp_path: Path):
    with pytest.raises(UnknownName, match=r"there is no gone\.json"):
        DirectoryStore(tmp_path).read("bundles", "gone.json")


def test_a_store_that_cannot_be_written_stops_the_command(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Stopped, match="the store cannot be written"):
        DirectoryStore(tmp_path / "file").write("bundles", "x", b"")


def test_what_a_killed_command_left_is_found(tmp_path: Path):
    store = DirectoryStore(tmp_path)
    store.write("bundles", "whole", b"x")
    (tmp_path / "bundles" / "half.part").write_bytes(b"y")
    store.directory("snapshots", "s-1").mkdir()
    assert [path.name for path in store.unfinished()] == ["half.part", "s-1"]
    for path in store.unfinished():
        store.remove(path)
    assert store.unfinished() == ()
    assert store.names("bundles") == ("whole",)
