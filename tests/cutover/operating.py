"""Start the operator's process for a test, and read what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cutover.sides import CLERK, SECRET, Pooler, Sides

ROOT = Path(__file__).resolve().parents[2]


def config(
    sides: Sides, pooler: Pooler, directory: Path, *, role: str = "postgres", **more: Any
) -> dict[str, Any]:
    """What the operator is told: logins, lever, journal."""
    old, new, name = sides.old, sides.new, sides.database
    return {
        "logins": {
            "old": old.dsn(name, role),
            "old_elsewhere": old.dsn("postgres", role),
            "old_application": old.dsn(name, CLERK, SECRET),
            "new": new.dsn(name, role),
            "new_elsewhere": new.dsn("postgres", role),
            "new_application": new.dsn(name, CLERK, SECRET),
            "canary": pooler.dsn(),
        },
        "drain_old": old.dsn(name),
        "drain_new": new.dsn(name),
        "subscription": sides.subscription,
        "follow": new.dsn(name),
        "lever": "pgbouncer",
        "options": {"ini": str(pooler.ini), "entry": "app", "admin": pooler.admin},
        "new": {"host": "127.0.0.1", "port": new.port, "database": name},
        "journal": str(directory / "journal.db"),
        "mark": str(directory / "mark"),
        "notices": str(directory / "notices"),
        **more,
    }


_started: list[subprocess.Popen[str]] = []


def end_all() -> None:
    """End what a test has started and left, a stopped one too."""
    for process in _started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    _started.clear()


@dataclass
class Operator:
    process: subprocess.Popen[str]

    def said(self, timeout: float = 60) -> dict[str, Any]:
        out, errors = self.process.communicate(timeout=timeout)
        assert out, errors
        answer: dict[str, Any] = json.loads(out)
        return answer


def start(config: dict[str, Any], on: Sequence[str] = ()) -> Operator:
    """`on`: the words in front of the command that run it on another host."""
    process = subprocess.Popen(
        [*on, sys.executable, "-m", "tests.cutover.operator_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _started.append(process)
    assert process.stdin is not None
    process.stdin.write(json.dumps(config))
    process.stdin.close()
    process.stdin = None
    return Operator(process)


def cut_over(config: dict[str, Any], attempts: int = 20) -> dict[str, Any]:
    """Until it is done: a loaded machine misses deadlines, and then nothing has moved."""
    for _ in range(attempts):
        answer = start(config).said()
        if "moved" in answer:
            return answer
        waits = answer["error"]["what"].startswith(("lag:", "transactions:"))
        assert waits or answer["error"]["kind"] == "Stopped", answer
        time.sleep(1.0)
    raise AssertionError(answer)
