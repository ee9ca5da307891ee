"""Which tables are copied before the down: no more than the budget asks for, and only where it helps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backout.model.plan import Budgets, Keep, KeepHow, KeepWay, LockForecast, Verdict
from backout.phases.rehearsal import ways
from backout.phases.rehearsal.facts import Keeping
from backout.phases.strategy import decide
from backout.records.codec import digest
from backout.render.layout import Style
from backout.render.screens import propose
from tests.render.samples import PROPOSAL, REHEARSAL, TRIAGE

BUDGETS = Budgets(lock_hold=1.0)
A, B, ROWS = (
    Keep("public.a", 1, KeepHow.COLUMNS, ("id",), ("v",)),
    Keep("public.b", 2, KeepHow.COLUMNS, ("id",), ("v",)),
    Keep("public.rows", 3, KeepHow.CHANGED_ROWS, ("id",), ("v",)),
)
KEEPS = (A, B, ROWS)
ABLE = {"public.a": "", "public.b": ""}


def held(seconds: float, *copied: tuple[str, float], failure: str = "") -> Keeping:
    """A second pass that held its locks so long, of which the copies took their part."""
    return Keeping(failure, 10, (), (), seconds, 2.0, 0, 0, copied)


@pytest.mark.parametrize(
    ("plain", "tables"),
    [
        (held(0.5, ("public.a", 0.4)), set()),  # doubled it is just the budget
        (held(0.6, ("public.a", 0.4), ("public.b", 0.1)), {"public.a"}),
        (held(1.6, ("public.b", 1.0), ("public.a", 0.4)), {"public.a", "public.b"}),
        (held(1.0, ("public.a", 0.4)), set()),  # what else is done takes too long already
        (held(1.0), set()),
    ],
)
def test_the_longest_copies_are_made_before_until_the_rest_fits(plain: Keeping, tables: set[str]):
    assert ways.to_pre_copy(KEEPS, plain, ABLE, BUDGETS) == tables


def test_a_table_that_cannot_be_copied_before_is_not_tried():
    plain = held(1.0, ("public.a", 0.6), ("public.b", 0.3))
    assert ways.to_pre_copy(KEEPS, plain, {**ABLE, "public.b": "no key"}, BUDGETS) == {"public.a"}
    assert ways.to_pre_copy(KEEPS, plain, {**ABLE, "public.a": "no key"}, BUDGETS) == frozenset()


def test_only_columns_get_the_way():
    rows_of_a = replace(ROWS, table="public.a")
    planned = ways.kept_so((A, B, rows_of_a), frozenset({"public.a"}))
    assert [keep.way for keep in planned] == [KeepWay.PRE_COPY, KeepWay.UNDER_LOCK, KeepWay.UNDER_LOCK]


def told(plain: Keeping, second: Keeping | None, why_not: dict[str, str] = ABLE) -> LockForecast:
    tried = frozenset({"public.a"})
    found = ways.forecast(KEEPS, plain, second, why_not, tried, BUDGETS)
    assert found is not None
    return found


def test_it_is_planned_when_it_fits_and_both_ways_are_told():
    plain, second = held(1.6, ("public.a", 1.5), ("public.b", 0.1)), held(0.3, ("public.a", 0.1))
    assert ways.better(plain, second, BUDGETS)
    forecast = told(plain, second)
    assert (forecast.under_lock_seconds, forecast.pre_copy_seconds, forecast.reason) == (3.2, 0.6, "")
    assert [(row.way, row.under_lock_seconds, row.pre_copy_seconds) for row in forecast.tables] == [
        (KeepWay.PRE_COPY, 3.0, 0.2),
        (KeepWay.UNDER_LOCK, 0.2, None),
    ]


@pytest.mark.parametrize(
    ("second", "why"),
    [(held(0.6), "over the budget too"), (held(0.1, failure="no room"), "no room")],
)
def test_it_is_not_planned_when_doubled_it_does_not_fit_or_failed(second: Keeping, why: str):
    plain = held(1.6, ("public.a", 1.5))
    assert not ways.better(plain, second, BUDGETS)
    forecast = told(plain, second)
    assert forecast.reason == why
    assert {row.way for row in forecast.tables} == {KeepWay.UNDER_LOCK}


def test_why_it_was_not_tried_is_told():
    assert told(held(0.1), None).reason == "not needed"
    assert told(held(1.6, ("public.a", 0.1)), None).reason == "what else is done under the locks takes 3.0 s"
    none = {"public.a": "no key", "public.b": "no key"}
    assert told(held(1.6, ("public.a", 1.5)), None, none).reason == "no table can be copied before"
    assert ways.forecast((ROWS,), held(1.6), None, {}, frozenset(), BUDGETS) is None


def refused(forecast: LockForecast) -> str:
    rehearsed = replace(REHEARSAL, locked_seconds=1.6, lock_forecast=forecast)
    option = decide.options(TRIAGE, [rehearsed], BUDGETS, "", "")[0]
    assert option.verdict is Verdict.REFUSED
    return option.reason


def test_where_neither_way_fits_the_refusal_has_both_figures():
    forecast = told(held(1.6, ("public.a", 1.5)), held(0.6))
    both = "doubled, for production: 3.2 s, with a pre-copy 1.2 s"
    assert refused(forecast) == f"it held its lock 1.6 s; the budget is 1 s; {both}"


def test_the_digest_that_people_sign_covers_the_way():
    (keep,) = PROPOSAL.keeps
    assert digest(replace(PROPOSAL, keeps=(replace(keep, way=KeepWay.PRE_COPY),))) != digest(PROPOSAL)


def test_the_proposal_shows_both_ways_of_each_table():
    forecast = told(held(1.6, ("public.a", 1.5), ("public.b", 0.1)), held(0.3, ("public.a", 0.1)))
    rehearsed = replace(REHEARSAL, lock_forecast=forecast)
    shown = "\n".join(
        propose.evidence(rehearsed, TRIAGE, None, Style(width=100), datetime(2026, 1, 1, tzinfo=UTC))
    )
    assert "keeps a pre-copy: copied under the lock 3.0 s, by pre-copy 200 ms" in shown, shown
    assert "keeps b under the lock: copied under the lock 200 ms, not asked for" in shown
    assert "locks held, doubled as production is not quiet: 3.2 s, by pre-copy 600 ms" in shown
