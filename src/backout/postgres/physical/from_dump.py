"""A dump becomes an instance of its own: filled fast, restarted durable, isolated and marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backout.errors import Refused, Stopped
from backout.model.recovery import DumpMoment, Lsn
from backout.model.target import CopyMarker
from backout.ports.backups import Instance, Reached
from backout.ports.servers import Scratch, SourceFacts
from backout.postgres import adopted, manifest, servers
from backout.postgres.binaries import Binaries, client_for
from backout.postgres.client import connection_environment, reading
from backout.postgres.connect import open_session
from backout.postgres.dump import DUMP
from backout.postgres.manifest import Manifest
from backout.postgres.physical.control import read_control
from backout.postgres.physical.instances import Instances
from backout.postgres.physical.isolation import cut_off
from backout.postgres.restore import restore
from backout.postgres.scratch import HBA, Recorded, layout_of

_ROLE = "backout_scratch"
_PATIENCE_SECONDS = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Dump:
    """A dump to be restored: ours with its manifest (`sha256` is the manifest's), or an adopted file."""

    moment: DumpMoment
    path: Path
    sha256: str
    ours: bool
    database: str
    """The restored database is called like the source's."""
    facts: SourceFacts
    """What the database has to be made like; of a dump of ours its manifest tells."""
    system_identifier: str
    """Of the cluster that the copy is of."""
    timeline: int


@dataclass(frozen=True, slots=True)
class Filled:
    """The instance and what could not be carried over."""

    instance: Instance
    notes: tuple[str, ...]
    bytes: int


def restore_dump(
    instances: Instances, name: str, dump: Dump, *, application: str, jobs: int, watch: Callable[[], None]
) -> Filled:
    """A new instance `name` with this dump in it. A whole one of this name and moment is returned as it is; a
    half made one is removed and made anew.

    Raises `Refused` when the dump is not what was recorded or names a role that its list of roles lacks,
    `Stopped` when pg_restore ends with anything but 0; nothing is left of the instance then.
    """
    if (there := instances.find(name, dump.moment)) is not None:
        return Filled(there, (), _size(there, instances, dump.database))
    major = dump.facts.server_version // 10000
    if dump.ours:
        require_roles(manifest.verify(dump.path, dump.sha256), dump.path, client_for(major))
    elif adopted.digest(dump.path) != dump.sha256:
        raise _another(dump)
    instances.destroy(name)
    record = instances.announce_major(name, major, _ROLE)
    try:
        return _filled(instances, name, record, dump, application, jobs, watch)
    except BaseException:
        instances.destroy(name)
        raise


def _filled(
    instances: Instances,
    name: str,
    record: Recorded,
    dump: Dump,
    application: str,
    jobs: int,
    watch: Callable[[], None],
) -> Filled:
    layout = layout_of(record)
    servers.create(layout)
    (layout.data / "pg_hba.conf").write_text(HBA)
    servers.start(layout)
    notes = _pour(layout, dump, application, jobs, watch)
    _make_durable(layout, name)
    reached = Reached(_ENDED, Lsn.parse(dump.moment.lsn or "0/0"), False, dump.timeline)
    made = Instance(
        *(name, record.sockets, record.port, record.role, layout.binaries.major, record.bin_directory),
        *(record.data, dump.moment.snapshot, dump.moment, reached, record.cut_off),
        made_by="dump",
    )
    whole = instances.finish(record, made, dump.system_identifier)
    return Filled(whole, notes, _size(whole, instances, dump.database))


_ENDED = "pg_restore put in the whole dump and ended with 0"


def _pour(
    layout: servers.Layout, dump: Dump, application: str, jobs: int, watch: Callable[[], None]
) -> tuple[str, ...]:
    """Put the dump in; what could not be carried over."""
    admin, binaries = layout.conninfo("postgres"), client_for(layout.binaries.major)
    if dump.ours:
        place = Scratch("", str(layout.socket_directory), layout.port, layout.user, 0, "", str(layout.data))
        done = restore(
            *(dump.path, place, admin, dump.database, binaries),
            application_name=application,
            jobs=jobs,
            watch=watch,
        )
        return done.notes
    marker = CopyMarker("unfinished", dump.system_identifier, dump.database, "", "")
    seen = adopted.restore(
        *(dump.path, admin, dump.database, dump.facts, binaries, marker),
        application_name=application,
        jobs=jobs,
    )
    return (f"{seen.left_out} statements about owners and grants left out",) if seen.left_out else ()


def _make_durable(layout: servers.Layout, name: str) -> None:
    """An orderly end, a configuration without the throw-away settings, every file on the disk, a start."""
    with open_session(layout.conninfo("postgres"), f"backout/{name}/0") as session:
        session.execute("CHECKPOINT")
    servers.stop(layout, mode="fast")
    cut_off(layout.data, name, read_control(layout.binaries, layout.data))
    program = [layout.binaries.program("initdb"), "--sync-only", f"-D{layout.data}"]
    done = servers.run_program(program, timeout=_PATIENCE_SECONDS)
    if done.returncode != 0:
        raise Stopped(
            f"the files of the instance could not be synced: {done.stderr.strip()}",
            where=str(layout.data),
            intact="the source and the dump; the instance is removed",
            next="backout restore",
        )
    servers.start(layout)


def require_roles(whole: Manifest, directory: Path, binaries: Binaries) -> None:
    """Raise `Refused` naming the owners in the dump that its own list of roles does not have."""
    known = tuple(f" {role.name}" for role in whole.origin.roles)
    entries = (line for line in _entries(directory / DUMP, binaries) if not line.endswith(known))
    owners = {line.rpartition(" ")[2] for line in entries}
    missing = sorted(owner for owner in owners if owner and not owner.startswith("pg_"))
    if missing:
        raise Refused(
            f"the dump has objects of {', '.join(missing)}, and its list of roles has no such role",
            where=str(directory),
            intact="everything; nothing was made",
            next="take it again: backout snapshot take",
        )


def _entries(dump: Path, binaries: Binaries) -> tuple[str, ...]:
    """The lines of the table of contents of what belongs to somebody; each ends with its owner."""
    with (
        connection_environment("", "backout/owners/0", {}) as environment,
        reading([binaries.program("pg_restore"), "--list", str(dump)], environment) as run,
    ):
        text = b""
        while chunk := run.stream.read(1 << 20):
            text += chunk
        ended = run.ended()
    if ended.exit_code != 0:
        raise Refused(
            f"the dump cannot be read: pg_restore {ended.died}: {ended.message}",
            where=str(dump),
            intact="everything; nothing was made",
            next="backout snapshot list",
        )
    lines = (line for line in text.decode("utf-8", "replace").split("\n") if line[:1].isdigit())
    return tuple(line for line in lines if line.split(" ")[3:4] and line.split(" ")[3] in _OWNED)


_KINDS = "TABLE VIEW SEQUENCE FUNCTION PROCEDURE AGGREGATE TYPE DOMAIN SCHEMA INDEX CONSTRAINT TRIGGER"
_OWNED = frozenset(_KINDS.split())


def _another(dump: Dump) -> Refused:
    return Refused(
        f"{dump.moment.snapshot} is not the backup any more that was adopted",
        where=str(dump.path),
        intact="everything; nothing was made",
        next=f"backout snapshot drop {dump.moment.snapshot}, then: backout snapshot adopt FILE",
    )


def _size(instance: Instance, instances: Instances, database: str) -> int:
    with open_session(instances.conninfo(instance.name, database), f"backout/{instance.name}/0") as session:
        row = session.execute("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").fetchone()
    assert row is not None
    return int(row[0])
