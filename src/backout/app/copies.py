"""The verb `copies`: what lies on scratch servers, its end, and the end of the servers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backout.app import lock
from backout.app.desk import Desk
from backout.app.results import CopyLine, CopyList, InstanceLine, ServerLine
from backout.errors import Refused
from backout.model.journal import EntryKind
from backout.model.snapshot import BeforeUp
from backout.phases.restore import registry
from backout.phases.snapshot.facts import Proven
from backout.ports.backups import Instance, Surroundings
from backout.ports.servers import Scratch, Servers
from backout.postgres import copies
from backout.postgres.copies import Copy
from backout.postgres.physical.instances import Instances
from backout.records import codec


def listing(desk: Desk, target: str | None) -> CopyList:
    """Every copy of ours on every scratch server that runs, and the servers."""
    name = desk.app.target_name(target)
    servers = desk.app.servers(name)
    found = [(scratch, _on(servers, scratch)) for scratch in servers.running()]
    lines = [_line(copy) for _, there in found for copy in there]
    ours = servers.capabilities().isolated_settings
    running = [_server(scratch, there, ours) for scratch, there in found]
    stopped = [
        ServerLine(scratch.name, False, ours, 0, "", scratch.data_directory) for scratch in servers.stopped()
    ]
    idle = [s for s in running if s.ours and not s.held_until] or (stopped and not desk.open_incidents())
    restored = _instances(desk)
    held = {one.instance for one in _unexplained(desk)}
    over = any(copy.expired(datetime.now(UTC)) for _, there in found for copy in there)
    over = over or any(_over(line) for line in restored if line.name not in held)
    following = "copies --stop" if idle else "copies --destroy-expired" if over else ""
    command = desk.app.for_target(f"backout {following}", name) if following else "nothing"
    return CopyList(tuple(lines), command, (*running, *stopped), instances=restored)


def _restored(desk: Desk) -> Instances:
    """The restored clusters of this state directory, from whatever they were made."""
    return Instances(Surroundings(desk.app.state / "instances", desk.app.config_path.parent))


def _instances(desk: Desk) -> tuple[InstanceLine, ...]:
    """Restored clusters, whole and half made."""
    there = _restored(desk)
    whole = tuple(
        InstanceLine(one.name, one.backup, str(one.target), _serves(one), one.data_directory, one.lease_until)
        for one in there.all()
    )
    return (*whole, *(InstanceLine(name, "", "half made", "", "") for name in there.unfinished()))


def _over(line: InstanceLine) -> bool:
    """Whether nobody holds a restored cluster any more: of no incident, isolated, and its lease has ended or
    it was never finished. Those of an incident go when it is closed."""
    if line.serves or line.name.startswith("inc-"):
        return False
    return not line.backup or (
        bool(line.lease_until) and line.lease_until < copies.rfc3339(datetime.now(UTC))
    )


def _unexplained(desk: Desk) -> tuple[registry.Try, ...]:
    """Restores that failed their smoke tests and that nobody has said why: their copies are evidence."""
    names = desk.app.settings.target
    return tuple(one for name in names for one in registry.unexplained(desk.app.journal, name))


def _not_explained(desk: Desk, failed: registry.Try) -> Refused:
    assert failed.smoked is not None
    bad = next((check for check in failed.smoked.checks if not check.good), None)
    told = f"{bad.name}: {bad.detail}" if bad is not None else "see its smoke tests"
    return Refused(
        f"{failed.instance} failed its smoke tests ({told}), and nobody has recorded why",
        where=str(desk.app.state),
        intact="the copy and everything else",
        next=f"backout restore --failed {failed.instance} --reason TEXT, then destroy it",
    )


def _serves(instance: Instance) -> str:
    at = instance.serving.listening if instance.serving is not None else None
    return f"{at.host}:{at.port}" if at is not None else ""


def _on(servers: Servers, scratch: Scratch) -> tuple[Copy, ...]:
    return copies.list_copies(servers.conninfo(scratch, "postgres"), scratch.name)


def _line(copy: Copy) -> CopyLine:
    marker = copy.marker
    return CopyLine(
        *(copy.database, copy.server, marker.of_database if marker else "unfinished"),
        *(marker.made_at if marker else "", marker.lease_until if marker else ""),
        copy.size_bytes,
    )


def _server(scratch: Scratch, there: Sequence[Copy], ours: bool) -> ServerLine:
    return ServerLine(scratch.name, True, ours, len(there), _held_until(there), scratch.data_directory)


def _held_until(there: Sequence[Copy]) -> str:
    """The end of the longest lease that lives; empty when there is none."""
    now = datetime.now(UTC)
    return max((c.marker.lease_until for c in there if c.marker and not c.expired(now)), default="")


def destroy(desk: Desk, target: str | None, names: tuple[str, ...], *, expired: bool) -> CopyList:
    """Destroy named copies, or all whose lease has ended; each is looked for again afterwards."""
    servers = desk.app.servers(desk.app.target_name(target))
    # A copy that another command is restoring has no lease yet, so nobody else may be at work.
    with lock.worker(desk.app.state, "copies", desk.actor):
        now = datetime.now(UTC)
        unexplained = _unexplained(desk)
        for scratch in servers.running():
            dsn = servers.conninfo(scratch, "postgres")
            for copy in copies.list_copies(dsn, scratch.name):
                if copy.database in names or (expired and copy.expired(now)):
                    copies.destroy(scratch, dsn, copy.database)
        for instance in _instances(desk):
            failed = next((one for one in unexplained if one.instance == instance.name), None)
            if instance.name in names and failed is not None:
                raise _not_explained(desk, failed)
            if instance.name in names or (expired and failed is None and _over(instance)):
                _restored(desk).destroy(instance.name)
    return listing(desk, target)


def stop(desk: Desk, target: str | None) -> CopyList:
    """Stop the private servers that hold no living lease and remove their files, looking afterwards.

    Raises `Refused` for a server that the user named: that one is not ours to stop.
    """
    name = desk.app.target_name(target)
    servers = desk.app.servers(name)
    if not servers.capabilities().isolated_settings:
        raise Refused(
            "the scratch server is one that you named; backout stops only its own",
            where=f"target.{name}.snapshot.scratch",
            intact="everything",
            next=desk.app.for_target("backout copies --destroy-expired", name),
        )
    with lock.worker(desk.app.state, "copies --stop", desk.actor):
        idle = [scratch for scratch in servers.running() if not _held_until(_on(servers, scratch))]
        if not desk.open_incidents():  # leases on a server that sleeps cannot be read
            idle += servers.stopped()
        for scratch in idle:
            servers.destroy(scratch)
    return replace(listing(desk, name), stopped=tuple(scratch.name for scratch in idle))


def _made_for(desk: Desk, incident_id: str) -> frozenset[str]:
    """The copies that an incident or exercise had made, by its journal."""
    names = set[str]()
    for entry in desk.app.journal.read(incident_id):
        if entry.kind is EntryKind.FINISHED and entry.body.get("type") == "Proven":
            names.add(codec.load(Proven, entry.body).proof.copy)
        if entry.kind is EntryKind.FINISHED and entry.body.get("type") == "BeforeUp":
            before = codec.load(BeforeUp, entry.body)
            names |= {before.database, f"{before.database[:59]}_m", f"{before.database[:59]}_r"}
    return frozenset(names)


def destroy_of(desk: Desk, incident_id: str, target: str) -> tuple[str, ...]:
    """Destroy the copies and restored clusters of one incident; their names."""
    servers = desk.app.servers(target)
    names = _made_for(desk, incident_id)
    found = _destroy_instances(desk, incident_id)
    for scratch in servers.running():
        for copy in _on(servers, scratch):
            if copy.database in names:
                copies.destroy(scratch, servers.conninfo(scratch, "postgres"), copy.database)
                found.append(copy.database)
    return tuple(found)


def _destroy_instances(desk: Desk, incident_id: str) -> list[str]:
    """Restored clusters of the incident, also one that a killed command left half made; never one that
    serves: it is the production now."""
    restored = _restored(desk)
    there = restored.all()
    serving = {instance.name for instance in there if instance.serving is not None}
    names = {*(instance.name for instance in there), *restored.unfinished()}
    gone = sorted(name for name in names - serving if name.rpartition("-")[0] == incident_id)
    for name in gone:
        restored.destroy(name)
    return gone


def give_up(desk: Desk, exercise_id: str, target: str) -> None:
    """An exercise that is over holds its copies no longer: whoever wants to may still look at them."""
    servers, names = desk.app.servers(target), _made_for(desk, exercise_id)
    over = datetime.now(UTC) - timedelta(seconds=1)
    for scratch in servers.running():
        for copy in _on(servers, scratch):
            if copy.database in names and copy.marker is not None:
                copies.set_lease(servers.conninfo(scratch, "postgres"), copy.database, over)


def after_close(desk: Desk, target: str) -> str:
    """What to type after the copies of an incident are gone: stop the servers that nobody holds."""
    following = listing(desk, target).next
    return following if "--stop" in following else "nothing"
