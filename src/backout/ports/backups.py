"""Base backups and their WAL: what can be restored, to which point, always as a new instance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from backout.model.check import Check
from backout.model.recovery import DumpMoment, Lsn, RecoveryTarget, TwinAfter, TwinBefore


class TargetKind(StrEnum):
    """How exactly a restore can be told where to end."""

    NAME = "name"
    LSN = "lsn"
    XID = "xid"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this kind of backup can do; the plan refuses by these words, not by the tool's name."""

    targets: frozenset[TargetKind]
    granularity: str
    """`record` (any place in the WAL) or a time, e.g. `1 s`."""
    lsn_known: bool
    """Whether a backup says at which position it is whole; without it no backup can be chosen."""
    new_instance: bool
    """Whether it restores beside the original. False = it is never used to restore."""
    twin: bool
    """Whether both sides of a migration share their physical base (rows keep their ctid and xmin)."""
    takes: bool
    """Whether `take` works here."""
    archives: bool = False
    """Whether `archive_now` works here: the tool itself may have the newest WAL archived."""
    summaries: bool = False
    """Whether `take` copies only what changed where the server summarizes its WAL (17 and newer)."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One base backup that its tool calls whole. `start` and `stop` are positions on `timeline`."""

    id: str
    kind: str
    """Name of the adapter."""
    system_identifier: str
    major: int
    timeline: int
    start: Lsn
    stop: Lsn
    """It is consistent from here on: a target has to lie behind it."""
    taken_at: str
    """RFC 3339 in UTC, the end of the backup."""
    size_bytes: int
    """Of the restored cluster; an incremental one takes less where it lies."""
    checks: tuple[Check, ...] = ()
    """How it was looked at, in words for people."""
    wal_segment_bytes: int = 16 << 20
    needs: tuple[str, ...] = ()
    """Ids of the backups without which it cannot be restored, the full one first; empty = it is full."""
    stored_bytes: int = 0
    """What it takes where it lies, without those that it needs; 0 = its tool does not say."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Evidence that recovery ended where it should: the server's own words and its answers."""

    log_line: str
    replayed_to: Lsn
    """`pg_last_wal_replay_lsn()` while it stood at the target."""
    in_recovery: bool
    """`pg_is_in_recovery()` afterwards: false = it takes writes now."""
    timeline: int


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server takes connections from others."""

    host: str
    """Addresses as in `listen_addresses`: `127.0.0.1`, `0.0.0.0`, `*`, or several with commas between."""
    port: int


@dataclass(frozen=True, slots=True)
class ServingSource:
    """How the production serves, read while it answers. May hold secrets: never for a journal or a log."""

    settings: tuple[tuple[str, str], ...] = field(repr=False)
    """Names and values of what was set for the whole server, as `pg_settings` shows them."""
    hba: tuple[str, ...] = field(repr=False)
    """The lines of its pg_hba.conf for connections over a network, in order; empty = they may not be read."""
    covered: tuple[str, ...] = ()
    """Settings whose value for the whole server stands behind one of the reading role or its database."""
    all_seen: bool = True
    """False = the role may not see the settings that are for superusers."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How an instance serves, and what people have to know of it."""

    listening: Listening
    notes: tuple[str, ...]
    """What of the production was not carried over, one sentence each, without secrets."""
    start_command: str
    """Shell command that starts it by hand: nobody else does after a reboot of the machine."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A new server made from a backup or a dump: ours, never the original; isolated until told to serve."""

    name: str
    host: str
    """Its private socket directory."""
    port: int
    role: str
    """Superuser to come in as; the socket directory is what keeps others out."""
    major: int
    bin_directory: str
    data_directory: str
    backup: str
    target: RecoveryTarget | DumpMoment
    reached: Reached
    cut_off: bool
    """Whether it runs without any network."""
    made_by: str = "restore"
    """`restore`, how it was cloned from its twin (`reflink`, `copy`), or `dump`."""
    serving: Serving | None = None
    """How it serves others; None = isolated, as it was made."""
    lease_until: str = ""
    """RFC 3339: until when it is kept for whoever made it, as its marker says."""


@dataclass(frozen=True, slots=True)
class Twin:
    """Two instances: the last state without the migration, the first one with all of it."""

    before: Instance
    after: Instance


def _nobody(text: str) -> None:
    """Nobody listens to the progress."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an adapter is given besides its options."""

    instances: Path
    """Directory in which new instances are recorded and made."""
    project: Path
    """Directory of backout.toml: relative paths start here."""
    dsn: str = field(default="", repr=False)
    """The source, for `take`; may carry a secret. Empty when it is not needed or not there."""
    reserve_bytes: int = 0
    """Bytes that have to stay free on the disk of `instances` (a production shares it)."""
    lease_seconds: float = 24 * 3600.0
    """How long an instance is kept for whoever made it."""
    tell: Callable[[str], None] = field(default=_nobody, repr=False, compare=False)
    """Takes one line of progress for people; may be called from another thread."""


