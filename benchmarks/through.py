"""A proxy as a program of its own, so that its CPU and memory stand alone.

It reads the server's DSN from the first line of stdin, prints where it listens, and answers every further
line with what it has used so far.
"""

from __future__ import annotations

import json
import sys
import time

from backout.model.plan import Budgets, Keep, KeepHow
from backout.postgres.proxy.policy import RECORD_ONLY, GatePlan, KeepPlan, Policy
from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from benchmarks.cpu import peak_mib

# The whole run is one transaction, and the lock is held as long as the visitor stays.
KEEPING = Policy(
    mark={"incident": "bench", "round": 1},
    keep=KeepPlan((Keep("public.small", 0, KeepHow.COLUMNS, ("id",), ("first_name",)),), "bench"),
    gate=GatePlan(bookkeeping=("public.history",)),
    budgets=Budgets(lock_hold=600.0),
)
POLICIES = {"record": RECORD_ONLY, "keep": KEEPING}


def serve(policy: str, dsn: str) -> None:
    """A proxy until stdin ends."""
    with Proxy(POLICIES[policy], Upstream(dsn, "backout/bench/1")) as proxy:
        at = proxy.endpoint
        _say({"PGHOST": at.host, "PGPORT": str(at.port), "PGDATABASE": at.database, "PGUSER": at.user,
              "PGPASSWORD": at.password})  # fmt: skip
        for _line in sys.stdin:
            _say({"cpu": time.process_time(), "peak_mib": peak_mib()})
        if proxy.refusals:
            raise SystemExit(f"the proxy refused: {proxy.refusals[0]}")


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.stdin.readline())["dsn"])
