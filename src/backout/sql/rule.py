"""The shape of a hazard rule: what is wrong, what to do about it, and when it is met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backout.sql.facts import Reading


@dataclass(frozen=True, slots=True)
class Rule:
    """One hazard that the text of a statement can show.

    `problem` and `solution` are whole sentences for people; `meets` is pure and judges one statement.
    """

    name: str
    problem: str
    solution: str
    meets: Callable[[Reading], bool]
