"""One configuration file and one state directory: settings, the journal, the world of a target."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from backout import settings
from backout.engine.journals import SqliteJournal
from backout.errors import BackoutError, ConfigurationError, UnknownName
from backout.settings import Settings, Target

if TYPE_CHECKING:
    from backout.adapters.people.ssh_keys import SshPeople
    from backout.ports.backups import Backups
    from backout.ports.servers import Servers
    from backout.ports.world import World


class Application:
    """One configuration file and one state directory."""

    def __init__(self, config: Path | None = None, state: Path | None = None) -> None:
        self._config = config
        self.state = state or settings.state_directory()
        self.tell: Callable[[str], None] = lambda _: None
        """Takes the progress of adapters that work for long; the desk of a command says where it goes."""

    @cached_property
    def config_path(self) -> Path:
        found = self._config or settings.find_file(Path.cwd())
        if found is None:
            raise ConfigurationError(
                "no backout.toml here or in any directory above",
                where=str(Path.cwd()),
                intact="everything; nothing was done",
                next="backout init",
            )
        return found.resolve()

    @cached_property
    def settings(self) -> Settings:
        return settings.load(self.config_path)

    @cached_property
    def journal(self) -> SqliteJournal:
        return SqliteJournal(self.state / "journal.db")

    def target_name(self, name: str | None) -> str:
        """The named target, or the only one there is."""
        names = sorted(self.settings.target)
        if name is None:
            if len(names) == 1:
                return names[0]
            raise ConfigurationError(
                "several targets are configured; name one" if names else "no target is configured",
                where=str(self.config_path),
                intact="everything; nothing was done",
                next=f"--target {names[0]}" if names else "backout init",
            )
        if name not in self.settings.target:
            raise UnknownName(
                f"no target {name!r}",
                where=str(self.config_path),
                intact="everything; nothing was done",
                next=f"one of: {', '.join(names)}; another one in its own project, or with --config FILE",
            )
        return name

    def target(self, name: str) -> Target:
        """The settings of a target; raises `UnknownName`: one state directory may serve several projects."""
        return self.settings.target[self.target_name(name)]

    def knows(self, name: str) -> bool:
        """Whether this project has a target of that name; without a configuration file it has none."""
        try:
            return name in self.settings.target
        except BackoutError:
            return False

    def for_target(self, command: str, name: str) -> str:
        """`command` for this target: with `--target` where there are several."""
        return command if len(self.settings.target) == 1 else f"{command} --target {name}"

    # What follows needs the database driver and the keys of people; `status` needs neither.

    def world(self, name: str) -> World:
        """The world of one target."""
        from backout.app import worlds

        return worlds.world(self, name)

    def servers(self, name: str) -> Servers:
        """Private scratch servers, or the server that the user named for copies."""
        from backout.app import worlds

        return worlds.servers(self, name)

    def backups(self, name: str) -> Backups | None:
        """The backup tool of the target; None where none is configured."""
        from backout.app import worlds

        return worlds.backups(self, name)

    def people(self) -> SshPeople:
        """The enrolled people."""
        from backout.app import worlds

        return worlds.people(self)


def default_actor() -> str:
    """Who acts: `$BACKOUT_ACTOR`, else the account's name."""
    try:
        return os.environ.get("BACKOUT_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
