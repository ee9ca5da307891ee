"""What tests that kill commands leave behind: scratch servers and instances outside of pytest's folders."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

_OUTSIDE = Path("/var/tmp")


def remove(base: Path) -> None:
    """End and remove every server that a state directory below `base` has on record and that lies outside."""
    for record in base.rglob("server.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            data = Path(json.loads(record.read_text())["data"])
            if data.is_relative_to(_OUTSIDE):
                _end(data)
                shutil.rmtree(data.parent, ignore_errors=True)


def _end(data: Path) -> None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
