"""The floor of everything that reads a whole table: one pg_dump of it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from backout.postgres.client import connection_environment
from backout.postgres.dump import probe_compression
from benchmarks.cpu import Cost, children_seconds, server_seconds
from benchmarks.world import World


def plain_dump(world: World, database: str) -> Cost:
    """The cheapest dump there is: as text, uncompressed, to /dev/null."""
    return _dump(world, database, ["--format=plain", "--file=/dev/null"])


def stored_dump(world: World, database: str, directory: Path) -> Cost:
    """A dump that somebody could restore: directory format, with the codec of our snapshots."""
    codec = probe_compression(world.client)
    return _dump(world, database, ["--format=directory", f"--compress={codec}", f"--file={directory}"])


def _dump(world: World, database: str, options: Sequence[str]) -> Cost:
    server, client = server_seconds(world.server), children_seconds()
    with connection_environment(world.dsn(database), "bench", {}) as environment:
        program = world.client.program("pg_dump")
        subprocess.run([program, *options], env=environment, check=True)  # noqa: S603
    return Cost(server_seconds(world.server) - server, children_seconds() - client)
