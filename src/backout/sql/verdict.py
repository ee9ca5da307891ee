"""A static reader of up and down: does existing data survive the round trip? Three answers.

`safe` must never be wrong, so everything that text cannot show (dynamic SQL, triggers that may be there
already, functions of the user's own) makes the answer `unknown`. Whether the down runs at all, what it does
to values written since, and whether the schema comes back, only a rehearsal can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backout.model.statement import StatementClass
from backout.sql.facts import Effect, EffectKind, Reading, Trait
from backout.sql.functions import FILLS_DEFAULTS, is_read
from backout.sql.judges import Existing, Finding, judge
from backout.sql.names import split_qualified
from backout.sql.origins import Origins
from backout.sql.reading import readings

__all__ = ["Existing", "StaticVerdict", "read_down"]


@dataclass(frozen=True, slots=True)
class StaticVerdict:
    """The answer and its reasons, the weightiest first; for `safe`, what the down takes away of its own."""

    existing: Existing
    reasons: tuple[str, ...]


_CHANGES_NAMES = frozenset({"search_path", "role", "session_authorization", "all", "?"})
_NOT_RUN = frozenset(
    {
        "CREATE VIEW",
        "CREATE FUNCTION",
        "CREATE PROCEDURE",
        "CREATE TRIGGER",
        "CREATE POLICY",
        "ALTER POLICY",
        "CREATE INDEX",
    }
)
"""Statements whose calls are stored for later; an index calls only what is declared immutable."""
_MOVES_SEQUENCE = frozenset({"setval"})


def read_down(up_text: str, down_text: str) -> StaticVerdict:
    """Whether rows and values from before the up survive up and then down, as far as text can tell.

    Order and names count: what the up created the down may drop, and a table that the up renamed away is
    still the old table. `lossy` means that a statement takes old values away and none gives them back; a
    table that happens to be empty loses nothing all the same.
    """
    up, down = readings(up_text), readings(down_text)
    origins = Origins(path_is_fixed=not _CHANGES_NAMES & _settings_of(up + down))
    findings = [*_whole(up, "up", up + down), *_whole(down, "down", up + down)]
    findings += judge(_effects_of(up), _effects_of(down), origins)
    findings += _side_effects(up + down)
    return _verdict(findings)


def _verdict(findings: list[Finding]) -> StaticVerdict:
    for answer in (Existing.LOSSY, Existing.UNKNOWN):
        if any(finding.existing is answer for finding in findings):
            order = (Existing.LOSSY, Existing.UNKNOWN)
            told = [f.reason for kind in order for f in findings if f.existing is kind]
            return StaticVerdict(answer, tuple(dict.fromkeys(told)))
    return StaticVerdict(Existing.SAFE, tuple(dict.fromkeys(finding.reason for finding in findings)))


def _effects_of(script: Sequence[Reading]) -> list[Effect]:
    return [effect for reading in script for effect in reading.effects]


def _settings_of(script: Sequence[Reading]) -> frozenset[str]:
    return frozenset(name for reading in script for name in reading.settings)


def _whole(script: Sequence[Reading], name: str, both: Sequence[Reading]) -> Iterator[Finding]:
    """What a statement as a whole brings along, apart from its effects."""
    own = {
        split_qualified(effect.table)[-1:]
        for effect in _effects_of(both)
        if effect.kind is EffectKind.CREATE_FUNCTION
    }
    for reading in script:
        if reading.klass is StatementClass.ROLLBACK or reading.tag in ("ROLLBACK", "PREPARE TRANSACTION"):
            yield Finding(Existing.UNKNOWN, f"the {name} rolls back or prepares a transaction itself")
        if reading.options & {"program", "file"}:
            yield Finding(Existing.UNKNOWN, f"the {name} copies from or to the server itself")
        if reading.tag not in _NOT_RUN:
            for called in reading.functions:
                parts = split_qualified(called)
                if parts[-1:] in own or not _known_function(parts):
                    yield Finding(Existing.UNKNOWN, f"the {name} calls {called}, which may change anything")


def _known_function(parts: tuple[str, ...]) -> bool:
    return is_read(*parts) or parts[-1] in FILLS_DEFAULTS or parts[-1] in _MOVES_SEQUENCE


def _side_effects(script: Sequence[Reading]) -> Iterator[Finding]:
    """Rows that change because other rows do: triggers and foreign keys that these scripts create."""
    effects = _effects_of(script)
    kinds = {effect.kind for effect in effects}
    moves_rows = kinds & {EffectKind.INSERT, EffectKind.UPDATE, EffectKind.DELETE, EffectKind.TRUNCATE}
    if EffectKind.CREATE_TRIGGER in kinds and moves_rows:
        yield Finding(Existing.UNKNOWN, "a trigger is created, and rows are written that may fire it")
    added = [e for e in effects if e.kind in (EffectKind.ADD_CONSTRAINT, EffectKind.ADD_COLUMN)]
    acting = any(Trait.ACTION in effect.traits for effect in added)
    if acting and kinds & {EffectKind.UPDATE, EffectKind.DELETE}:
        yield Finding(Existing.UNKNOWN, "a foreign key with an action is added, and rows are changed")
    keyed = any(Trait.FOREIGN_KEY in effect.traits for effect in added)
    if keyed and any(e.kind is EffectKind.TRUNCATE and e.cascade for e in effects):
        yield Finding(Existing.UNKNOWN, "TRUNCATE ... CASCADE follows foreign keys added here")
