"""How figures, spans, moments and names are written, the same on every screen, notice and page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from backout.model.fates import Fates
from backout.model.loss import Basis, Figure

_SECRETS = (
    (re.compile(r"(?i)\b(postgres(?:ql)?://)[^\s'\"<>]+"), r"\1(hidden)"),
    (re.compile(r"(?i)\b(\w+://[^\s:/@]*):[^\s@/]+@"), r"\1:(hidden)@"),
    (re.compile(r"(?i)\b(password\s*=\s*)('[^']*'|\S+)"), r"\1(hidden)"),
    (re.compile(r"(?i)\b(password\s+)'(?:[^']|'')*'"), r"\1'(hidden)'"),
    (re.compile(r"(?i)\b(pgpassword\s*=\s*)\S+"), r"\1(hidden)"),
)
_SIZES = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def clean(text: str) -> str:
    """Text that is safe on a terminal: control and invisible characters escaped, connection strings and
    passwords hidden. Running it twice changes nothing more."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    # Cc control, Cf format (bidi overrides, zero width), Cs lone surrogate, Zl/Zp line separators.
    if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return character
    return character.encode("unicode_escape").decode("ascii")


def columns(text: str) -> int:
    """Cells that `text` takes on a terminal: wide characters two, combining marks none."""
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def count(number: int | None) -> str:
    """`3,551`; what was not measured is `?`."""
    return "?" if number is None else f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 view`, `2 views`, `0 views`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def few(names: Sequence[str], most: int = 8) -> str:
    """`a, b, c and 197 more`: a table can have some hundred partitions, and a screen some twenty lines."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


def figure(value: Figure) -> str:
    """A count with its basis as one phrase: `1,780`, `at most 51`, `1,780 (stale)`, `unknown`."""
    if value.basis is Basis.UNKNOWN or value.count is None:
        return "unknown"
    if value.basis is Basis.STALE:
        return f"{value.count:,} (stale)"
    return f"at most {value.count:,}" if value.basis is Basis.AT_MOST else f"{value.count:,}"


def basis(value: Figure) -> str:
    """The word that stands beside a figure: `exact`, `at most`, `stale` or `unknown`."""
    return value.basis.value.replace("_", " ")


def total(figures: Iterable[Figure]) -> Figure:
    """The sum of figures, as sure as the least sure of them; of nothing it is exactly 0."""
    values = tuple(figures)
    if any(value.count is None for value in values):
        return Figure.unknown()
    summed = sum(value.count or 0 for value in values)
    if any(value.basis is Basis.STALE for value in values):
        return Figure(summed, Basis.STALE)
    bounded = any(value.basis is Basis.AT_MOST for value in values)
    return Figure.at_most(summed) if bounded else Figure.exact(summed)


def size(number: float) -> str:
    """Bytes in decimal units: `18.4 GB`, `159 MB`, `0 B`."""
    for unit, factor in _SIZES:
        if number >= factor:
            return f"{number / factor:.{0 if number >= 100 * factor else 1}f} {unit}"
    return f"{number:.0f} B"


def percent(part: int, whole: int) -> str:
    """`100 %` only when it is all, `0 %` only when it is none."""
    if whole == 0:
        return "-"
    if 0 < part < whole and not 0.01 <= part / whole <= 0.99:
        return "<1 %" if part * 2 < whole else ">99 %"
    return f"{100 * part / whole:.0f} %"


def duration(seconds: float | None) -> str:
    """`238 ms` below a second, `3.8 s` below a minute, then `4:05`, then `1 h 12`; unknown is `?`."""
    if seconds is None:
        return "?"
    if seconds < 0.9995:
        return "<1 ms" if 0 < seconds < 0.0005 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02d}"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02d}"


def ago(then: datetime, now: datetime) -> str:
    """How long ago, coarsely: `12 s ago`, `19 min ago`, `5 h ago`, `3 days ago`."""
    seconds = max(0.0, (now - then).total_seconds())
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h ago"
    return f"{seconds // 86400:.0f} days ago"


def due(at: datetime, now: datetime) -> str:
    """`in 3:48`, or `overdue 2:10`."""
    rest = (at - now).total_seconds()
    return f"in {duration(rest)}" if rest >= 0 else f"overdue {duration(-rest)}"


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 text of a record as a moment in UTC; None when there is none or it cannot be read."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def clock(at: datetime, now: datetime | None = None) -> str:
    """`03:04:12 UTC`; with the date when it is another day than `now`."""
    at = at.astimezone(UTC)
    same_day = now is not None and at.date() == now.astimezone(UTC).date()
    return f"{at:%H:%M:%S} UTC" if same_day else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def when(text: str | None, now: datetime | None = None) -> str:
    """The clock of a record's moment; `unknown` without one."""
    at = moment(text)
    return clock(at, now) if at is not None else clean(text or "") or "unknown"


def between(begun: str | None, ended: str | None) -> float | None:
    """Seconds between two moments of records; None when one is not known or they are in the wrong order."""
    first, last = moment(begun), moment(ended)
    if first is None or last is None or last < first:
        return None
    return (last - first) / timedelta(seconds=1)


def short_digest(digest: str) -> str:
    """The first 64 bits in four groups that can be read aloud: `9f3c-61ad-07e2-b85d`."""
    return "-".join(digest[i : i + 4] for i in range(0, 16, 4))


def plain_table(name: str) -> str:
    """A table as people call it: without the namespace schema `public`."""
    return name.removeprefix("public.")


def fates(found: Fates) -> str:
    """`5,318 carried, 0 kept, 2 parked, 31 listed`."""
    first = f"{found.carried:,} carried, {found.archived:,} kept"
    return f"{first}, {found.parked:,} parked, {found.listed:,} listed"
