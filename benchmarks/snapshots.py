"""What the proof of a snapshot costs: reading the dump back, restoring it, reading the copy."""

from __future__ import annotations

from pathlib import Path

from backout.ports.servers import Scratch
from backout.postgres.connect import with_database
from backout.postgres.dump import finish, read_back, take_dump
from backout.postgres.restore import restore
from benchmarks.cpu import Cost, server_seconds
from benchmarks.table import Line
from benchmarks.work import cost_of
from benchmarks.world import World

_COPY = "backout_bench_copy"


def proof(world: World, database: str, directory: Path, floor: Cost) -> tuple[list[Line], Cost]:
    """Take, read back, restore, prove; what each costs against one dump to /dev/null."""
    name = "backout/bench/1"
    result = take_dump(world.dsn(database), world.client, directory, application_name=name)
    back, _ = cost_of(world, "read_dump", directory=str(directory), major=str(world.server.major))
    finish(result, read_back(directory, world.client), "bench")
    begun = server_seconds(world.server)
    restore(directory, _scratch(world), world.dsn("postgres"), _COPY, world.client, application_name=name)
    restored = server_seconds(world.server) - begun
    copy = with_database(world.dsn("postgres"), _COPY)
    cost, _ = cost_of(world, "prove", directory=str(directory), copy=copy, major=str(world.server.major))
    world.drop(_COPY)
    against = (floor.cpu, "pg_dump to /dev/null")
    lines = [
        Line("snapshot: read back to its last row", back.cpu, "CPU s", *against),
        Line("snapshot: restored (server only)", restored, "CPU s", *against),
        Line("snapshot: proof, the copy read and compared", cost.cpu, "CPU s", *against),
    ]
    return lines, cost


def _scratch(world: World) -> Scratch:
    layout = world.server.layout
    return Scratch(
        "bench", str(layout.socket_directory), layout.port, layout.user, world.server.major,
        str(layout.binaries.directory), str(layout.data),
    )  # fmt: skip
