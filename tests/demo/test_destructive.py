"""The destructive night, as a person types it: whole, killed in the middle, and what it refuses."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from backout.demo import reckoning, returned
from backout.demo.place import Place
from backout.demo.world.production import Production
from backout.demo.world.seasons import SEASONS_TEAM
from tests.demo import worlds
from tests.demo.typed import begin, end, kill_after
from tests.demo.worlds import at_work, execute, say, wait_for

README = Path(__file__).parents[2] / "README.md"
TRANSCRIPT = re.compile(r"<!-- destructive transcript -->\n```text\n(.*?)```", re.DOTALL)


def everything_is_back(
    document: dict[str, Any], strategy: str = "D", errors: int = 0, went_back: bool = False
) -> None:
    """What this night has to show, by the ledger and the formula of the calm day."""
    none = ("lost_writes", "doubled_writes", "rows_missing", "values_missing", "sums_wrong")
    assert {name: document[name] for name in none} == dict.fromkeys(none, 0), document
    assert document["client_errors"] <= errors, document
    fates = ("carried", "archived", "parked", "listed")
    assert sum(document[name] for name in fates) == document["writes_since"] > 100
    assert document["carried"] > 0
    assert document["values_back"] == 2_000
    assert document["rows_back"] > 23_004, "the calm day's, and what was acknowledged before the migration"
    assert document["rows_waiting"] == 0
    assert document["write_pause_ms"] < 1000
    assert (document["strategy"], document["way_back_used"]) == (strategy, went_back)
    assert document["verified"]
    assert Path(document["postmortem"]).is_file()


def first_words(text: str) -> list[str]:
    """The names of the last screen's lines, without the figures."""
    return [line[:22].strip() for line in text.splitlines() if line.startswith("  ")]


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.timeout(600)
@pytest.mark.proves(
    claim="The destructive night with strategy D",
    on="base backup and archived WAL, one machine, loopback",
    rights="plain owner",
    versions="16",
    size="4 writers, 23,000 rows",
)
def test_a_truncate_cascade_and_a_dropped_column_are_repaired_beside_four_writers(own: Place) -> None:
    code, document, screen = end(begin(own, "destructive", "--no-guard", "--json"))
    assert code == 0, screen
    everything_is_back(document)
    assert document["seconds"] < 300
    assert "--no-guard: a repair arms no guard" in screen
    touched = next(line for line in screen.splitlines() if line.startswith("  touches"))
    opened = screen[screen.index(touched) : screen.index("  since")]
    for table in ("seasons", "hero_snapshots", "cheers", "records", "users"):
        assert table in opened, "open names every table that was emptied"
    assert re.search(r"> D repair in place .* recommended", screen)
    for file in own.root.rglob("*-url"):
        assert file.read_text().strip() not in screen
    told = TRANSCRIPT.search(README.read_text("utf-8"))
    assert told is not None
    last = screen[screen.rindex("The ledger read back") :]
    assert first_words(told.group(1)) == first_words(last), "the README shows another end"


@pytest.mark.soak  # the first demo, and the night with a cutover, are killed in the ordinary run
@pytest.mark.node
@pytest.mark.timeout(600)
def test_a_destructive_night_killed_in_the_middle_goes_on_with_the_same_incident(own: Place) -> None:
    place = Place(own.root / "destructive")
    wanted = random.Random().choice(["open", "contain", "prove", "propose", "approve"])
    typed = begin(own, "destructive", "--json")
    incident = kill_after(typed, place, wanted, random.Random().uniform(0.2, 9.0))
    code, document, screen = end(begin(own, "destructive", "--json"))
    assert code == 0, f"killed after {wanted}\n{screen}"
    assert "Going on where the last demo was cut" in screen
    assert document["incident"] == incident
    everything_is_back(document)


def _of(table: str, rows: set[tuple[str, int]]) -> set[tuple[str, int]]:
    return {row for row in rows if row[0] == table}


def test_v44_writes_through_the_night_and_the_reckoning_sees_what_is_missing(
    server: Production, place: Place
) -> None:
    worlds.populate(server, worlds.SEASONS, SEASONS_TEAM)
    with at_work(place, server, "application") as processes:
        assert say("deploy", "v43", str(place.control)).returncode == 0
        wait_for(place.control, "application.json", "acknowledged", 100)
        assert say("deploy", "v44", str(place.control)).returncode == 0
        execute(server, "TRUNCATE seasons CASCADE; ALTER TABLE users DROP COLUMN motto")
        time.sleep(0.5)  # what was written before it is in the ledger by now
        since = time.time()
        wait_for(place.control, "application.json", "gone", 3)
        execute(server, "ALTER TABLE users ADD COLUMN motto text")
        wait_for(place.control, "application.json", "acknowledged", 200)
        processes.end("application")
    written = reckoning.read(place.ledger)
    with server.session() as session:
        found = reckoning.look(session, written, "inc-none")
        back = returned.look(session, written, (), since)
    early = {write.row for write in written.writes if write.at < since}
    assert written.client_errors == 0
    assert {table for table, _ in found.lost} == {"hero_snapshots", "cheers", "users"}
    assert found.lost <= early, "what was written after the migration is there"
    assert (back.rows_back, back.values_back) == (len(early - found.lost - _of("users", early)), 0)
    assert back.rows_missing >= 23_004
    assert back.values_missing == 2_000
    assert back.not_found >= 3
    assert not back.good
    fates = returned.fates(written, found, (), since, 0)
    assert 0 < fates.carried == fates.total <= back.writes_since, "users without their motto are not carried"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--strategy", "restore"), "belong to the story destructive"),
        (("destructive", "--second"), "two different stories"),
        (("--no-guard",), "belong to the story destructive"),
    ],
)
def test_options_that_do_not_go_together_are_refused_and_nothing_is_started(
    own: Place, options: tuple[str, ...], what: str
) -> None:
    code, document, _ = end(begin(own, *options, "--json"))
    assert (code, document["exit"]) == (2, 2)
    assert what in document["what"]
    assert not own.root.exists()
