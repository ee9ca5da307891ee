"""Lines of a screen: the style of a stream, symbols, wrapping, steps, and the page that ends in `next:`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from backout.model.check import Check, CheckState
from backout.model.target import TargetIdentity
from backout.render import words

NARROW = 60
"""Below this many columns a table becomes `key: value` blocks."""
_NARROWEST = 24
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class State(StrEnum):
    """The states that have a symbol; a word always follows it."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    RUNNING = "running"
    WARN = "warn"
    UNKNOWN = "unknown"
    PERSON = "waits for a person"
    TO_COME = "to come"
    SKIPPED = "skipped"


# Beyond ASCII, in 16-colour themes: symbol, ASCII fallback, SGR code. All are one column wide everywhere.
_SYMBOLS: Mapping[State, tuple[str, str, str]] = {
    State.PASS: ("✓", "+", "32"),
    State.FAIL: ("✗", "x", "31"),
    State.RUNNING: ("▸", ">", "36"),
    State.WARN: ("!", "!", "33"),
    State.UNKNOWN: ("?", "?", "35"),
    State.PERSON: ("@", "@", "1"),
    State.TO_COME: (".", ".", "2"),
    State.SKIPPED: ("-", "-", "2"),
}


@dataclass(frozen=True, slots=True)
class Style:
    """How one stream is written: columns, whether it takes UTF-8, whether it takes colour."""

    width: int = 80
    unicode: bool = True
    colour: bool = False

    def text(self, text: str) -> str:
        """`text` made safe for this stream: control characters escaped, and all beyond ASCII if it must."""
        safe = words.clean(text)
        return safe if self.unicode else safe.encode("ascii", "backslashreplace").decode("ascii")

    def symbol(self, state: State) -> str:
        """The symbol of a state, coloured where colour is welcome."""
        symbol, ascii_symbol, code = _SYMBOLS[state]
        shown = symbol if self.unicode else ascii_symbol
        return f"\x1b[{code}m{shown}\x1b[0m" if self.colour else shown


PLAIN = Style()


def style_for(
    is_terminal: bool,
    environ: Mapping[str, str],
    columns: int,
    colour_flag: str = "auto",
    ascii_flag: bool = False,
) -> Style:
    """The style of one stream.

    `colour_flag` is `never`, `always` or `auto`; then NO_COLOR, then TERM=dumb, then whether *this* stream
    is a terminal decides. `columns` counts on a terminal only; 0 = not known.
    """
    dumb = environ.get("TERM") == "dumb"
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    utf8 = locale.lower().replace("-", "").endswith("utf8") or ".utf8" in locale.lower().replace("-", "")
    refused = bool(environ.get("NO_COLOR")) or dumb or not is_terminal
    colour = colour_flag == "always" or (colour_flag != "never" and not refused)
    width = max(_NARROWEST, columns) if is_terminal and columns else 80
    return Style(width, unicode=utf8 and not dumb and not ascii_flag, colour=colour)


def visible(line: str) -> str:
    """A line without its colours."""
    return _ANSI.sub("", line)


def middle(text: str, width: int) -> str:
    """A name cut in the middle to `width` columns: `179531...-v2`."""
    if words.columns(text) <= width:
        return text
    if width < 5:
        return _head(text, width)
    tail = (width - 3) // 3
    return _head(text, width - 3 - tail) + "..." + _head(text[::-1], tail)[::-1]


def _head(text: str, width: int) -> str:
    """As much of the beginning as fits into `width` columns."""
    taken = 0
    for index, character in enumerate(text):
        taken += words.columns(character)
        if taken > width:
            return text[:index]
    return text


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken at blanks; longer words are broken, never cut."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if words.columns(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while words.columns(line) > width:
            lines.append(_head(line, width))
            line = line[len(lines[-1]) :]
    return [*lines, line] if line or not lines else lines


def hanging(head: str, text: str, style: Style) -> list[str]:
    """`head` as it is, then `text` wrapped beside it; following lines are indented to where it began."""
    indent = words.columns(visible(head))
    lines = wrap(style.text(text), max(style.width - indent, 16))
    return [f"{head}{lines[0]}".rstrip(), *(" " * indent + line for line in lines[1:])]


def paragraph(text: str, style: Style, indent: int = 0) -> list[str]:
    """Running text, wrapped."""
    return hanging(" " * indent, text, style)


def facts(rows: Iterable[tuple[str, str]], style: Style, label: int = 11) -> list[str]:
    """Rows of `  label      text`; a row without text is left out."""
    lines: list[str] = []
    for name, text in rows:
        if text:
            lines += hanging(f"  {style.text(name):<{label}}", text, style)
    return lines


