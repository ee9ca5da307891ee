"""The screens of `backup`: base backups and their chains, restored clusters that stand, and a proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from backout.model.check import Check
from backout.render import words
from backout.render.layout import Style, checks, hanging, page


class BackupLine(Protocol):
    """What this screen needs of one backup."""

    @property
    def id(self) -> str: ...
    @property
    def taken_at(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def stop(self) -> str: ...
    @property
    def needs(self) -> Sequence[str]: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def proven_at(self) -> str: ...


class BackupProof(Protocol):
    """What the screen of `backup prove` needs."""

    @property
    def backup(self) -> str: ...
    @property
    def needs(self) -> Sequence[str]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    @property
    def checks(self) -> Sequence[Check]: ...
    @property
    def next(self) -> str: ...


def screen(
    backups: Sequence[BackupLine],
    instances: Sequence[str],
    tool: Sequence[Check],
    *,
    style: Style,
    next: str,
) -> str:
    """Oldest first; a migration can be restored that committed after one of them was whole.

    An id is what people copy into the next command: it has a line of its own and is never cut.
    """
    lines = [line for backup in backups for line in _backup(backup, style)] or ["There is no base backup."]
    lines += hanging("  restored clusters: ", ", ".join(instances), style) if instances else []
    return page([*lines, *checks(tool, style)], next, style)


def _backup(backup: BackupLine, style: Style) -> list[str]:
    indent = "  " if backup.needs else ""
    return [f"{indent}{style.text(backup.id)}", *hanging(f"{indent}  ", "; ".join(_facts(backup)), style)]


def _facts(backup: BackupLine) -> Iterator[str]:
    what = f"incremental on {backup.needs[-1]}" if backup.needs else "full"
    yield f"{what}, {words.when(backup.taken_at)}"
    stored = (
        f" ({words.size(backup.stored_bytes)} of its own)" if backup.needs and backup.stored_bytes else ""
    )
    yield f"{words.size(backup.size_bytes)}{stored}"
    yield f"whole from {backup.stop}"
    yield f"proven {words.when(backup.proven_at)}" if backup.proven_at else "not proven"


def proof_screen(proof: BackupProof, *, style: Style) -> str:
    """What was restored, what it took, and what was found."""
    rate = f", {words.size(proof.bytes / proof.seconds)} a second" if proof.seconds else ""
    told = f"restored and read in {proof.seconds:.0f} s ({words.size(proof.bytes)}{rate}), and removed again"
    lines = [style.text(proof.backup)]
    lines += hanging("  with: ", ", ".join(proof.needs), style) if proof.needs else []
    return page([*lines, *hanging("  ", told, style), *checks(proof.checks, style)], proof.next, style)
