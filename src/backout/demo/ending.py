"""The end of the demo: the ledger is read back, and the figures are printed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from backout.app.results import Demo
from backout.demo import reckoning
from backout.demo.reckoning import Found, Written
from backout.demo.scenes import Stage
from backout.demo.world import ledger

PAUSE_LIMIT_MS = 1000


@dataclass(frozen=True, slots=True)
class Ending:
    """How a night ended: lines for people, the document of `--json`, and whether it kept its promise."""

    rows: tuple[Line, ...]
    document: Mapping[str, object]
    good: bool
    postmortem: str
    next: str


Line = tuple[str, str, str]
"""A name, a figure, a remark."""


def good(numbers: Demo, *, errors: int = 0) -> bool:
    """Whether the demo showed what it promises; `errors`: how many its clients may have seen."""
    nothing = numbers.lost_writes + numbers.doubled_writes + numbers.values_lost
    seen = numbers.verified and numbers.client_errors <= errors
    return nothing == 0 and seen and numbers.write_pause_ms < PAUSE_LIMIT_MS


_LOST_TOLD = 5
"""So many lost rows are named; one is enough to begin with."""


def read(stage: Stage) -> tuple[Written, Found]:
    """Read the ledger back and compare; the application has stopped, so nothing moves any more."""
    written = reckoning.read(stage.place.ledger)
    with stage.session() as session:
        found = reckoning.look(session, written, stage.evidence.incident)
    for row in sorted(found.lost)[:_LOST_TOLD]:
        stage.screen.remark(f"LOST: {reckoning.acknowledged(written, row)}")
    return written, found


def reckon(stage: Stage, written: Written, found: Found) -> Demo:
    """The figures of ledger, database and journal."""
    place, evidence = stage.place, stage.evidence
    done = evidence.execution()
    windows = (evidence.run_window(), evidence.way_back_window())
    pauses = [reckoning.longest_gap_ms(written, *window) for window in windows if window]
    began = ledger.first_acknowledged(place.ledger) or time.time()
    destroyed = done.values_destroyed if done else 0
    return Demo(
        seconds=round(time.time() - began, 1),
        acknowledged_writes=written.acknowledged,
        lost_writes=found.lost_writes,
        doubled_writes=found.doubled_writes,
        values_destroyed_predicted=evidence.predicted(),
        values_destroyed=destroyed,
        values_kept=found.values_kept,
        values_lost=max(destroyed, len(written.filled)) - found.values_kept,
        write_pause_ms=max(pauses, default=0),
        client_errors=written.client_errors,
        postmortem=str(_page(place.project / "postmortem", evidence.incident)),
        incident=evidence.incident,
        contained_after_seconds=round((evidence.contained_at() or time.time()) - began, 1),
        verified=stage.progress.verified,
    )


def _page(directory: Path, incident: str) -> Path:
    """The page that `backout postmortem` wrote."""
    pages = sorted(directory.glob(f"{incident}*.html"))
    return pages[-1] if pages else directory / f"{incident}.html"


def written_lines(
    stage: Stage, numbers: Demo, errors: str = "from the first write to the last"
) -> tuple[Line, ...]:
    """What the ledger says of the application's writes; `errors` is the remark on what clients have seen."""
    versions = reckoning.by_version(stage.place.ledger)
    written = ", ".join(f"{count:,} by {version}" for version, count in sorted(versions.items()))
    return (
        ("acknowledged writes", f"{numbers.acknowledged_writes:,}", written),
        ("lost", f"{numbers.lost_writes:,}", "every acknowledged write is there"),
        ("doubled", f"{numbers.doubled_writes:,}", "and there once"),
        ("client errors", f"{numbers.client_errors:,}", errors),
        ("longest write pause", f"{numbers.write_pause_ms:,} ms", "seen by one client during the run"),
    )


def last_lines(numbers: Demo) -> tuple[Line, ...]:
    """How long it took."""
    return (
        ("ETL contained", f"{numbers.contained_after_seconds:.1f} s", "after the first acknowledged write"),
        ("whole demo", f"{numbers.seconds:.1f} s", "from the first acknowledged write until here"),
    )


def first(stage: Stage) -> Ending:
    """The end of the first night: what the down destroyed is kept."""
    numbers = reckon(stage, *read(stage))
    rows = (
        *written_lines(stage, numbers),
        ("values predicted", f"{numbers.values_destroyed_predicted:,}", "destroyed, said the rehearsal"),
        ("values destroyed", f"{numbers.values_destroyed:,}", "the application wrote on until the run"),
        ("values kept", f"{numbers.values_kept:,}", "as last acknowledged in the ledger"),
        ("values lost", f"{numbers.values_lost:,}", ""),
        *last_lines(numbers),
    )
    return Ending(rows, asdict(numbers), good(numbers), numbers.postmortem, stage.place.command("--second"))


def show(stage: Stage, ending: Ending) -> None:
    """The last screen."""
    screen = stage.screen
    screen.chapter("The ledger read back: a file of the application, outside the database")
    for name, value, remark in ending.rows:
        screen.said(f"  {name:<20} {value:>9}  {remark}".rstrip())
    verdict = "nothing was lost" if ending.good else "this demo FAILED its own promise"
    screen.said(f"{verdict}; the postmortem is a page to open in a browser:")
    print(ending.postmortem, file=screen.out)
    print(f"next: {ending.next}", file=screen.out, flush=True)


def document(ending: Ending, exit_code: int) -> str:
    """The one document of `--json`."""
    return json.dumps({"exit": exit_code, **ending.document})
