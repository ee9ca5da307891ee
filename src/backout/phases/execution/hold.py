"""Hold the migration tool's own lock, so that its `up` refuses to run from the down to the watch's end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from backout.errors import BackoutError
from backout.model.plan import Proposal
from backout.ports.world import World
from backout.postgres import advisory

_LINE_SECONDS = 2.0


@contextmanager
def migrations(world: World, proposal: Proposal, incident: str) -> Iterator[bool]:
    """A live session that holds the tool's advisory lock, where the tool has one (node-pg-migrate).

    Yields whether it took the lock. It ends with this process: afterwards only looking tells.
    """
    key = _key(world, (proposal,))
    if key is None:
        yield False
        return
    with world.databases.operate(_name(incident)) as session:
        row = session.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", (key,)).fetchone()
        yield bool(row and row[0])


@contextmanager
def behind_the_down(world: World, proposals: Sequence[Proposal], incident: str) -> Iterator[None]:
    """Stand in line for the tool's lock as soon as the down has it, and keep it until the block ends.

    A pod that restarts tries its `up` every second or so; between the end of the down and the watch there
    is a whole verification. A session that already waits gets the lock before anybody who asks later.
    """
    key = _key(world, proposals)
    if key is None:
        yield
        return
    with ExitStack() as stack:
        # What fails here fails quietly: the watch asks for the lock itself, and looks.
        with suppress(BackoutError):
            session = stack.enter_context(world.databases.operate(_name(incident)))
            stack.enter_context(advisory.line(session, key, f"backout/{incident}/%"))
        yield


def line_awaited(world: World, proposal: Proposal, incident: str) -> Callable[[], None]:
    """To be called before the tool's writes, when it has its lock and no other: whoever is to stand behind it
    stands there before it can end, however busy this machine is. Once the line stands nobody is asked again.
    """
    key = _key(world, (proposal,))
    stands = threading.Event()

    def await_line() -> None:
        if key is None or stands.is_set():
            return
        with suppress(BackoutError), world.databases.operate(f"backout/{incident}/line") as session:
            if advisory.await_line(session, key, _name(incident), _LINE_SECONDS):
                stands.set()

    return await_line


def _key(world: World, proposals: Sequence[Proposal]) -> int | None:
    """The tool's lock; None too where the tool itself has to run again (a migration that is completed), and
    where there is no down to stand behind (traffic moves instead)."""
    if not proposals or any(p.lists_after or p.finish is not None for p in proposals):
        return None
    key: int | None = getattr(world.migrator, "advisory_lock_key", None)
    return key


def _name(incident: str) -> str:
    """Not one of the names under which a resume looks for what an earlier attempt left behind."""
    return f"backout/hold/{incident}"
