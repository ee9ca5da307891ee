"""Scratch servers: where copies are restored and rehearsed, cut off from the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from backout.model.check import Check


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a source database demands of a scratch server; read by the postgres room."""

    server_version: int
    """`server_version_num`, e.g. 160014."""
    encoding: str
    collate: str
    ctype: str
    locale_provider: str
    collation_version: str
    extensions: tuple[tuple[str, str], ...]
    """(name, version) of every installed extension except plpgsql."""
    size_bytes: int
    locale: str = ""
    """Locale of the ICU or builtin provider; empty for libc."""
    system_identifier: str = ""
    postmaster_started: str = ""
    """With `system_identifier`: tells the source itself from a physical copy of it."""
    on_this_machine: bool = False
    """The server was reached over a local socket or an address of this machine."""
    data_directory: str = ""
    """Empty when the role may not see it."""
    max_wal_size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    physical: bool
    isolated_settings: bool
    """We own its configuration (archive off, no logical workers, ...)."""
    no_network: bool


@dataclass(frozen=True, slots=True)
class Scratch:
    """A running scratch server. `conninfo(db)` of its adapter connects; no secret is stored here."""

    name: str
    host: str
    """Socket directory or loopback address."""
    port: int
    user: str
    major: int
    bin_directory: str
    data_directory: str
    """Empty for a server that the user named."""


class Servers(Protocol):
    """Finds and runs scratch servers.

    `fit` must say check by check whether a server for this source can be had: major version, every
    extension, collation versions, disk; each red check with the command that mends it.
    `start` must be idempotent (a running one is reused), must isolate (archive_mode off, no logical
    replication workers, own socket and hba, no extra preload libraries), must survive `kill -9` of the
    caller in the sense that `list` finds what is left. `destroy` must prove that nothing is left.
    """

    def fit(self, source: SourceFacts, need_bytes: int) -> tuple[Check, ...]: ...

    def start(self, source: SourceFacts) -> Scratch: ...

    def conninfo(self, scratch: Scratch, database: str) -> str:
        """libpq connection string; may carry a secret, so it is never journalled or printed."""
        ...

    def running(self) -> tuple[Scratch, ...]: ...

    def stopped(self) -> tuple[Scratch, ...]:
        """Servers of ours that do not run and whose files are still there; `destroy` takes them too."""
        ...

    def destroy(self, scratch: Scratch) -> None: ...

    def capabilities(self) -> Capabilities: ...
