"""The page of the measures in the documentation, as one run found them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from benchmarks.everything import MEASURES, Facts, Measured
from benchmarks.table import Line, cells

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "measures.md"
MADE = "<!-- Made by: ./run bench --write -->"
NOT_MET = "**not met**"
_SHARED = 0.5
"""Load before the run from which on other programs are said to have run beside it."""
_MET = {None: "", True: "met", False: NOT_MET}


def page(measured: Measured, facts: Facts) -> str:
    """The whole page: what was measured on what, what is not met, and a table a measure."""
    parts = [*_head(facts), *_summary(measured)]
    for name, lines in measured.items():
        parts += [f"## {name}", "", _sentence(MEASURES, name), "", *_table(lines), ""]
    return "\n".join(parts).rstrip() + "\n"


def _head(facts: Facts) -> Iterator[str]:
    yield from ("# Measures", "", MADE, "")
    yield "What backout itself costs, each figure beside a peer or a physical floor that was measured in the"
    yield from ("same run. `./run bench` makes the same tables on your machine.", "")
    yield f"PostgreSQL {facts['postgresql']}, Python {facts['python']}; {facts['cores']} cores"
    yield f"({facts['processor']}), {facts['memory_gib']} GiB of memory; {facts['date']},"
    yield f"{facts['seconds']} s; {facts['rows']:,} rows where no other number stands."
    yield from (*_beside(facts), "")
    yield "*CPU s* are seconds of the server with all its backends and of our process with its children."
    yield "A target is about the ratio, the figure itself, or what was added to the floor, as it says."
    yield ""


def _beside(facts: Facts) -> Iterator[str]:
    load = facts["load"]
    assert isinstance(load, list)
    if load[0] < _SHARED:
        yield f"Nothing else of weight ran on the machine (load {load[0]} before)."
        return
    yield f"**The machine was shared with other work** (load {load[0]} before, {load[1]} after): times of the"
    yield "clock, and of writers, are worse than on a quiet one; seconds of CPU hold better."


def _summary(measured: Measured) -> Iterator[str]:
    judged = [line for lines in measured.values() for line in lines if line.within is not None]
    missed = [name for name, lines in measured.items() if any(line.within is False for line in lines)]
    met = sum(line.within is True for line in judged)
    yield f"**{met} of {len(judged)} targets are met.**" + (
        f" Not met in: {', '.join(missed)}; the reasons, as far as they are known, stand in the"
        " [limits](../explanations/limits.md#cost)."
        if missed
        else ""
    )
    yield ""


def _sentence(modules: Mapping[str, ModuleType], name: str) -> str:
    text = modules[name].__doc__
    assert text is not None
    return text.partition("\n")[0]


def _table(lines: Sequence[Line]) -> Iterator[str]:
    yield "| measure | measured | beside it | ratio | target | |"
    yield "|---|---:|---:|---:|---:|---|"
    for line in lines:
        what, figure, floor, ratio, target, _ = cells(line)
        shown = (_indented(what), figure, floor, ratio, target.replace("<=", "≤").replace(">=", "≥"))
        yield f"| {' | '.join(shown)} | {_MET[line.within]} |"


def _indented(what: str) -> str:
    return f"… {what.strip()}" if what.startswith(" ") else what
