"""Small JSON files by which the processes of the demo are told what to do, and say what they did."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ALIVE_SECONDS = 600.0
"""Without a sign of life of the demo for so long, its application and its ETL end by themselves."""


def read(path: Path) -> dict[str, Any]:
    """The document in `path`; empty when there is none yet."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the document in `path`, so that no reader ever sees half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(document), "utf-8")
    partial.replace(path)


def wait_until(true: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Ask again and again; False when it did not come true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


def say_alive(directory: Path) -> None:
    """The demo lives."""
    (directory / "alive").touch()


def demo_lives(directory: Path) -> bool:
    """Whether somebody still watches; a demo that was killed must not write to a disk for ever."""
    try:
        return time.time() - (directory / "alive").stat().st_mtime < ALIVE_SECONDS
    except OSError:
        return False
