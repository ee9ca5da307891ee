"""What the tests of snapshots share: an awkward source, one scratch server a version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from backout.adapters.servers.local import LocalServers
from backout.model.target import CopyMarker
from backout.ports.servers import Scratch
from backout.postgres import copies, proof
from backout.postgres.binaries import Binaries, client_for
from backout.postgres.connect import with_database
from backout.postgres.dump import DumpResult, finish, read_back, take_dump
from backout.postgres.manifest import Manifest
from backout.postgres.restore import Restored
from backout.testing.servers import RealServer

NAME = "backout/test/1"

AWKWARD = Path(__file__).with_name("awkward.sql").read_text()


@dataclass(frozen=True, slots=True)
class Bench:
    """One version: source server, its scratch server, client programs."""

    source: RealServer
    servers: LocalServers
    scratch: Scratch

    @property
    def binaries(self) -> Binaries:
        return client_for(self.source.major)

    @property
    def dsn(self) -> str:
        """Maintenance database of the scratch server."""
        return self.servers.conninfo(self.scratch, "postgres")

    def take(
        self, database: str, directory: Path, exclude: tuple[str, ...] = ()
    ) -> tuple[DumpResult, Manifest]:
        """Dump, read back, manifest."""
        result = take_dump(
            self.source.dsn(database), self.binaries, directory, application_name=NAME, exclude_data=exclude
        )
        manifest, _ = finish(result, read_back(directory, self.binaries), "0001_init")
        return result, manifest

    def restore(self, directory: Path, database: str = "") -> Restored:
        name = database or f"backout_t_{token_hex(4)}"
        return copies.restore_copy(
            directory, self.scratch, self.dsn, name, self.binaries, marker(name), application_name=NAME
        )

    def prove(self, directory: Path, manifest: Manifest, database: str) -> proof.Comparison:
        target = with_database(self.dsn, database)
        return proof.prove(directory, manifest, target, self.binaries, application_name=NAME)


def marker(copy_id: str) -> CopyMarker:
    return CopyMarker(copy_id, "7", "app", "2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z")
