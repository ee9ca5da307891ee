"""What nobody foresaw: four parts for the person, the traceback into a private file, no value shown."""

from __future__ import annotations

import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from backout import settings
from backout.errors import BackoutError, Stopped
from backout.postgres.connect import explain_failure

_INTACT = "what was recorded; an effect that had begun is looked at before it is tried again"


def explained(error: Exception) -> BackoutError:
    """The same failure as an error of ours; what it means for the person, never a row's value."""
    told = explain_failure(error)
    if told is not None:
        return told
    if isinstance(error, OSError):
        return Stopped(
            f"the system refused: {error.strerror or type(error).__name__}",
            where=str(error.filename or "this machine"),
            intact=_INTACT,
            next="backout status",
        )
    return Stopped(
        f"backout itself failed: {type(error).__name__} in {_place(error)}",
        where="backout",
        intact=_INTACT,
        next="backout status",
    )


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


def written_down(error: Exception) -> str:
    """Write the traceback where only this account can read it (it may hold values); its path, or empty."""
    directory = settings.state_directory() / "errors"
    file = directory / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.txt"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            out.write(" ".join(sys.argv[:2]) + "\n")
            out.writelines(traceback.format_exception(error))
    except OSError:
        return ""
    return str(file)
