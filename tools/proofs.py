"""What was proved, on what: read out of the marks `proves` of the tests, for docs/reference/proved.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_UNPROVED = (
    ("Managed services (RDS, Aurora, Cloud SQL, Supabase, Neon, Azure)", "never run against any"),
    ("Patroni, CloudNativePG", "never run against either"),
    ("PgBouncer newer than the distribution's", "never run"),
    ("A network with latency between operator and server", "never measured; a cut one is, above"),
    ("Databases above some GB", "never run; the figures of measures.md say what was"),
)


@dataclass(frozen=True, slots=True)
class Proof:
    """One mark: the claim, what it ran on, with which rights, against which versions, at what size."""

    claim: str
    on: str
    rights: str
    versions: str
    size: str
    test: str
    """path::name"""
    long: bool
    """Whether every case of the test waits for `./run test --soak`."""


def proofs() -> tuple[Proof, ...]:
    """Every mark, in the order of the files. Raises `ValueError` for one with a field missing."""
    return tuple(proof for path in sorted((ROOT / "tests").rglob("test_*.py")) for proof in _of_file(path))


def page(made: str) -> Iterator[str]:
    """The page, line by line; `made` says how it is made."""
    yield from ("# What was proved, on what", "", made, "")
    yield "Each line is a test that runs against real servers; nothing here is a vendor's service. The tests"
    yield "of the last column run with `./run test`, those with a star with `./run test --soak`. Of the"
    yield "versions of a long one the ordinary run takes one, and `--soak` the others."
    yield ""
    yield "| claim | on | rights | PostgreSQL | size | test |"
    yield "|---|---|---|---|---|---|"
    for proof in proofs():
        star = " *" if proof.long else ""
        cells = (proof.claim, proof.on, proof.rights, proof.versions, proof.size, f"`{proof.test}`{star}")
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "## Not proved"
    yield ""
    yield "| where | what |"
    yield "|---|---|"
    for where, what in _UNPROVED:
        yield f"| {where} | {what} |"
    yield ""
    yield "What backout refuses or does not see stands on the page of [limits](../explanations/limits.md)."


def _of_file(path: Path) -> Iterator[Proof]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        marks = {_name(mark): mark for mark in node.decorator_list}
        found = marks.get("pytest.mark.proves")
        if isinstance(found, ast.Call):
            test = f"{path.relative_to(ROOT)}::{node.name}"
            yield _proof(found, test, long="pytest.mark.soak" in marks)


def _name(mark: ast.expr) -> str:
    return ast.unparse(mark.func if isinstance(mark, ast.Call) else mark)


def _proof(mark: ast.Call, test: str, *, long: bool) -> Proof:
    told = {word.arg: ast.literal_eval(word.value) for word in mark.keywords if word.arg}
    if set(told) != {"claim", "on", "rights", "versions", "size"}:
        raise ValueError(f"{test}: a mark `proves` says claim, on, rights, versions and size")
    return Proof(**told, test=test, long=long)
