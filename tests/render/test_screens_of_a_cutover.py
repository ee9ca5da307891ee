"""The WRITE PAUSE as people see it, from records with a fixed clock."""

from __future__ import annotations

from dataclasses import replace

from backout.model.check import Check, CheckState
from backout.model.cutover import (
    ClientView,
    CutoverProof,
    Moved,
    Price,
    Promise,
    StaleWrite,
    Step,
    StepTime,
)
from backout.render.layout import Style
from backout.render.screens import cutover_live_screen, cutover_screen
from backout.render.screens.cutover import prices, ready_line
from tests.render.golden import assert_golden

TIMES = (StepTime(Step.HOLD, 9.0), StepTime(Step.FENCE, 31.0), StepTime(Step.DRAIN, 57.0))
MOVED = Moved(
    token="inc-7q4m-1f0a-1",
    old="db-1:5432",
    new="db-2:5432",
    times=(*TIMES, StepTime(Step.SWITCH, 81.0), StepTime(Step.RELEASE, 84.0)),
    pause_attempts=1,
    sequences=14,
    fence_ended=2,
    way_back="backout_inc_7q4m_1_back",
    way_back_until="2026-11-25T03:10:00+00:00",
    canary=Check("canary", CheckState.PASS, "the new side answers"),
)
PROOF = CutoverProof((), (), (), (), 900.0)
CLIENTS = ClientView(96.0, 143.0, 0)


def test_while_writes_are_held_it_says_when_they_return():
    def draw(style: Style) -> str:
        before = ready_line(0.2, 0.1, 800, style)
        return "\n".join([*before, cutover_live_screen(TIMES, 57.0, 800, "db-1", style=style)])

    assert_golden("cutover_live", draw, ends_in_next=False)


def test_after_the_switch_nothing_returns():
    text = cutover_live_screen(MOVED.times, 84.0, 800, "db-1", style=Style())
    assert "only completed from here" in text and "return to db-1" not in text


def test_the_pause_as_the_clients_saw_it():
    def draw(style: Style) -> str:
        listed = "backout parked list inc-7q4m"
        return cutover_screen(MOVED, PROOF, CLIENTS, style=style, next=listed)

    assert_golden("cutover", draw)


def test_a_stale_writer_is_visibly_not_complete():
    stale = StaleWrite("0/19DC098", 2010, "2026-11-23T03:11:02.688+00:00")
    proof = replace(PROOF, stale=(stale,), sessions=("pid 4127 of etl from 10.0.0.7",))

    def draw(style: Style) -> str:
        return cutover_screen(MOVED, proof, CLIENTS, style=style, next="backout resume inc-7q4m")

    assert_golden("cutover_stale", draw)


def test_what_was_not_measured_is_not_called_a_pause():
    text = cutover_screen(MOVED, None, None, style=Style(), next="backout resume inc-7q4m")
    assert "?, held 84 ms; clients were not measured" in text
    assert "Visibly not complete: nobody has looked yet." in text


def test_each_lever_has_its_own_price():
    rows = (
        Price("pgbouncer", Promise.NO_ERRORS, "under 1 s: held at most 800 ms", ("transaction mode",)),
        Price(
            "multi-host",
            Promise.ONE_ERROR,
            "each client is cut once and refused until the switch",
            ("every client lists both hosts, the new side first",),
            "until a person acts, if the network to the old side is lost",
        ),
        Price(
            "file",
            Promise.RESTART,
            "errors while instances restart: 212 s",
            ("/etc/shop/url writable here", "the command systemctl"),
        ),
    )
    assert_golden("cutover_prices", lambda style: "\n".join(prices(rows, style)), ends_in_next=False)
