"""A demo as a person types it, in a place of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from backout.demo.place import Place
from backout.demo.world import control, scratch
from backout.demo.world.processes import Processes
from backout.demo.world.production import Production
from tests import documents
from tests.demo import worlds


def clear(place: Place) -> None:
    processes = Processes(place.processes)
    for name in ("verb", "application", "etl"):
        processes.end(name, patience=2)
    record = control.read(place.root / "production.json")
    if record:
        worlds.remove(Production(**record))
        scratch.forget(place)


def begin(place: Place, *options: str) -> subprocess.Popen[str]:
    """Type `backout demo`."""
    return subprocess.Popen(
        [sys.executable, "-m", "backout", "demo", *options],
        env={**os.environ, "BACKOUT_DEMO": str(place.root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(child: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document on stdout, everything that people read."""
    out, err = child.communicate(timeout=400)
    try:
        document = json.loads(out)
    except ValueError:
        raise AssertionError(f"exit {child.returncode}\n{out}\n{err}") from None
    words = str(child.args)
    which = (
        "demo destructive" if "destructive" in words else "demo --second" if "--second" in words else "demo"
    )
    documents.assert_fits(document, which)
    return child.returncode, document, err


def kill_after(child: subprocess.Popen[str], place: Place, step: str, seconds: float) -> str:
    """Kill a demo some seconds after a step of its story is over; its incident."""
    reached = control.wait_until(
        lambda: step in control.read(place.story).get("steps", []) or child.poll() is not None, 300
    )
    assert reached, "the demo did not come so far"
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    return str(control.read(place.story)["incident"])
