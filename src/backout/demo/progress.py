"""How far the demo has come, in a file that outlives a killed demo."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from backout.demo.world import control


@dataclass(slots=True)
class Progress:
    """The story so far. `steps` are those that are over; a step is noted only when it is."""

    path: Path
    steps: list[str] = field(default_factory=list)
    incident: str = ""
    dead_etl: bool = False
    migrated_at: float = 0.0
    """When the bad migration began, by the server's clock; seconds since the epoch."""
    verified: bool = True
    counted: dict[str, object] = field(default_factory=dict)
    """What stood on the new side before traffic went back, where it does."""
    finished: bool = False

    def note(self, step: str) -> None:
        """`step` is over."""
        self.steps.append(step)
        self.save()

    def save(self) -> None:
        """Write the file whole, or leave the old one."""
        control.write(self.path, {k: v for k, v in asdict(self).items() if k != "path"})


def load(path: Path) -> Progress | None:
    """The story that was begun and not finished, or None."""
    document = control.read(path)
    if not document or document["finished"]:
        return None
    return Progress(path, **document)
