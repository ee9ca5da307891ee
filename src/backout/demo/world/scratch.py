"""The scratch servers and the state that backout made for a demo: stopped with it, gone with the next."""

from __future__ import annotations

import shutil

from backout.demo.place import Place
from backout.postgres import servers
from backout.postgres.scratch import Registry, layout_of


def stop(place: Place) -> None:
    """Stop the scratch servers; their files stay, so that a demo that goes on starts them again."""
    if not place.state.exists():
        return
    for scratch in _registries(place):
        with scratch.lock():
            for record in scratch.records():
                servers.stop(layout_of(record), mode="fast")


def start_serving(place: Place) -> None:
    """Start the restored instances that serve: after a stop of the demo nobody else does."""
    for scratch in _registries(place):
        with scratch.lock():
            for record in scratch.records():
                if record.listens:
                    servers.start(layout_of(record))


def forget(place: Place) -> None:
    """Remove copies, snapshots and journal of the last demo: its incident is of a database that is gone.

    An incident that stays open would call the next demo's migration a comeback, and rightly.
    """
    if not place.state.exists():
        return
    for scratch in _registries(place):
        with scratch.lock():
            for record in scratch.records():
                scratch.remove(scratch.listen(record, ""))  # one that serves was the demo's production
    shutil.rmtree(place.state)


def _registries(place: Place) -> tuple[Registry, ...]:
    """Scratch servers, and restored instances where there are some."""
    found = (place.state / name for name in ("copies", "instances"))
    return tuple(Registry(directory) for directory in found if directory.exists())