class WalSource(Protocol):
    """Where archived WAL is kept: for restores, and for reading it.

    `bring` puts these segments (all of them are in `names()`) into the directory, under their names, readable
    for the account that runs servers; it raises `Refused` naming the one that cannot be had.
    """

    def names(self) -> frozenset[str]: ...

    def bring(self, names: Iterable[str], directory: Path) -> None: ...


class Backups(Protocol):
    """One adapter per backup tool or provider.

    Must: restore to a NEW instance and never over anything; isolate it before its first start (no
    archiving, no replication, no subscription, no network, no preloaded scheduler), or not make it; restore
    to exactly the target, and believe only the server's log and its own answer that it was reached; choose
    the newest backup that is whole before the target; mark the copy after it was opened for writing.
    May: take seconds or hours. `restore_new`, `restore_twin`, `serve` and `retire` look first and can be
    called again; so does `take` where the tool keeps the label.
    Must never: restore without an explicit target; change or remove a backup that it did not take itself;
    remove an instance that serves; put a connection string or secret into an argument list, a log or an
    error.
    Errors: `Refused` when no backup is old enough, the WAL has a gap or ends too early, the cluster or
    timeline is another one, the target was not reached, each with the exact reason and as early as it can
    be known; `NeighbourUnreachable` when the tool or server does not answer; `Stopped` for a full disk.
    """

    name: str
    """`base_backup`, `pgbackrest`, `barman`."""

    def capabilities(self) -> Capabilities: ...

    def checks(self) -> tuple[Check, ...]:
        """Can it be used now: programs, repository, archive; never raises."""
        ...

    def superuser(self) -> str:
        """Role as which restored instances are entered, as it was configured; empty = each backup knows."""
        ...

    def list(self) -> tuple[Backup, ...]:
        """Every whole backup, oldest first."""
        ...

    def wal(self) -> WalSource:
        """The archived WAL, to be read: where a migration begins and commits is found in it."""
        ...

    def archive_now(self) -> bool:
        """Have the source archive everything up to now, by the tool's own right; False when it has none.

        Raises `NeighbourUnreachable` with the tool's words when it tries and fails.
        """
        ...

    def take(self, label: str, *, full: bool = False) -> Backup:
        """Take a base backup now and look at it; `label` goes wherever the tool can keep one.

        `full` = one that needs no other, where the tool would take another kind by itself.
        """
        ...

    def tidy(self) -> tuple[str, ...]:
        """Remove what a killed `take` left behind, where that is ours to do, and say what; only while nobody
        else takes."""
        ...

    def expire(self) -> tuple[str, ...]:
        """Remove the backups that the configured retention no longer keeps, and say which: never one that a
        kept one needs. A tool with a retention of its own removes nothing here."""
        ...

    def restore_new(self, target: RecoveryTarget, name: str) -> Instance:
        """A new instance called `name`, open for writing, that ends exactly at `target`."""
        ...

    def restore_twin(self, before: TwinBefore, after: TwinAfter, name: str) -> Twin:
        """Both sides of a migration: `<name>-before` and `<name>-after`."""
        ...

    def instances(self) -> tuple[Instance, ...]:
        """The instances that were made whole and still are there, running or not."""
        ...

    def unfinished(self) -> tuple[str, ...]:
        """Names of instances that a killed command left half made; nothing of ours is ever forgotten."""
        ...

    def conninfo(self, instance: Instance, database: str) -> str:
        """libpq connection string; starts the instance when it does not run."""
        ...

    def serve(self, instance_name: str, listening: Listening, source: ServingSource) -> Instance:
        """Make an instance the server that others use: durable, with the settings and logins of the source,
        no longer marked as a copy. It is restarted; one that serves there already is returned as it is.

        Raises `Refused` when the port is taken, when it serves elsewhere, or when it does not come up: then
        it is isolated again.
        """
        ...

    def retire(self, instance_name: str) -> None:
        """Isolate and mark an instance again, for a move that was given up. Idempotent.

        Everybody who uses it is cut off; whether it is the production by now is the caller's to know.
        """
        ...

    def destroy(self, instance_name: str) -> None:
        """Stop and remove an instance, also a half made one, and prove that nothing is left. Idempotent.

        Raises `Refused` for one that serves: it may be the production by now.
        """
        ...
