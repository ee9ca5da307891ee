"""New instances made from backups: recorded before they are made, found after a crash, removed with proof."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backout.errors import BackoutError, ConfigurationError, UnknownName
from backout.model.recovery import DumpMoment, RecoveryTarget
from backout.model.target import CopyMarker
from backout.ports.backups import Backup, Instance, Reached, Serving, Surroundings
from backout.postgres import servers
from backout.postgres.binaries import for_major
from backout.postgres.connect import open_session
from backout.postgres.copies import rfc3339
from backout.postgres.marks import mark
from backout.postgres.scratch import Recorded, Registry, layout_of
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
        """The same for an instance that is filled from this base backup."""
        return self.announce_major(name, backup.major, role)

    def announce_major(self, name: str, major: int, role: str) -> Recorded:
        """Record an instance before anything of it is there; call `destroy` first when one may be left."""
        if not _NAME.match(name):
            raise ConfigurationError(
                f"{name!r} is no name of an instance: use a-z, 0-9 and -",
                where=str(self.surroundings.instances),
                intact="everything; nothing was done",
                next="the same again with another name",
            )
        binaries = servers.reachable(for_major(major))
        with self._registry.lock():
            record = self._registry.announce(f"pg{major}-{name}", binaries, role)
        Path(record.data).parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        return record

    def complete(
        self, name: str, record: Recorded, backup: Backup, target: RecoveryTarget, reached: Reached, how: str
    ) -> Instance:
        """Mark an open instance as a copy of ours, then record that it is whole: in this order."""
        instance = Instance(
            name=name,
            host=record.sockets,
            port=record.port,
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
        return self.finish(record, instance, backup.system_identifier)

    def finish(self, record: Recorded, instance: Instance, system_identifier: str) -> Instance:
        """Mark an open instance as a copy of this cluster, then record that it is whole."""
        leased = replace(instance, lease_until=self.mark(record, system_identifier))
        self._write(record, leased)
        self._registry.finish(record)
        return leased

    def mark(self, record: Recorded, system_identifier: str) -> str:
        """Mark every database of a running instance as a copy; until when its new lease runs."""
        until = rfc3339(datetime.now(UTC) + timedelta(seconds=self.surroundings.lease_seconds))
        _mark_databases(layout_of(record), plain_name(record), system_identifier, until)
        return until

    def lock(self) -> AbstractContextManager[None]:
        """Only one process starts, changes or destroys instances; `destroy` takes it itself."""
        return self._registry.lock()

    def serves(self, record: Recorded, serving: Serving) -> Recorded:
        """Record that an instance serves, before it does: first what people read, then what keeps it safe."""
        instance = self._read(record)
        if instance is None:
            raise _unknown(plain_name(record), self.surroundings.instances)
        self._write(record, replace(instance, serving=serving))
        return self._registry.listen(record, serving.listening.host, serving.listening.port)

    def is_isolated(self, record: Recorded) -> Recorded:
        """Record that an instance serves no more, after it was cut off."""
        return self._registry.listen(record, "")

    def all(self) -> tuple[Instance, ...]:
        """Those that were made whole and still are there, running or not."""
        found = (self._read(record) for record in self._registry.records() if record.ready)
        return tuple(instance for instance in found if instance is not None)

    def unfinished(self) -> tuple[str, ...]:
        """Names of those that a killed command left half made; `destroy` takes them."""
        return tuple(plain_name(record) for record in self._registry.records() if not record.ready)

    def whole(self, name: str) -> tuple[Recorded, Instance]:
        """The record of a whole instance, and what it is; raises `UnknownName` when there is none."""
        for record in self._registry.records():
            if plain_name(record) == name and record.ready and (instance := self._read(record)) is not None:
                return record, instance
        raise _unknown(name, self.surroundings.instances)

    def serving(self, name: str) -> Recorded | None:
        """The record of the instance of this name when it serves; None for any other."""
        return next(
            (one for one in self._registry.records() if plain_name(one) == name and one.listens), None
        )

    def find(self, name: str, target: RecoveryTarget | DumpMoment) -> Instance | None:
        """The whole instance of this name, when it was restored to this target."""
        return next((one for one in self.all() if (one.name, one.target) == (name, target)), None)

    def directory(self, name: str) -> Path | None:
        """Where the files of this instance lie, half made or whole; None when there is no such instance."""
        there = (Path(one.data) for one in self._registry.records() if plain_name(one) == name)
        return next(there, None)

    def conninfo(self, name: str, database: str) -> str:
        """libpq connection string over the private socket; starts the instance when it does not run."""
        for record in self._registry.records():
            if plain_name(record) == name and record.ready:
                servers.start(layout_of(record))
                return layout_of(record).conninfo(database)
        raise _unknown(name, self.surroundings.instances)

    def destroy(self, name: str) -> None:
        """Stop and remove an instance, also a half made one; raises when something is left, and `Refused`
        for one that serves. Idempotent."""
        with self._registry.lock():
            for record in self._registry.records():
                if plain_name(record) == name:
                    self._registry.remove(record)

    def _read(self, record: Recorded) -> Instance | None:
        """What it is; whether it serves is told by the server's record alone, which is written last."""
        try:
            plain = json.loads((self._folder(record.name) / _RECORD).read_text())
            instance = codec.load_plain(Instance, plain)
        except (OSError, ValueError, BackoutError):
            return None
        if record.listens:
            return replace(instance, port=record.port, cut_off=False)
        return replace(instance, port=record.port, cut_off=record.cut_off, serving=None)

    def _write(self, record: Recorded, instance: Instance) -> None:
        file = self._folder(record.name) / _RECORD
        file.with_suffix(".part").write_text(json.dumps(codec.plain(instance), indent=1))
        file.with_suffix(".part").replace(file)

    def _folder(self, name: str) -> Path:
        return self.surroundings.instances / name


def plain_name(record: Recorded) -> str:
    """Name of the instance of this record, as its maker chose it."""
    return record.name.partition("-")[2]


def _unknown(name: str, directory: Path) -> UnknownName:
    return UnknownName(
        f"there is no instance {name}",
        where=str(directory),
        intact="everything",
        next="backout copies",
    )


def _mark_databases(layout: servers.Layout, name: str, system_identifier: str, until: str) -> None:
    """The positive marker in every database that can be entered: only it tells a copy apart."""
    made = datetime.now(UTC)
    for database in _databases(layout):
        marker = CopyMarker(name, system_identifier, database, rfc3339(made), until)
        with open_session(layout.conninfo(database), _APPLICATION) as session:
            mark(session, marker)


def _databases(layout: servers.Layout) -> tuple[str, ...]:
    with open_session(layout.conninfo("template1"), _APPLICATION) as session:
        rows = session.execute(
            """SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate
               ORDER BY datname"""
        ).fetchall()
    return tuple(row[0] for row in rows)
