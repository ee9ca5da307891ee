"""The screen of an error; the same text as `render_error`, under the name all screens share."""

from __future__ import annotations

from backout.errors import BackoutError
from backout.render.errors import render_error
from backout.render.layout import Style


def screen(error: BackoutError, *, style: Style) -> str:
    """What happened, where, what is intact, the next command."""
    return render_error(error, style)
