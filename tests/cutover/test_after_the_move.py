"""Behind the switch: a stale writer turns the witness red, and the way back loses nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cutover import operating
from tests.cutover.sides import Sides, pooler
from tests.cutover.writers import writing

pytestmark = pytest.mark.slow


def test_a_superuser_left_behind_turns_the_witness_red_within_ten_seconds(pair: Sides, tmp_path: Path):
    with pooler(pair) as pool:
        made = operating.config(pair, pool, tmp_path, window=20.0)
        operator = operating.start(made)
        until = time.monotonic() + 30
        while pool.entry()["port"] != str(pair.new.port) and operator.process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.1)
        with pair.old.connect(pair.database) as stale:  # no connection limit stops a superuser
            stale.execute("INSERT INTO events (writer, number) VALUES (999, 1)")
            wrote = time.monotonic()
            answer = operator.said()
        assert time.monotonic() - wrote < 10
        assert not answer["complete"]
        assert len(answer["proof"]["stale"]) == 1
        assert answer["proof"]["sessions"]


def carry_the_marker(turned: Sides, way_back: str) -> None:
    """The test's drain waits for a marker row; publications of the way back leave tables of ours out."""
    with turned.old.connect(turned.database) as session:
        session.execute(f"ALTER PUBLICATION {way_back} ADD TABLE backout.marker".encode())
    with turned.new.connect(turned.database) as session:
        refresh = f"ALTER SUBSCRIPTION {way_back} REFRESH PUBLICATION WITH (copy_data = false)"
        session.execute(refresh.encode())


def test_the_way_back_used_once_loses_nothing_and_gives_no_number_twice(each_pair: Sides, tmp_path: Path):
    forth, back = tmp_path / "forth", tmp_path / "back"
    forth.mkdir()
    back.mkdir()
    with pooler(each_pair) as pool, writing(pool.dsn()) as ledger:
        moved = operating.cut_over(operating.config(each_pair, pool, forth))
        assert moved["complete"], moved["proof"]
        time.sleep(1.0)
        turned = each_pair.turned()
        carry_the_marker(turned, moved["moved"]["way_back"])
        time.sleep(0.5)
        made = operating.config(turned, pool, back, subscription=moved["moved"]["way_back"])
        made["incident"] = "inc-back"
        returned = operating.cut_over(made)
        time.sleep(1.0)
        assert returned["complete"], returned["proof"]
        assert pool.entry()["port"] == str(each_pair.old.port)
    assert not ledger.errors, ledger.told()
    assert ledger.missing_on(each_pair.old, each_pair.database) == set()
    with each_pair.old.connect(each_pair.database) as session:
        row = session.execute("SELECT nextval('events_id_seq') > max(id) FROM events").fetchone()
    assert row == (True,)
