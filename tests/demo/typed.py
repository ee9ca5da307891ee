"""A demo as a person types it, in a place of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backout.app.schemas import DOCUMENTS
from backout.demo.place import Place
from backout.demo.world import control, scratch
from backout.demo.world.entrance import POOLER
from backout.demo.world.processes import Processes
from backout.demo.world.production import Production
from tests import documents
from tests.demo import worlds


@dataclass(frozen=True)
class Typed:
    """A demo that runs. Its output goes to files: a verb that outlives a killed demo holds them open."""

    verb: str
    """As the schema of its document is called."""
    process: subprocess.Popen[bytes]
    out: Path
    err: Path


def begin(place: Place, *options: str, path: str | None = None) -> Typed:
    """Type `backout demo`; `path` is another PATH than ours."""
    directory = Path(tempfile.mkdtemp(prefix="typed-", dir=place.root.parent))
    out, err = directory / "out", directory / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "backout", "demo", *options],
            env={
                **os.environ,
                "BACKOUT_DEMO": str(place.root),
                "PATH": os.environ["PATH"] if path is None else path,
            },
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    story = next((word for word in options if f"demo {word}" in DOCUMENTS), "")
    return Typed(f"demo {story}".strip(), process, out, err)


def end(typed: Typed) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document on stdout, everything that people read."""
    code = typed.process.wait(timeout=500)
    out, err = typed.out.read_text("utf-8"), typed.err.read_text("utf-8")
    try:
        document = json.loads(out)
    except ValueError:
        raise AssertionError(f"exit {code}\n{out}\n{err}") from None
    documents.assert_fits(document, typed.verb)
    return code, document, err


def kill_after(typed: Typed, place: Place, step: str, seconds: float) -> str:
    """Kill a demo some seconds after a step of its story is over, whatever verb is at work; its incident."""
    reached = control.wait_until(
        lambda: step in control.read(place.story).get("steps", []) or typed.process.poll() is not None, 300
    )
    assert reached, "the demo did not come so far"
    time.sleep(seconds)
    typed.process.send_signal(signal.SIGKILL)
    typed.process.wait(timeout=30)
    return str(control.read(place.story)["incident"])


def clear(place: Place) -> None:
    """End and remove whatever a demo left at a place."""
    processes = Processes(place.processes)
    for name in ("verb", "application", "etl", POOLER):
        processes.end(name, patience=2)
    record = control.read(place.root / "production.json")
    if record:
        worlds.remove(Production(**record))
        scratch.forget(place)
