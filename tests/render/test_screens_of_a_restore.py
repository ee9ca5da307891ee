"""What people see of a restore: the plan, what failed and what follows, the way in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from backout.model.check import Check, CheckState
from backout.model.loss import Figure
from backout.model.recovery import Commit, Line, Lsn, TwinBefore
from backout.model.restored import Choice, HandedOver, Offer, PointKind, Restored, Shortfall, Smoked, Wanted
from backout.render.layout import Style
from backout.render.screens import restore_screen
from tests.render import samples

NOW = samples.at("03:20:24")
CHOICE = Choice(
    wanted=Wanted(PointKind.MIGRATION, "20240201000000"),
    target=TwinBefore(Line("7301", 1), Commit(764, Lsn.parse("0/3013780"))),
    backup="20261121-020000F",
    kind="pgbackrest",
    database="heroes",
    major=16,
    source="heroes @ db-1:5432",
    source_position="0/3FFFFFF",
    offers=(
        Offer(
            "20261122-020000F",
            "pgbackrest",
            "2026-11-22T02:04:00Z",
            "0/4000100",
            10**9,
            "newer than the point",
        ),
        Offer("20261121-020000F", "pgbackrest", "2026-11-21T02:04:00Z", "0/2000100", 10**9, ""),
    ),
    directory="/var/lib/backout/instances",
    restore_bytes=12 * 10**8,
    need_bytes=12 * 10**8,
    free_bytes=9 * 10**10,
    eta_seconds=84.0,
    note="20240201000000 committed at 2026-11-22T03:01:12Z",
    heads=("20240101000000", "20240201000000"),
    expected_head="20240101000000",
)
MADE = Restored(
    *("rst-7k2m-1", 91.5, 12 * 10**8, "LOG:  recovery stopping before commit of transaction 764"),
    *("0/3013740", "/var/tmp/backout-9a0c/data"),
)
PASSED = Smoked((Check("rows", CheckState.PASS, "12 tables read to the end, 184,203 rows"),), 4.0)
FAILED = Smoked(
    (Check("foreign keys", CheckState.FAIL, "rows without a parent: author on public.issues: 3"),), 4.0
)
HANDED = HandedOver(
    "host='/tmp/bk-0123456789ab' port='5432' user='postgres' dbname='heroes-production-of-a-long-name'",
    "2026-11-23T03:18:00Z",
    (Check("durable", CheckState.PASS, "fsync, full_page_writes and synchronous_commit are on"),),
)


@dataclass(frozen=True)
class Answer:
    outcome: str
    choice: Choice = CHOICE
    restored: Restored | None = None
    smoked: Smoked | None = None
    handed: HandedOver | None = None
    reason: str = ""
    next: str = "backout copies"
    target: str = "heroes"


def shown(answer: Answer, width: int = 80) -> str:
    return restore_screen(answer, style=Style(width=width), now=NOW)


def test_the_plan_names_the_backup_why_not_the_others_and_what_it_costs():
    text = " ".join(shown(Answer("planned")).split())
    assert "just before the commit of transaction 764 (0/3013780)" in text
    assert "pgbackrest 20261121-020000F" in text
    assert "not 20261122-020000F: newer than the point" in text
    assert "1.2 GB; about 1:24, by the last restore here" in text
    assert "needs 1.2 GB, 90.0 GB free" in text


def test_a_first_restore_promises_no_time():
    text = shown(Answer("planned", replace(CHOICE, eta_seconds=None)))
    assert "no pgbackrest was restored here yet, so how long is not known" in " ".join(text.split())


def test_an_inexact_restore_says_so_at_its_point():
    short = Shortfall(
        "0" * 23 + "7", "just after the commit of 763", "", Figure.at_most(12), "counted by IDs"
    )
    text = " ".join(shown(Answer("planned", replace(CHOICE, shortfall=short))).split())
    assert "INEXACT" in text
    assert "at most 12 transactions behind just after the commit of 763 lost (counted by IDs)" in text


def test_the_way_in_stands_on_one_line_however_narrow_the_screen():
    text = shown(Answer("handed over", restored=MADE, smoked=PASSED, handed=HANDED))
    assert f'psql "{HANDED.connection}"' in text, "it can be pasted"
    assert "lease ends in 23 h 58" in text


def test_a_failure_says_that_the_copy_is_kept_and_what_else_there_is():
    again = "backout restore --failed rst-7k2m-1 --reason TEXT"
    text = shown(Answer("failed", restored=MADE, smoked=FAILED, next=again))
    assert "Not handed over." in text and "x" not in text.splitlines()[0]
    assert text.endswith(f"next: {again}")
    assert "not 20261122-020000F" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_but_the_way_in_is_wider_than_the_screen(width: int):
    text = shown(Answer("handed over", restored=MADE, smoked=PASSED, handed=HANDED), width)
    wide = [line for line in text.splitlines() if len(line) > width and "psql" not in line]
    assert wide == []
