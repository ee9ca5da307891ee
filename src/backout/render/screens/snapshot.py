"""The screen of `snapshot take`, `prove` and `record`: what was taken, restored and read back."""

from __future__ import annotations

from datetime import datetime

from backout.model.snapshot import Proof, Scope, Snapshot
from backout.render import words
from backout.render.layout import State, Step, Style, hanging, page, state_of, steps


def screen(
    snapshot: Snapshot,
    proof: Proof | None,
    *,
    style: Style,
    now: datetime,
    database_bytes: int | None = None,
    next: str = "",
) -> str:
    """Without a proof it says so. `database_bytes` is the size of the source, where it is known."""
    rows = [
        Step(_taken_state(snapshot), "taken", _taken(snapshot, database_bytes), took=snapshot.seconds or None)
    ]
    rows += _proof_steps(proof) if proof else []
    lines = steps(rows, style)
    lines += hanging("", _radius(snapshot), style) if snapshot.scope is not Scope.WHOLE else []
    lines += hanging("", snapshot.note, style) if snapshot.note else []
    lines += hanging("", _summary(snapshot, proof, now), style)
    return page(lines, next or _next(proof), style)


def _taken_state(snapshot: Snapshot) -> State:
    return State.UNKNOWN if snapshot.scope is Scope.RECORDED else State.PASS


def _taken(snapshot: Snapshot, database_bytes: int | None) -> str:
    if snapshot.scope is Scope.RECORDED:
        return f"{snapshot.id}  recorded by a person, never seen by backout"
    source = f"{words.size(database_bytes)} -> " if database_bytes else ""
    return f"{snapshot.id}  {source}{words.size(snapshot.size_bytes)}  LSN {snapshot.lsn}"


def _proof_steps(proof: Proof) -> list[Step]:
    equal = proof.tables_equal == proof.tables_total
    read = f"{proof.tables_equal:,} of {proof.tables_total:,} tables equal, {proof.rows:,} rows"
    return [
        *(Step(state_of(check), check.name, check.detail) for check in proof.checks),
        Step(State.PASS, "restored", f"{words.size(proof.bytes_per_second)}/s", took=proof.restore_seconds),
        Step(State.PASS if equal else State.FAIL, "read back", read, took=proof.read_seconds),
    ]


def _radius(snapshot: Snapshot) -> str:
    if snapshot.scope is Scope.RECORDED:
        return "Scope recorded: an ID only; what it holds is not known."
    tables = ", ".join(words.plain_table(table) for table in snapshot.radius)
    return f"Scope blast radius: the schema of everything, the rows of {tables}."


def _summary(snapshot: Snapshot, proof: Proof | None, now: datetime) -> str:
    if proof is None:
        return f"Taken {words.when(snapshot.taken_at, now)}, not proven."
    if not proof.holds:
        return f"NOT proven {words.when(proof.proven_at, now)}: the copy does not equal the snapshot."
    return f"Proven {words.when(proof.proven_at, now)}. This copy serves the rehearsal."


def _next(proof: Proof | None) -> str:
    return "backout propose" if proof is not None and proof.holds else "backout snapshot prove"
