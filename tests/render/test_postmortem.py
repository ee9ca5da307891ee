"""The postmortem: computed figures, evidence for every row, and two writers that escape what they print."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from backout.model.execution import Outcome, Watch
from backout.model.loss import Figure
from backout.render import html, markdown
from backout.render.actions import propose
from backout.render.document import Bullets, Document, Item, Paragraph, Section, Source, Table
from backout.render.integrity import linked
from backout.render.known import Known
from backout.render.layout import Style
from backout.render.postmortem import QUESTIONS, postmortem, to_html, to_markdown
from backout.render.screens import postmortem_screen
from backout.render.timeline import moments
from backout.render.times import spans
from tests.render import samples
from tests.render.golden import FOLDER, assert_golden, compare
from tests.render.journals import journal

KNOWN = Known(
    samples.INCIDENT,
    triage=samples.TRIAGE,
    snapshot=samples.SNAPSHOT,
    proof=samples.PROOF,
    rehearsals=(samples.REHEARSAL,),
    proposals=samples.PROPOSALS,
    digests=tuple(samples.DIGESTS.items()),
    approvals=(samples.SRE, samples.OWNER),
    fresh=samples.FRESH,
    execution=samples.EXECUTION,
    verification=samples.VERIFIED,
    watch=Watch(1800.0, 360, None, False),
    notices=2,
    resolved=True,
)


def test_the_postmortem_of_the_example():
    written = postmortem(KNOWN, journal(), detected_at="2026-11-22T02:58:10Z")
    compare(FOLDER / "postmortem.md", to_markdown(written))
    compare(FOLDER / "postmortem.html", to_html(written))


def test_the_screen_counts_evidence_and_what_waits_for_people():
    written = postmortem(KNOWN, journal(), detected_at="2026-11-22T02:58:10Z")
    paths = ("postmortem/inc-3k9d.md", "postmortem/inc-3k9d.html")
    assert_golden("postmortem", lambda style: postmortem_screen(written, paths, style=style))
    begun = postmortem(Known(samples.INCIDENT), ())
    assert "detected unknown" in postmortem_screen(begun, paths, style=Style())


def test_it_says_how_long_kept_values_are_wanted():
    until = replace(KNOWN, kept_until="2027-02-20T03:00:00+00:00")
    assert "Wanted until 2027-02-20 03:00" in to_markdown(postmortem(until, journal()))
    assert "Wanted until" not in to_markdown(postmortem(KNOWN, journal()))


def test_every_section_of_the_runbook_is_there():
    titles = [section.title for section in postmortem(KNOWN, journal()).document.sections]
    assert titles == [
        "Summary",
        "Impact",
        "Times",
        "Predicted and actual",
        "Timeline",
        "Decisions",
        "Checks",
        "What is still kept",
        "Corrective actions",
        "For people to answer",
        "Integrity",
    ]


def test_times_are_computed_or_unknown():
    measured = dict(spans(postmortem(KNOWN, journal()).times))
    assert measured["To detect (TTD)"] is None
    assert measured["To declare (TTA)"] == 1152.0
    assert measured["To mitigate (TTM)"] == 2127.0
    assert measured["To resolve (TTR)"] == 2191.0
    assert "| To detect (TTD) | unknown |" in to_markdown(postmortem(KNOWN, journal()))
    detected = dict(spans(postmortem(KNOWN, journal(), detected_at="2026-11-22T02:58:10Z").times))
    assert detected["To detect (TTD)"] == 790.0


def test_every_row_of_the_timeline_carries_its_entry_and_hash():
    entries = journal()
    told = moments(entries)
    assert [m.hash for m in told] == [e.hash[:16] for e in entries if e.seq in {m.seq for m in told}]
    assert "triage, find: suspect 1795314660000_hero-snapshots-v2" in {m.what for m in told}
    assert "jonas.lind approved as sre" in {m.what for m in told}
    assert told[-1].what == "watch, 1, hold: begun, and no end was recorded (attempt 1)"
    assert not any(m.what.startswith("triage, find: begun") for m in told)


def test_integrity_shows_the_head_the_digest_and_the_signatures_in_full():
    entries = journal()
    text = to_markdown(postmortem(KNOWN, entries))
    assert entries[-1].hash in text and samples.DIGEST in text
    assert "SHA256:Vq3kB8x, SHA-256 " in text
    assert "linked without a gap" in text and "the approved ones" in text
    assert not linked((*entries[:3], *entries[4:]))
    assert not linked((entries[0], replace(entries[1], prev="f" * 64)))


def test_predicted_stands_beside_actual_and_growth_is_explained():
    text = to_markdown(postmortem(KNOWN, journal()))
    assert "| Values destroyed | 3,551 | 4,527 |" in text
    assert "the values written in between are kept too" in text


def test_an_incident_of_which_only_the_head_is_known():
    text = to_markdown(postmortem(Known(samples.INCIDENT), ()))
    assert "The offending migration is not known." in text
    assert "Nothing was executed." in text
    untouched = replace(KNOWN, execution=replace(samples.EXECUTION, outcome=Outcome.UNTOUCHED))
    told = to_markdown(postmortem(untouched, journal()))
    assert "It was not backed out" in told
    assert "| To mitigate (TTM) | unknown |" in told


def test_actions_are_marked_by_evidence():
    by_text = {action.text: action.evidence for action in propose(KNOWN)}
    assert "hero_snapshots.source" in by_text["Adopt migration patterns: add, backfill, enforce."]
    not_valid = next(text for text in by_text if "NOT VALID" in text)
    assert "confidence IS NOT NULL" in by_text[not_valid]
    assert by_text["Enforce backup-before-migration and verify restore steps."] == ""
    lost = replace(samples.NAMES_LOST, values=Figure.unknown())
    unknown = replace(KNOWN, rehearsals=(replace(samples.REHEARSAL, losses=(lost,)),))
    backup = next(a for a in propose(unknown) if "backup-before" in a.text)
    assert "no snapshot from before" in backup.evidence
    marked = [bool(action.evidence) for action in propose(KNOWN)]
    assert marked == sorted(marked, reverse=True), "those with evidence come first"


def test_actions_of_other_evidence():
    half = replace(
        KNOWN,
        triage=replace(samples.HALF_APPLIED, collateral=(samples.BADGES,)),
        execution=replace(samples.EXECUTION, locked_seconds=0.9),
        rehearsals=(replace(samples.REHEARSAL, succeeded=False, failure="2BP01 depends"),),
    )
    told = {action.text.split(":")[0][:40]: action.evidence for action in propose(half)}
    assert any("users_email_key" in evidence for evidence in told.values())
    assert any("900 ms of 1.0 s allowed" in evidence for evidence in told.values())
    assert any("2BP01" in evidence for evidence in told.values())
    assert any(samples.BADGES in evidence for evidence in told.values())


def test_people_are_asked_four_questions():
    assert len(QUESTIONS) == 4
    text = to_html(postmortem(KNOWN, journal()))
    assert all(question in text for question in QUESTIONS)


HOSTILE = "<script>alert(1)</script> | `x` *b* [l](http://e) \x1b[2J password=correct-horse & \"q\" 'r'"


class Checker(HTMLParser):
    """Counts what is open and collects every attribute."""

    void = frozenset({"meta", "br", "hr", "link", "img", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def hostile_known() -> Known:
    return replace(
        KNOWN,
        incident=replace(samples.INCIDENT, symptom=HOSTILE, opened_by=HOSTILE, ticket=HOSTILE),
        triage=replace(samples.TRIAGE, applied_by=HOSTILE),
        execution=replace(samples.EXECUTION, statements=(HOSTILE,)),
    )


def test_the_page_is_one_closed_document_that_asks_nobody_for_anything():
    page = to_html(postmortem(hostile_known(), journal()))
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert not checker.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert not checker.attributes & {"src", "href", "style", "onclick", "onload"}
    assert not re.search(r"url\(|@import|https?://(?!e\)|tickets)", page)
    assert samples.SECRET not in page and "\x1b" not in page
    for part in ("prefers-color-scheme:dark", "@media print", 'lang="en"', "&lt;script&gt;"):
        assert part in page


def test_markdown_shows_hostile_text_as_text():
    page = to_markdown(postmortem(hostile_known(), journal()))
    assert "<script>" not in page.replace("\\<script\\>", "").split("```")[0]
    assert samples.SECRET not in page and "\x1b" not in page
    for line in page.splitlines():
        if line.startswith("| ") and not line.startswith("| -"):
            assert not re.search(r"(?<!\\)\|(?=[^ ])", line), line


def test_fences_and_cells_of_code_cannot_be_left():
    document = Document(
        "t",
        "",
        (
            Section(
                "s",
                (
                    Source("````\n# not a heading\n````"),
                    Table(("a",), (("`|` x",),), code=(0,)),
                    Bullets((Item("- 1. x"),)),
                    Paragraph("1. not a list"),
                ),
            ),
        ),
    )
    text = markdown.to_markdown(document)
    assert "`````\n````\n# not a heading\n````\n`````" in text
    assert "| `'\\|' x` |" in text
    assert "\n1\\. not a list" in text or "\n\\1. not a list" in text


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [html.LIGHT, html.DARK], ids=["light", "dark"])
def test_every_text_colour_has_the_contrast_of_wcag_aa(scheme):
    for ground in ("ground", "surface"):
        for name in ("text", "label", "pass", "warn", "fail", "unknown"):
            pair = sorted((luminance(scheme[name]), luminance(scheme[ground])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)
