"""Hand notices to the configured channels; a channel that fails is reported and never blocks."""

from __future__ import annotations

from backout.app.compose import Application
from backout.model.journal import Entry


def send(app: Application, text: str, audience: str, head: Entry) -> tuple[str, ...]:
    """Deliver one notice; returns what went wrong, a line per channel. The journal's head goes with it:
    seen outside, it shows later whether the journal was cut or rewritten."""
    problems = []
    file = app.settings.channels.file
    if file is not None:
        path = app.config_path.parent / file
        heading = f"[{head.at}] ({audience}) {head.incident}"
        line = f"{heading}\n{text.rstrip()}\njournal {head.seq} {head.hash[:16]}\n\n"
        try:
            with path.open("a", encoding="utf-8") as out:
                out.write(line)
        except OSError as error:
            problems.append(f"{path} was not written: {error.strerror}; the notice is in the journal")
    app.journal.anchor(head.incident)
    return tuple(problems)
