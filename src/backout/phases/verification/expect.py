"""Does an answer meet what the plan expects? Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

_COMPARE: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(==|=|!=|>=|<=|>|<)\s*(.+?)\s*\Z", re.DOTALL)


def meets(answer: str | None, expect: str) -> bool:
    """Whether `answer` (the first column of the first row, as text; None = NULL or no row) meets `expect`.

    `expect` is empty (any answer will do), an operator and a value (`>= 184203`, `= active`), `present`,
    `absent`, or a bare value to be equal to. Numbers compare as numbers, booleans in any spelling.
    """
    wanted = expect.strip()
    if not wanted:
        return True
    if wanted in ("present", "not null"):
        return answer is not None
    if wanted in ("absent", "null"):
        return answer is None
    if answer is None:
        return False
    found = _FORM.match(wanted)
    sign, value = found.groups() if found else ("=", wanted)
    return _compare(answer, sign, value)


def _compare(answer: str, sign: str, value: str) -> bool:
    left, right = _number(answer), _number(value)
    if left is not None and right is not None:
        return _COMPARE[sign](left, right)
    same = _word(answer) == _word(value)
    return same if sign in ("=", "==") else (not same if sign == "!=" else False)


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", "").strip())
    except InvalidOperation:
        return None


def _word(text: str) -> str:
    lowered = text.strip().lower()
    return {"t": "true", "f": "false", "yes": "true", "no": "false"}.get(lowered, text.strip())
