"""While four writers write, a down destroys: every acknowledged value is live or kept afterwards.

The controls do the same with copies that come without the lock, or once for a run of several
transactions. They must lose in this harness, or it would prove nothing.
"""

from __future__ import annotations

import time
from dataclasses import replace

import psycopg
import pytest

from backout.model.plan import Budgets
from backout.postgres.proxy.policy import RECORD_ONLY, GatePlan, KeepPlan, Policy
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from tests.proxy import fire
from tests.proxy.helpers import through

KEEPING = Policy(
    mark={"incident": "fire", "round": 1},
    keep=KeepPlan(fire.KEEPS, "fire"),
    gate=GatePlan(),
    budgets=Budgets(lock_timeout=0.2, lock_patience=60, lock_hold=60),
)


def down_under_fire(dsn: str, policy: Policy, script: list[str], *, autocommit: bool) -> list[fire.Writer]:
    fire.make(dsn)
    with fire.under_fire(dsn) as writers, Proxy(policy, Upstream(dsn)) as proxy:
        with through(proxy, autocommit=autocommit) as tool:
            for statement in script:
                tool.execute(statement)
        assert proxy.refusals == ()
    assert [fault for writer in writers for fault in writer.faults] == []
    return writers


def quick(dsn: str, *, autocommit: bool) -> None:
    writers = down_under_fire(dsn, KEEPING, list(fire.DOWN), autocommit=autocommit)
    acknowledged = sum(len(writer.ledger) for writer in writers)
    assert acknowledged > 200
    assert fire.lost(dsn, writers) == []


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_no_acknowledged_value_is_lost(dsn: str, autocommit: bool):
    quick(dsn, autocommit=autocommit)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_no_acknowledged_value_is_lost_above_read_committed(dsn: str, isolation: str):
    script = [f"BEGIN ISOLATION LEVEL {isolation}", "SELECT 1", *fire.DOWN, "COMMIT"]
    writers = down_under_fire(dsn, KEEPING, script, autocommit=True)
    assert fire.lost(dsn, writers) == []


def test_control_a_copy_in_the_transaction_without_the_lock_loses(dsn: str):
    script = [*fire.naive_copies(), fire.TIME_OF_A_COPY, *fire.DOWN]
    writers = down_under_fire(dsn, RECORD_ONLY, script, autocommit=False)
    assert len(fire.lost(dsn, writers)) > 0


def test_control_one_copy_for_an_autocommit_run_loses(dsn: str):
    fire.make(dsn)
    with fire.under_fire(dsn) as writers, Proxy(RECORD_ONLY, Upstream(dsn)) as proxy:
        with through(proxy) as tool:  # the lock alone does not help: it ends with the first statement
            tool.execute(f"LOCK TABLE {', '.join(fire.TABLES)} IN ACCESS EXCLUSIVE MODE")
            for statement in (*fire.naive_copies(), fire.DOWN[0]):
                tool.execute(statement)
        with through(proxy, autocommit=True) as tool:
            for statement in fire.DOWN[1:]:
                time.sleep(0.05)
                tool.execute(statement)
    assert len(fire.lost(dsn, writers)) > 0


def test_the_marks_tell_the_transactions_of_the_tool_apart(dsn: str):
    seen: list[str] = []
    noting = replace(KEEPING, on_commit=seen.append)
    writers = down_under_fire(dsn, noting, list(fire.DOWN), autocommit=True)
    assert len(seen) == len(fire.DOWN)
    with psycopg.connect(dsn) as connection:
        xids = connection.execute("SELECT xid FROM backout_kept.manifest ORDER BY seq").fetchall()
    assert [xid for (xid,) in xids] == seen
    assert fire.lost(dsn, writers) == []


@pytest.mark.soak
@pytest.mark.parametrize("run", range(10))
@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_soak_no_acknowledged_value_is_lost(dsn: str, autocommit: bool, run: int):
    quick(dsn, autocommit=autocommit)
