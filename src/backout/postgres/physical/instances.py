"""New instances made from backups: recorded before they are made, found after a crash, removed with proof."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backout.errors import BackoutError, ConfigurationError, UnknownName
from backout.model.recovery import RecoveryTarget
from backout.model.target import CopyMarker
from backout.ports.backups import Backup, Instance, Reached, Surroundings
from backout.postgres import servers
from backout.postgres.binaries import for_major
from backout.postgres.connect import open_session
from backout.postgres.copies import rfc3339
from backout.postgres.marks import mark
from backout.postgres.scratch import PORT, Recorded, Registry, layout_of
from backout.records import codec

_APPLICATION = "backout/instances/0"
_RECORD = "instance.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}\Z")


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances below one directory, one folder each: the server's record, and ours once it is whole."""

    surroundings: Surroundings

    @property
    def _registry(self) -> Registry:
        return Registry(self.surroundings.instances)

    def announce(self, name: str, backup: Backup, role: str) -> Recorded:
        """Record an instance before anything of it is there; call `destroy` first when one may be left."""
        if not _NAME.match(name):
            raise ConfigurationError(
                f"{name!r} is no name of an instance: use a-z, 0-9 and -",
                where=str(self.surroundings.instances),
                intact="everything; nothing was done",
                next="the same again with another name",
            )
        binaries = servers.reachable(for_major(backup.major))
        with self._registry.lock():
            record = self._registry.announce(f"pg{backup.major}-{name}", binaries, role)
        Path(record.data).parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        return record

    def complete(
        self, name: str, record: Recorded, backup: Backup, target: RecoveryTarget, reached: Reached, how: str
    ) -> Instance:
        """Mark an open instance as a copy of ours, then record that it is whole: in this order."""
        _mark_databases(layout_of(record), name, backup, self.surroundings.lease_seconds)
        instance = Instance(
            name=name,
            host=record.sockets,
            port=PORT,
            role=record.role,
            major=backup.major,
            bin_directory=record.bin_directory,
            data_directory=record.data,
            backup=backup.id,
            target=target,
            reached=reached,
            cut_off=record.cut_off,
            made_by=how,
        )
        file = self._folder(record.name) / _RECORD
        file.with_suffix(".part").write_text(json.dumps(codec.plain(instance), indent=1))
        file.with_suffix(".part").replace(file)
        self._registry.finish(record)
        return instance

    def all(self) -> tuple[Instance, ...]:
        """Those that were made whole and still are there, running or not."""
        found = (self._read(record) for record in self._registry.records() if record.ready)
        return tuple(instance for instance in found if instance is not None)

    def unfinished(self) -> tuple[str, ...]:
        """Names of those that a killed command left half made; `destroy` takes them."""
        return tuple(_plain_name(record) for record in self._registry.records() if not record.ready)

    def find(self, name: str, target: RecoveryTarget) -> Instance | None:
        """The whole instance of this name, when it was restored to this target."""
        return next((one for one in self.all() if (one.name, one.target) == (name, target)), None)

    def conninfo(self, name: str, database: str) -> str:
        """libpq connection string over the private socket; starts the instance when it does not run."""
        for record in self._registry.records():
            if _plain_name(record) == name and record.ready:
                servers.start(layout_of(record))
                return layout_of(record).conninfo(database)
        raise UnknownName(
            f"there is no instance {name}",
            where=str(self.surroundings.instances),
            intact="everything",
            next="backout copies",
        )

    def destroy(self, name: str) -> None:
        """Stop and remove an instance, also a half made one; raises when something is left. Idempotent."""
        with self._registry.lock():
            for record in self._registry.records():
                if _plain_name(record) == name:
                    self._registry.remove(record)

    def _read(self, record: Recorded) -> Instance | None:
        try:
            return codec.load_plain(Instance, json.loads((self._folder(record.name) / _RECORD).read_text()))
        except (OSError, ValueError, BackoutError):
            return None

    def _folder(self, name: str) -> Path:
        return self.surroundings.instances / name


def _plain_name(record: Recorded) -> str:
    return record.name.partition("-")[2]


def _mark_databases(layout: servers.Layout, name: str, backup: Backup, lease_seconds: float) -> None:
    """The positive marker in every database that can be entered: only it tells a copy apart."""
    made = datetime.now(UTC)
    until = rfc3339(made + timedelta(seconds=lease_seconds))
    for database in _databases(layout):
        marker = CopyMarker(name, backup.system_identifier, database, rfc3339(made), until)
        with open_session(layout.conninfo(database), _APPLICATION) as session:
            mark(session, marker)


def _databases(layout: servers.Layout) -> tuple[str, ...]:
    with open_session(layout.conninfo("template1"), _APPLICATION) as session:
        rows = session.execute(
            """SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate
               ORDER BY datname"""
        ).fetchall()
    return tuple(row[0] for row in rows)
