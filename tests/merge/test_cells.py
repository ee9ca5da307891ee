"""The rule for one cell: every combination of three states, against what the application really did."""

from __future__ import annotations

from itertools import product

import pytest

from backout.merge.cells import Cell, Outcome, Write, merge
from backout.model.fates import Fate, Fates, Reason, gravest
from backout.model.mapping import Mapping

VALUES = (None, "", "a", "b")


def written(cell: Cell, outcome: Outcome) -> str | None:
    return {Write.BEFORE: cell.before, Write.NOW: cell.now, Write.NOTHING: cell.now}[outcome.write]


@pytest.mark.parametrize(("before", "migrated", "wrote"), list(product(VALUES, VALUES, ("nothing", *VALUES))))
def test_the_cell_holds_what_it_would_hold_without_the_migration_or_is_listed(before, migrated, wrote):
    """The oracle: the application's value where it wrote, else the value before."""
    touched = wrote != "nothing"
    cell = Cell(before, migrated, wrote if touched else migrated, touched, Mapping.SAME)
    outcome = merge(cell)
    oracle = wrote if touched else before
    assert written(cell, outcome) == oracle or outcome.fate is Fate.LISTED
    if not touched:
        assert outcome == Outcome(Write.BEFORE), "no write, no fate"
    if touched and wrote != migrated:
        assert written(cell, outcome) == wrote, "an acknowledged write is never overwritten"
        assert outcome.fate is not None


def test_both_wrote_the_cell():
    cell = Cell("10", "20", "30", True, Mapping.SAME)
    assert merge(cell) == Outcome(Write.NOW, Fate.LISTED, Reason.BOTH_WROTE)


def test_a_coincident_write_is_listed_where_it_can_be_seen():
    assert merge(Cell("10", "20", "20", True, Mapping.SAME)).reason is Reason.COINCIDENT
    assert merge(Cell("10", "20", "20", None, Mapping.SAME)) == Outcome(Write.BEFORE)


def test_a_write_to_an_added_column_is_archived_even_when_it_emptied_it():
    assert merge(Cell(None, "x", "y", True, Mapping.ADDED)) == Outcome(Write.NOTHING, Fate.ARCHIVED)
    assert merge(Cell(None, "x", None, True, Mapping.ADDED)).fate is Fate.ARCHIVED
    assert merge(Cell(None, "x", "x", True, Mapping.ADDED)).fate is None


def test_a_converted_value_without_a_proved_inverse_is_parked_and_left_alone():
    cell = Cell("2026-11-24 12:00", "2026-11-24", "2026-11-25", True, Mapping.UNPROVED)
    assert merge(cell) == Outcome(Write.NOTHING, Fate.PARKED, Reason.NOT_CONVERTIBLE)
    assert merge(Cell("2026-11-24 12:00", "2026-11-24", "2026-11-24", True, Mapping.UNPROVED)) == Outcome(
        Write.BEFORE
    )


def test_a_dropped_column_gets_its_value_back():
    assert merge(Cell("a", None, None, True, Mapping.DROPPED)) == Outcome(Write.BEFORE)


@pytest.mark.parametrize("left_by_the_down", [None, "", "2026-11-24 12:00:00.1"])
def test_what_the_down_left_in_a_column_that_it_made_again_is_nobodys_write(left_by_the_down):
    """DEFAULT now() gives the copy another value than production: still not a write of the application."""
    cell = Cell("a", "2026-11-24 12:00:00.9", left_by_the_down, False, Mapping.REMADE)
    assert merge(cell) == Outcome(Write.BEFORE)
    written_since = Cell("a", None, "b", True, Mapping.REMADE)
    assert merge(written_since) == Outcome(Write.NOW, Fate.LISTED, Reason.BOTH_WROTE)


def test_a_write_has_one_fate_the_gravest_of_its_values_and_the_counters_add_up():
    assert gravest([Fate.CARRIED, None, Fate.LISTED, Fate.ARCHIVED]) is Fate.LISTED
    assert gravest([Fate.PARKED, Fate.LISTED]) is Fate.PARKED
    assert gravest([Fate.CARRIED, Fate.ARCHIVED]) is Fate.ARCHIVED
    assert gravest([None]) is None
    counted = Fates.of([Fate.CARRIED, Fate.CARRIED, None, Fate.PARKED]).plus(Fates(listed=1, archived=2))
    assert (counted, counted.total) == (Fates(2, 2, 1, 1), 6)
