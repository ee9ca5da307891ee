"""The six commonest failures, and what holds for every error."""

from __future__ import annotations

import pytest

from backout.errors import (
    ApprovalVoid,
    BackoutError,
    ConfigurationError,
    LockNotGranted,
    NeighbourUnreachable,
    Stopped,
    Waiting,
)
from backout.render.errors import render_error
from backout.render.layout import Style
from tests.render.golden import assert_golden, assert_rules
from tests.render.samples import SECRET

HERE = "heroes-production  heroes @ db-1:5432"
FAILURES = {
    "wrong_password": ConfigurationError(
        "the server refused the password of rb_observe",
        where=f"{HERE}, SQLSTATE 28P01",
        intact="everything; no statement was sent",
        next="correct DATABASE_URL_DIRECT, then: backout doctor",
    ),
    "through_a_pooler": ConfigurationError(
        "this DSN leads through PgBouncer in transaction mode",
        where="heroes-production  pool-1:6432, locks would be void there",
        intact="everything; backout only read its version",
        next="point DATABASE_URL_DIRECT at db-1:5432, then: backout doctor",
    ),
    "no_lock": LockNotGranted(
        "no lock on hero_snapshots in 2:00 (87 tries of 200 ms)",
        where="heroes-production  db-1:5432, held by pid 4127 (etl) 1:12",
        intact="schema and data; the down rolled back; snapshot kept",
        next="end that session, then: backout resume inc-3k9d",
    ),
    "approval_void": ApprovalVoid(
        "approval is void: 1795316100000_add-badges came after",
        where="heroes-production  plan 9f3c-61ad, head at signing hero-snap...-v2",
        intact="everything; the run did not begin",
        next="backout propose inc-3k9d",
    ),
    "store_full": Stopped(
        "the snapshot store is full, 3.9 of 4.6 GB written",
        where="/var/lib/backout on ops-2; production is not affected",
        intact="production, snap-5h2w; the .part file is removed",
        next="free 1.2 GB, then: backout resume inc-3k9d",
    ),
    "tool_lied": Stopped(
        "the tool said done (exit 0), the history table says no",
        where="heroes-production  pgmigrations still lists hero-snapshots-v2",
        intact="schema unchanged, 0 differences; snapshot snap-6p0c",
        next="backout diagnose inc-3k9d",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_commonest_failures_have_four_parts(name):
    assert_golden(f"error_{name}", lambda style: render_error(FAILURES[name], style))


def test_what_nobody_knows_is_called_unknown_and_a_next_command_is_always_there():
    text = render_error(BackoutError("something broke"), Style())
    assert text.splitlines() == [
        "error (exit 1): something broke",
        "  where   unknown",
        "  intact  unknown",
        "next: backout status",
    ]


def test_a_wait_for_a_person_is_not_called_an_error():
    text = render_error(Waiting("waits for two approvals", next="backout approve inc-3k9d"), Style())
    assert text.startswith("waits (exit 4): waits for two approvals")


def test_secrets_and_second_failures_in_an_error():
    error = NeighbourUnreachable(f"cannot reach postgresql://rb:{SECRET}@db-1/heroes\x1b[2J\nboom")
    error.add_note("and the scratch server could not be stopped")
    text = render_error(error, Style())
    assert_rules(text)
    assert "also    and the scratch server could not be stopped" in text