def state_of(check: Check) -> State:
    """The state of a check as the screens know it."""
    return {
        CheckState.PASS: State.PASS,
        CheckState.WARN: State.WARN,
        CheckState.FAIL: State.FAIL,
        CheckState.UNKNOWN: State.UNKNOWN,
        CheckState.SKIPPED: State.SKIPPED,
    }[check.state]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of progress: what, how it stands, and seconds taken and predicted where they are known.

    `more` are lines below it: whom it waits for, what it holds.
    """

    state: State
    name: str
    text: str = ""
    took: float | None = None
    predicted: float | None = None
    more: tuple[str, ...] = ()


_TIME = 11
"""Columns of each of `took` and `predicted`, which stand at the right."""


def steps(rows: Sequence[Step], style: Style) -> list[str]:
    """Lines with symbol, name, text and, at the right, the times taken and predicted."""
    label = max([12, *(words.columns(style.text(row.name)) + 2 for row in rows)])
    predicted = any(row.predicted is not None for row in rows)
    lines: list[str] = []
    for row in rows:
        name = style.text(row.name)
        head = f"  {style.symbol(row.state)} {name}{' ' * (label - words.columns(name))}"
        lines += _timed(head, row, predicted, style)
        for extra in row.more:
            lines += hanging(" " * (label + 4), extra, style)
    return lines


def _timed(head: str, row: Step, predicted: bool, style: Style) -> list[str]:
    """The text of a step, with its times at the right edge of the first line; below it where it is narrow."""
    if row.took is None and row.predicted is None:
        return hanging(head, row.text, style)
    took = words.duration(row.took) if row.took is not None else ""
    guess = words.duration(row.predicted) if row.predicted is not None else ""
    if style.width < NARROW:
        told = f"took {took}" if took else ""
        also = f"predicted {guess}" if guess else ""
        return hanging(head, ", ".join(part for part in (row.text, told, also) if part), style)
    times = f"{took:>{_TIME}}{guess:>{_TIME}}" if predicted else f"{took:>{_TIME}}"
    first, *rest = hanging(head, row.text, replace(style, width=style.width - len(times)))
    blank = " " * (style.width - len(times) - words.columns(visible(first)))
    return [f"{first}{blank}{times}".rstrip(), *rest]


def checks(rows: Sequence[Check], style: Style) -> list[str]:
    """One line a check."""
    return steps([Step(state_of(check), check.name, check.detail) for check in rows], style)


def passed(rows: Sequence[Check]) -> str:
    """`6 of 7 checks, 2 skipped`: those that were asked, and apart from them those that were not."""
    asked = [check for check in rows if check.state is not CheckState.SKIPPED]
    told = f"{sum(check.good for check in asked)} of {len(asked)} checks"
    skipped = len(rows) - len(asked)
    return f"{told}, {skipped} skipped" if skipped else told


def tally(rows: Sequence[Check], style: Style, exit_code: int = 1) -> list[str]:
    """`7 checks: 4 pass, 1 warn, 1 fail, 1 unknown`, and the exit code when one of them is not good."""
    counts = ((state, sum(check.state is state for check in rows)) for state in CheckState)
    told = ", ".join(f"{number} {state.value}" for state, number in counts if number)
    summary = f"{words.plural(len(rows), 'check')}: {told or 'none'}"
    if not all(check.good for check in rows):
        summary = f"{summary:<58}" if style.width >= 80 else f"{summary} "
        summary += f" exit {exit_code}"
    return hanging("", summary, style)


@dataclass(frozen=True, slots=True)
class Place:
    """Which target is spoken of. `primary` is None when nobody asked the server."""

    name: str
    environment: str
    identity: TargetIdentity | None = None
    primary: bool | None = None

    def __str__(self) -> str:
        """`heroes-production  PRODUCTION  heroes @ db-1:5432 (primary)`."""
        where = f"  {self.identity}" if self.identity else ""
        role = "" if self.primary is None else " (primary)" if self.primary else " (standby)"
        return f"{self.name}  {self.environment.upper()}{where}{role}"


def page(lines: Iterable[str], next_: str, style: Style) -> str:
    """A whole screen, to be printed with a newline behind it.

    When `next:` is too wide, what a person does first stands on the lines above it; the command itself is
    never broken.
    """
    body = list(lines)
    asked = style.text(next_) or "nothing"
    before, then, command = asked.rpartition(", then: ")
    if then and words.columns(asked) + 6 > style.width:
        body += hanging("first: ", before, style)
        asked = command
    return "\n".join([*body, f"next: {asked}"])
