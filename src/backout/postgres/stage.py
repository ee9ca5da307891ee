"""Where something is tried out on copies: the copy itself stays as it is, its clones are used up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from backout.errors import UnknownName
from backout.model.snapshot import BeforeUp
from backout.model.target import CopyMarker
from backout.ports.servers import Scratch
from backout.ports.world import Session, World
from backout.postgres import copies
from backout.postgres.connect import open_session
from backout.postgres.marks import read_marker
from backout.postgres.roles import acting_dsn

CLONE_LEASE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Stage:
    """`role` is the tool's own: the down runs as it where it owns what it owned, so that a missing right
    shows here first."""

    world: World
    scratch: Scratch
    copy: str
    role: str
    name: str
    """`application_name` of our sessions."""

    def dsn(self, database: str) -> str:
        return self.world.servers.conninfo(self.scratch, database)

    def tool_dsn(self, database: str) -> str:
        """For the tool: the same server, acting as its own role where that owns what it owned."""
        with self.session(database) as session:
            return acting_dsn(session, self.dsn(database), self.role)

    @contextmanager
    def session(self, database: str) -> Iterator[Session]:
        with open_session(self.dsn(database), self.name) as opened:
            yield opened

    @contextmanager
    def clone(self, suffix: str) -> Iterator[str]:
        """A marked clone of the copy, destroyed at the end; one left by a killed process is replaced."""
        name = self.make(suffix, CLONE_LEASE)
        try:
            yield name
        finally:
            copies.destroy(self.scratch, self.dsn("postgres"), name)

    def make(self, suffix: str, lease: timedelta) -> str:
        """A marked clone that stays until its lease ends, or the incident is closed."""
        name = f"{self.copy[: 60 - len(suffix)]}_{suffix}"
        admin = self.dsn("postgres")
        copies.destroy(self.scratch, admin, name)
        copies.clone(admin, self.copy, name, self._marker(name, lease), application_name=self.name)
        return name

    def _marker(self, name: str, lease: timedelta) -> CopyMarker:
        with self.session(self.copy) as session:
            of = read_marker(session)
        now = self.world.now()
        source = (of.of_system_identifier, of.of_database) if of else ("", "")
        return CopyMarker(name, *source, copies.rfc3339(now), copies.rfc3339(now + lease))


def server_of(world: World, database: str) -> Scratch:
    """The scratch server that holds this copy; raises `UnknownName` when none does."""
    for scratch in world.servers.running():
        dsn = world.servers.conninfo(scratch, "postgres")
        if any(copy.database == database for copy in copies.list_copies(dsn, scratch.name)):
            return scratch
    raise UnknownName(
        f"the copy {database} is gone",
        where=world.target,
        intact="production",
        next="backout propose",
    )


def before_dsn(world: World, before: BeforeUp) -> str:
    """Reaches the state before the migration: on its own instance, or on the scratch server."""
    return copy_dsn(world, before.database, before.before)


def copy_dsn(world: World, database: str, instance: str) -> str:
    """Reaches a copy: `instance` names a restored cluster; empty = a database on a scratch server. Raises
    `UnknownName` when it is gone."""
    if not instance:
        return world.servers.conninfo(server_of(world, database), database)
    if world.backups is not None:
        for found in world.backups.instances():
            if found.name == instance:
                return world.backups.conninfo(found, database)
    raise UnknownName(
        f"the instance {instance} is gone",
        where=world.target,
        intact="production",
        next="backout propose",
    )
