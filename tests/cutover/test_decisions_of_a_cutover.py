"""The pure part: when to enter, how the budget is shared, what a missed step means."""

from __future__ import annotations

from backout.model.check import CheckState
from backout.model.cutover import CutoverBudget, CutoverProof, StaleWrite, Step
from backout.phases.cutover import decide
from backout.phases.cutover.decide import Miss
from backout.phases.cutover.facts import LagSample


def samples(*lags: float, size: int = 0, every: float = 1.0) -> tuple[LagSample, ...]:
    return tuple(LagSample(n * every, lag, size) for n, lag in enumerate(lags))


def test_the_budget_is_that_of_the_contract():
    budget = CutoverBudget()
    assert budget.total == 800
    assert budget.latest(Step.HOLD) == 150 + 70
    assert budget.latest(Step.DRAIN) == 150 + 100 + 250 + 70
    assert budget.latest(Step.RELEASE) == budget.total


def test_what_one_step_does_not_use_the_next_may():
    assert decide.allowance(CutoverBudget(), Step.FENCE, 10.0) == 0.31
    assert decide.allowance(CutoverBudget(), Step.FENCE, 400.0) == 0.0


def test_it_enters_only_after_five_seconds_close_behind():
    assert decide.may_enter(samples(*[0.1] * 6)).state is CheckState.PASS
    assert decide.may_enter(samples(0.1, 0.1, 0.4, 0.1, 0.1, 0.1)).state is CheckState.FAIL
    assert decide.may_enter(samples(*[0.1] * 6, size=100_000)).state is CheckState.FAIL
    assert decide.may_enter(samples(0.1, 0.1)).state is CheckState.UNKNOWN
    assert decide.may_enter(()).state is CheckState.UNKNOWN


def test_before_the_switch_everything_goes_back_and_behind_it_only_forward():
    assert decide.on_miss(Step.DEAD_MAN) is Miss.NO_START
    assert [decide.on_miss(Step.HOLD, n) for n in (1, 2, 3)] == [Miss.AGAIN, Miss.AGAIN, Miss.ABORT]
    middle = (Step.FENCE, Step.WITNESS, Step.DRAIN, Step.DURABLE, Step.SEQUENCES, Step.WAY_BACK, Step.SWITCH)
    assert {decide.on_miss(step) for step in middle} == {Miss.ABORT}
    assert decide.on_miss(Step.RELEASE) is Miss.FORWARD
    assert decide.on_miss(Step.PROVE) is Miss.ALARM


def test_unknown_is_not_complete():
    good = CutoverProof((), (), (), (), 900.0)
    assert good.complete
    assert not CutoverProof((), (), (), ("instance web-3",), 900.0).complete
    assert not CutoverProof(("pid 7",), (), (), (), 900.0).complete
    assert not CutoverProof((), (StaleWrite("0/1", 7, ""),), (), (), 900.0).complete
    assert not CutoverProof((), (), ("entry app",), (), 900.0).complete
