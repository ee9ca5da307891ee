"""The operator in a process of its own, which can be killed and stopped at any step: reads JSON on stdin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from backout.adapters.traffic.options import link
from backout.engine.journals import SqliteJournal
from backout.engine.story import Story
from backout.errors import BackoutError
from backout.model.check import Check
from backout.model.cutover import CutoverBudget, Prepared, Step
from backout.model.journal import Entry
from backout.phases.cutover import act, prove
from backout.phases.cutover.ground import Ground, Logins, sessions
from backout.plugins import traffic
from backout.ports.handover import Lag
from backout.ports.traffic import Address
from backout.postgres import dead_man_process
from backout.postgres.connect import Session, open_session
from backout.postgres.routing import make_writable
from backout.postgres.way_back import SlotWayBack
from backout.records import codec


class Told:
    """Notices go to a file, beside the journal."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def progress(self, text: str) -> None:
        pass

    def step_begins(self, key: str, attempt: int) -> None:
        pass

    def step_ends(self, key: str, outcome: str, seconds: float) -> None:
        pass

    def notice(self, text: str, audience: str, head: Entry) -> None:
        with self._file.open("a") as file:
            file.write(f"{text}\n")


class NativeDrain:
    """`ports.handover.Drain` over a subscription of PostgreSQL's own; a marker row says what has arrived."""

    def __init__(self, old: str, new: str, subscription: str) -> None:
        self._old = open_session(old, "drain")
        self._new = open_session(new, "drain")
        make_writable(self._new)
        self._subscription = subscription

    def checks(self) -> tuple[Check, ...]:
        return ()

    def lag(self) -> Lag:
        row = self._old.execute(
            """SELECT coalesce(extract(epoch FROM r.replay_lag), 0)::float8,
                      (pg_catalog.pg_current_wal_lsn() - s.confirmed_flush_lsn)::bigint
               FROM pg_catalog.pg_replication_slots s
               LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = %s""",
            (self._subscription,),
        ).fetchone()
        assert row is not None
        return Lag(row[0], row[1])

    def spare(self) -> tuple[int, ...]:
        return (self._old.info.backend_pid,)

    def consumed(self, old: Session, token: str, lsn: str, seconds: float) -> bool:
        self._old.execute("INSERT INTO backout.marker VALUES (%s)", (token,))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._new.execute("SELECT 1 FROM backout.marker WHERE token = %s", (token,)).fetchone():
                return True
            time.sleep(0.002)
        return False

    def stop(self) -> None:
        self._new.execute(f"ALTER SUBSCRIPTION {self._subscription} DISABLE".encode())


def ground(config: dict[str, Any], told: Any) -> Ground:
    logins = Logins(**config["logins"])
    new = open_session(logins.new, "way back")
    old = open_session(logins.old, "way back", statement_timeout_ms=0) if config["follow"] else None
    drain = NativeDrain(config["drain_old"], config["drain_new"], config["subscription"])
    way_back = SlotWayBack(new, old, config["follow"])
    if old is not None:
        both = (drain._old.info.backend_pid, old.info.backend_pid)
        drain.spare = lambda: both  # type: ignore[method-assign]
    return Ground(
        target="shop-production",
        incident=config.get("incident", "inc-7q4m"),
        traffic=traffic(config["lever"], config["options"]),
        drain=drain,
        way_back=way_back,
        logins=logins,
        links={"old": link(logins.old_elsewhere), "new": link(logins.new_elsewhere)},
        new=Address(**config["new"]),
        budget=CutoverBudget(**config.get("budget", {})),
        now=lambda: datetime.now(UTC),
        told=told,
    )


def hurt(config: dict[str, Any]) -> Any:
    """Does to us, or to the dead-man, what the test wants, once, at one step."""
    wanted = config.get("hurt")
    guards: list[int] = []
    start = dead_man_process.DeadMan.start.__func__  # type: ignore[attr-defined]

    def started(cls: Any, *arguments: Any, **named: Any) -> Any:
        made = start(cls, *arguments, **named)
        guards.append(made.pid)
        return made

    dead_man_process.DeadMan.start = classmethod(started)  # type: ignore[assignment,method-assign]

    def told(step: Step, when: str, at_ms: float) -> None:
        if not wanted or (step.name, when) != (wanted["step"], wanted["when"]):
            return
        Path(config["mark"]).write_text(str(time.monotonic()))
        if wanted["how"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif wanted["how"] == "cut":
            subprocess.run(wanted["command"], check=True)
        elif wanted["how"] == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif guards:
            os.kill(guards[-1], signal.SIGKILL)
            if wanted["how"] == "kill dead-man and us":
                os.kill(os.getpid(), signal.SIGKILL)

    return told


def main() -> int:
    config = json.load(sys.stdin)
    journal = SqliteJournal(Path(config["journal"]))
    run = Story(journal, config.get("incident", "inc-7q4m"), "r1", "mara", Told(Path(config["notices"])))
    out: dict[str, Any] = {}
    try:
        made = ground(config, hurt(config))
        if config.get("settle"):
            prepared = run.result("cutover.prepare", Prepared)
            left = act.settle_leftovers(run, made, prepared) if prepared else None
            out["left"] = left.way if left else ""
        else:
            out.update(_cut_over(run, made, config))
    except BackoutError as error:
        out["error"] = {"kind": type(error).__name__, "what": error.what, "next": error.next}
    except psycopg.Error as error:
        out["error"] = {"kind": type(error).__name__, "what": str(error), "next": ""}
    print(json.dumps(out))
    return 0


def _cut_over(run: Story, made: Ground, config: dict[str, Any]) -> dict[str, Any]:
    with sessions(made) as opened:
        prepared = act.prepare(run, made, opened)
        watch = config.get("watch", 0.5)
        ready = act.enter(run, made, opened, prepared, watch=watch) if config.get("enter", True) else None
        moved = act.move(run, made, opened, prepared)
        proof = prove.prove(run, made, opened, prepared, moved, window=config.get("window", 1.0))
        return {
            "ready": [f"{c.name}: {c.state} {c.detail}" for c in ready.checks] if ready else [],
            "moved": codec.plain(moved),
            "proof": codec.plain(proof),
            "complete": proof.complete,
        }


if __name__ == "__main__":
    sys.exit(main())
