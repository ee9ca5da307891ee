"""Compare a screen with its golden file, in every style, and check what holds for all screens."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from backout.render.layout import Style, visible
from tests.render.samples import SECRET

FOLDER = Path(__file__).parent / "golden"
UTF8, ASCII = Style(), Style(unicode=False)
COLOUR = Style(colour=True)
NARROW = Style(width=50)


def assert_golden(name: str, draw: Callable[[Style], str], *, ends_in_next: bool = True) -> None:
    """`draw` gives the golden texts `NAME.txt` (UTF-8) and `NAME.ascii.txt`; colour and a narrow terminal
    change no word. Set BACKOUT_WRITE_GOLDEN=1 to write the files anew, then read the difference."""
    utf8, ascii_ = draw(UTF8), draw(ASCII)
    compare(FOLDER / f"{name}.txt", utf8)
    compare(FOLDER / f"{name}.ascii.txt", ascii_)
    assert visible(draw(COLOUR)) == utf8
    assert ascii_.isascii()
    for text in (utf8, ascii_):
        assert_rules(text, ends_in_next=ends_in_next)
    assert SECRET not in draw(NARROW)


def compare(path: Path, text: str) -> None:
    if os.environ.get("BACKOUT_WRITE_GOLDEN"):
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text()


def assert_rules(text: str, *, width: int = 80, ends_in_next: bool = True) -> None:
    lines = text.split("\n")
    assert [line for line in lines if len(line) > width] == []
    assert not any(line != line.rstrip() for line in lines), "no blank at the end of a line"
    assert "\n\n\n" not in text, "at most one blank line between blocks"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text), "no control character"
    assert SECRET not in text
    if ends_in_next:
        assert lines[-1].startswith("next: ")
