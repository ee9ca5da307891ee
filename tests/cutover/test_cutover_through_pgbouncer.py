"""A move through a real PgBouncer, measured by the clients that write through it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cutover import operating
from tests.cutover.sides import Sides, pooler
from tests.cutover.writers import writing


@pytest.mark.proves(
    claim="Traffic moves without an error to a client and without losing a write",
    on="two servers, PgBouncer of the distribution, one machine, loopback",
    rights="superuser",
    versions="15, 16, 18",
    size="20 writers, some thousand rows",
)
def test_twenty_writers_notice_less_than_a_second_and_lose_nothing(each_pair: Sides, tmp_path: Path):
    with pooler(each_pair) as pool:
        with writing(pool.dsn()) as ledger:
            time.sleep(0.5)
            done = operating.cut_over(operating.config(each_pair, pool, tmp_path))
            time.sleep(1.0)
        print(done["moved"]["times"], ledger.told())
        assert not ledger.errors
        assert ledger.missing_on(each_pair.new, each_pair.database) == set()
        assert ledger.longest_silence_ms < 1000
        assert ledger.slowest_ms < 1000
        assert done["complete"], done["proof"]
        assert pool.entry()["port"] == str(each_pair.new.port)
