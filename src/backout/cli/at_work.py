"""What a verb needs to work: the application, a desk for one actor, and the clock of the screens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backout.cli import console

if TYPE_CHECKING:
    from backout.app.compose import Application
    from backout.app.desk import Desk
    from backout.model.journal import Entry


def application(config: str | None) -> Application:
    """The application for this configuration file (None: the nearest)."""
    from backout.app.compose import Application

    return Application(Path(config) if config else None)


def desk(config: str | None, by: str | None = None) -> Desk:
    """A desk whose progress goes to stderr and whose notices go to the configured channels.

    Whatever the command is: a migration that came back is said first, and what dead or expired guards left
    on a server is cleared.
    """
    from backout.app.comebacks import alarms
    from backout.app.compose import default_actor
    from backout.app.desk import Desk
    from backout.app.leftovers import tidy

    app = application(config)
    opened = Desk(app, by or default_actor(), console.TerminalTeller(_deliver(app)))
    for line in (*alarms(opened), *tidy(opened)):
        console.say(line)
    return opened


def _deliver(app: Application) -> Callable[[str, str, Entry], None]:
    def deliver(text: str, audience: str, head: Entry) -> None:
        from backout.app.channels import send

        for problem in send(app, text, audience, head):
            console.say(f"  ! notice: {problem}")

    return deliver


def now() -> datetime:
    """The clock of the screens."""
    return datetime.now(UTC)


def seconds(text: str | None) -> float | None:
    """A span from the command line (`30m`, `10s`, `0`), in seconds.

    Raises `ConfigurationError` for anything else.
    """
    if text is None:
        return None
    from backout.app.spans import seconds as parse

    return parse(text)


def incident_or_only(the_desk: Desk, incident: str | None) -> str:
    """The named incident, or the only open one."""
    return incident or the_desk.only_open_incident()


def at_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty()
