"""Run a backup tool as the account that owns its repository; read what it says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backout.errors import ConfigurationError, NeighbourUnreachable
from backout.postgres import servers

_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Program:
    """A tool with the arguments that every call of it begins with; it holds no secret."""

    name: str
    arguments: tuple[str, ...]

    @property
    def path(self) -> str | None:
        """Where the tool is; None when it is not installed."""
        return shutil.which(self.name)

    def run(self, *more: str) -> str:
        """Its output; raises `NeighbourUnreachable` with its last words when it fails or is not there."""
        if self.path is None:
            raise NeighbourUnreachable(
                f"{self.name} is not on this machine",
                where="this machine",
                intact="everything",
                next=f"apt-get install {self.name}, or work where the backups are",
            )
        done = servers.run_program([self.path, *self.arguments, *more], timeout=_SECONDS)
        if done.returncode != 0:
            told = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
            account = servers.service_user() or f"uid {os.geteuid()}"
            raise NeighbourUnreachable(
                f"{self.name} {_verb(more)} ended with {done.returncode}: {_reason(told)}",
                where=f"{self.path}, called as {account}",
                intact="the source and every backup",
                next=f"mend that, then: {self.name} {' '.join(self.arguments)} check",
            )
        return done.stdout

    def ask(self, *more: str) -> Any:
        """Its output, read as JSON."""
        shown = self.run(*more)
        try:
            return json.loads(shown)
        except ValueError:
            raise NeighbourUnreachable(
                f"{self.name} {_verb(more)} answered no JSON: {shown[:80]!r}",
                where=self.name,
                intact="the source and every backup",
                next=f"look at what it says: {self.name} {' '.join(more)}",
            ) from None


def _verb(arguments: tuple[str, ...]) -> str:
    return next((one for one in arguments if not one.startswith("-")), "")


def _reason(lines: list[str]) -> str:
    errors = [line for line in lines if "ERROR" in line or "FAILED" in line]
    return (errors or lines[-1:])[0].strip()


def text_option(options: Mapping[str, object], name: str, default: str | None = None) -> str:
    """A text of the configuration; raises `ConfigurationError` when it is missing or something else."""
    value = options.get(name, default)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(
            f"backups.{name} has to be a text",
            where="backout.toml",
            intact="everything; nothing was done",
            next=f'backups.{name} = "TEXT" in backout.toml',
        )
    return value
