"""Backup tools come through entry points; a wrong name or option is told before anything is asked of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backout import plugins
from backout.errors import ConfigurationError
from backout.model.check import CheckState
from backout.ports.backups import Surroundings, TargetKind

OPTIONS: dict[str, dict[str, object]] = {
    "base_backup": {"store": "store", "archive": "archive"},
    "pgbackrest": {"stanza": "world"},
    "barman": {"server": "world"},
}


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path / "instances", tmp_path)


def test_our_own_tools_come_through_the_same_door():
    assert set(OPTIONS) <= set(plugins.names(plugins.BACKUPS))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_tool_says_what_it_can_and_restores_to_no_time(name: str, surroundings: Surroundings):
    made = plugins.backups(name, OPTIONS[name], surroundings)
    able = made.capabilities()
    assert made.name == name
    assert able.new_instance
    assert able.lsn_known
    assert TargetKind.TIME not in able.targets
    assert any(check.state is CheckState.FAIL for check in made.checks()), "nothing is there yet"


@pytest.mark.parametrize("name", OPTIONS)
def test_a_missing_option_is_named(name: str, surroundings: Surroundings):
    with pytest.raises(ConfigurationError, match=r"backups\.\w+ has to"):
        plugins.backups(name, {}, surroundings)


def test_an_unknown_tool_is_told_with_the_names_that_there_are(surroundings: Surroundings):
    with pytest.raises(ConfigurationError) as error:
        plugins.backups("wal-g", {}, surroundings)
    assert "'wal-g'" in error.value.what
    assert "base_backup" in error.value.next
