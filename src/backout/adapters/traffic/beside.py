"""Write the file that the switch renames into place: beside the one in force, with its owner and mode."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from backout.errors import ConfigurationError, Stopped
from backout.model.check import Check, CheckState
from backout.model.cutover import Warrant
from backout.postgres import dead_man


def prepare(final: Path, content: bytes, token: str) -> Warrant:
    """The warrant of a switch that puts `content` in place of `final`; nothing in force is touched."""
    final = final.resolve()
    prepared = final.with_name(f"{final.name}.backout-{token}")
    handle = os.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        if final.exists():
            like = final.stat()
            os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), like.st_mode & 0o7777)
        file.flush()
        os.fsync(file.fileno())
    return Warrant(
        str(prepared),
        str(final),
        str(prepared.with_name(f"{prepared.name}.withdrawn")),
        hashlib.sha256(content).hexdigest(),
    )


def spend(warrant: Warrant, where: str) -> None:
    """Switch: rename the prepared file into place. Raises `Stopped` when the permission was withdrawn."""
    if not dead_man.spend({"prepared": warrant.prepared, "final": warrant.final}):
        raise Stopped(
            "the permission to switch was withdrawn",
            where=where,
            intact="traffic; nothing was switched",
            next="backout status",
        )


def clear(final: Path) -> None:
    """Remove prepared and withdrawn files of ours beside `final`."""
    final = final.resolve()
    for left in final.parent.glob(f"{final.name}.backout-*"):
        left.unlink(missing_ok=True)


def check(final: Path) -> Check:
    """Can a file be put in the place of this one, with the same owner and mode; tried, and removed."""
    mend = f"work on the machine of {final}, as an account that may replace it"
    try:
        warrant = prepare(final, final.read_bytes(), "look")
        Path(warrant.prepared).unlink()
    except OSError as error:
        return Check("file", CheckState.FAIL, f"{final}: {error.strerror or error}", mend)
    return Check("file", CheckState.PASS, f"{final} can be replaced by a rename")


def read(final: Path) -> str:
    """The text in force."""
    try:
        return final.read_text()
    except OSError as error:
        raise ConfigurationError(
            f"{final} cannot be read: {error.strerror or error}",
            intact="everything; nothing was changed",
            next=f"work on the machine of {final}, as an account that may replace it",
            where=str(final),
        ) from None
