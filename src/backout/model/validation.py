"""The validation plan: what people will look at after the rollback, agreed on before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class CheckKind(StrEnum):
    SQL = "sql"
    REGCLASS = "regclass"
    HTTP = "http"
    COMMAND = "command"
    SMOKE_READ = "smoke read"
    SMOKE_WRITE = "smoke write"


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One configured check. `expect` compares the answer: `= 3`, `>= 184203`, `200`, `present`."""

    name: str
    kind: CheckKind
    subject: str
    """SQL text, relation name, URL or command line."""
    expect: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValidationPlan:
    checks: tuple[CheckSpec, ...]
    allow_writes: bool = False
