"""Make one data directory of a full backup and the incremental ones on it, with pg_combinebackup."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from backout.errors import Refused, Stopped
from backout.postgres.binaries import Binaries
from backout.postgres.client import Ended, run_client
from backout.postgres.physical.blocks import copies_ranges, shares_blocks
from backout.postgres.physical.verify import verify_backup

_INCREMENTAL = "INCREMENTAL."
_BLOCK_BYTES = 8192
_HEADER = struct.Struct("=III")  # magic, how many blocks follow, blocks that the file had at least since


def combine(binaries: Binaries, chain: Sequence[Path], goal: Path, tell: Callable[[str], None]) -> None:
    """Put what the last of the chain stands for into `goal`, which is not there yet, and verify it.

    `chain` are data directories that were verified, the full one first; they are read only. Never `--link`:
    a server that runs on hard links would write into the chain. Raises `Refused` when they do not fit
    together or the result differs from its manifest, `Stopped` when the disk does not take it.
    """
    how = _method(chain[0] / "PG_VERSION", goal.parent)
    tell(f"combining {len(chain)} backups with pg_combinebackup {how}")
    ended = _run(binaries, how, chain, goal)
    if ended.exit_code != 0:
        shutil.rmtree(goal, ignore_errors=True)
        raise _failed(ended, chain[-1], goal)
    _verify(binaries, chain[-1], goal)


def _method(file: Path, goal: Path) -> str:
    """How blocks get over: the kernel copies ranges, and where the file system can it shares even those of
    files that changed; a clone shares only whole files."""
    if copies_ranges(file, goal):
        return "--copy-file-range"
    return "--clone" if shares_blocks(file, goal) else "--copy"


def _run(binaries: Binaries, how: str, chain: Sequence[Path], goal: Path) -> Ended:
    arguments = [binaries.program("pg_combinebackup"), how, "--manifest-checksums=SHA256"]
    return run_client([*arguments, f"--output={goal}", *map(str, chain)], {"LC_ALL": "C"})


def _failed(ended: Ended, last: Path, goal: Path) -> Refused | Stopped:
    what = f"pg_combinebackup {ended.died}: {ended.message}"
    if "No space left" in ended.message:
        return Stopped(
            what,
            where=str(goal),
            intact="the source and every backup; the half made copy was removed",
            next="free some space there, then: backout resume",
        )
    return Refused(
        f"{last.parent.name} cannot be put together with what it needs: {what}",
        where=str(last.parent),
        intact="the source and every backup; the half made copy was removed",
        next="use an older backup, or take a new one: backout backup take --full",
    )


def _verify(binaries: Binaries, last: Path, goal: Path) -> None:
    try:
        verify_backup(binaries, goal)
    except Refused as error:
        raise Refused(
            f"what was combined for {last.parent.name} is not whole: {error.what}",
            where=str(goal),
            intact="the source and every backup; this copy is not used",
            next=error.next,
        ) from None


def whole_bytes(data: Path) -> int:
    """Bytes of the cluster that a base backup stands for: of an incremental file, those of the file that is
    made of it."""
    return sum(_whole(path) for path in data.rglob("*") if path.is_file())


def _whole(path: Path) -> int:
    """A reconstructed file ends behind its last block: one that is in here, or that it never lost since."""
    if not path.name.startswith(_INCREMENTAL):
        return path.stat().st_size
    with path.open("rb") as file:
        count: int
        length: int
        _, count, length = _HEADER.unpack(file.read(_HEADER.size))
        blocks: tuple[int, ...] = struct.unpack(f"={count}I", file.read(4 * count))
    return _BLOCK_BYTES * max(length, max(blocks, default=-1) + 1)
