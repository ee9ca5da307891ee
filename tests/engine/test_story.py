"""A story over `run.step`: results are kept, effects are not repeated, doubt is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from backout.engine.journals import MemoryJournal
from backout.engine.story import Story, current_round
from backout.errors import Refused, Stopped, StoryChanged, Waiting
from backout.model.journal import Entry, EntryKind
from backout.ports.run import Attempt


@dataclass(frozen=True, slots=True)
class Number:
    value: int


@dataclass(frozen=True, slots=True)
class Word:
    value: str


class Silent:
    def progress(self, text: str) -> None: ...
    def step_begins(self, key: str, attempt: int) -> None: ...
    def step_ends(self, key: str, outcome: str, seconds: float) -> None: ...
    def notice(self, text: str, audience: str, head: Entry) -> None: ...


def story(journal: MemoryJournal, prefix: str = "r1", stop: Callable[[], bool] = lambda: False) -> Story:
    return Story(journal, "inc-a", prefix, "mara", Silent(), stop)


def test_a_finished_step_is_replayed_and_not_performed_again():
    journal, calls = MemoryJournal(), []

    def perform(attempt: Attempt) -> Number:
        calls.append(attempt.number)
        return Number(7)

    assert story(journal).step("a", Number, perform) == Number(7)
    assert story(journal).step("a", Number, perform) == Number(7)
    assert calls == [1]


def test_a_step_that_died_in_the_middle_is_told_that_it_is_in_doubt():
    journal = MemoryJournal()

    def die(_attempt: Attempt) -> Number:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        story(journal).step("a", Number, die)
    seen: list[Attempt] = []

    def look(attempt: Attempt) -> Number:
        seen.append(attempt)
        return Number(1)

    story(journal).step("a", Number, look)
    assert (seen[0].number, seen[0].in_doubt) == (2, True)
    assert len(seen[0].name) < 63


def test_a_step_that_ended_without_effect_is_tried_again_without_doubt():
    journal = MemoryJournal()

    def refuse(_attempt: Attempt) -> Number:
        raise Stopped("no lock", next="backout resume")

    with pytest.raises(Stopped):
        story(journal).step("a", Number, refuse)
    seen: list[Attempt] = []

    def succeed(attempt: Attempt) -> Number:
        seen.append(attempt)
        return Number(1)

    story(journal).step("a", Number, succeed)
    assert (seen[0].number, seen[0].in_doubt) == (2, False)


def test_a_record_of_another_type_under_the_key_is_refused():
    journal = MemoryJournal()
    story(journal).step("a", Number, lambda _: Number(1))
    with pytest.raises(StoryChanged):
        story(journal).step("a", Word, lambda _: Word("x"))


def test_a_wait_is_journalled_once_and_ends_with_the_signal():
    journal = MemoryJournal()
    for _ in range(2):
        with pytest.raises(Waiting):
            story(journal).wait("go", until="waits for approvals", next="backout approve")
    assert [e.kind for e in journal.read("inc-a")] == [EntryKind.WAIT]
    journal.append("inc-a", EntryKind.SIGNAL, "r1.go", {"by": "ben"}, actor="ben")
    assert story(journal).wait("go", until="", next="")["by"] == "ben"
    with pytest.raises(Waiting):
        story(journal, "r2").wait("go", until="waits", next="")


def test_a_look_is_made_every_time_and_recorded_when_it_changed():
    journal, answers = MemoryJournal(), iter([1, 1, 2])
    for expected in (1, 1, 2):
        assert story(journal).look("a", Number, lambda: Number(next(answers))) == Number(expected)
    assert len(journal.read("inc-a")) == 2


def test_ctrl_c_stops_before_the_next_effect_and_not_in_it():
    journal = MemoryJournal()
    done = story(journal)
    done.step("a", Number, lambda _: Number(1))
    stopping = story(journal, stop=lambda: True)
    assert stopping.step("a", Number, lambda _: Number(2)) == Number(1)
    with pytest.raises(Stopped, match="stopped before"):
        stopping.step("b", Number, lambda _: Number(2))
    assert not [e for e in journal.read("inc-a") if e.key.endswith(".b")]


def test_a_later_round_sees_what_is_still_valid_of_an_earlier_one():
    journal = MemoryJournal()
    story(journal).step("snapshot", Number, lambda _: Number(5))
    assert story(journal, "r2").earlier("snapshot", Number) == Number(5)
    assert story(journal, "r2").result("snapshot", Number) is None
    assert story(journal).earlier("snapshot", Number) is None


def test_rounds_are_opened_by_decisions_alone():
    journal = MemoryJournal()
    for key in ("r1.begin", "r2.begin"):
        journal.append("inc-a", EntryKind.DECISION, key, {}, actor="mara")
    journal.append("inc-a", EntryKind.SIGNAL, "r7.begin", {}, actor="eve")
    assert current_round(journal.read("inc-a")) == 2


def test_a_refusal_inside_a_step_is_recorded_with_its_four_parts():
    journal = MemoryJournal()

    def refuse(_attempt: Attempt) -> Number:
        raise Refused("the disk is full", where="/var", intact="production", next="free some")

    with pytest.raises(Refused):
        story(journal).step("a", Number, refuse)
    failed = journal.read("inc-a")[-1]
    assert failed.kind is EntryKind.FAILED
    assert failed.body == {
        "error": "Refused",
        "what": "the disk is full",
        "where": "/var",
        "intact": "production",
        "next": "free some",
        "retry": True,
    }


def test_a_notice_is_sent_again_in_a_later_round_only_with_other_words():
    journal = MemoryJournal()
    for round_, text in (("r1", "begun"), ("r1", "begun"), ("r2", "begun"), ("r3", "begun anew")):
        story(journal, round_).notice("communication.initial", text, "stakeholders")
    told = [(e.key, e.body["text"]) for e in journal.read("inc-a") if e.kind is EntryKind.NOTICE]
    assert told == [("r1.communication.initial", "begun"), ("r3.communication.initial", "begun anew")]
