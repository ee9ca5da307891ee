"""What is measured, as a program of its own: `python -m benchmarks.work VERB`, parameters on stdin.

A process that does one thing and ends shows how much memory and CPU that thing needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from backout.postgres import proof
from backout.postgres.binaries import client_for
from backout.postgres.connect import open_session
from backout.postgres.dump import read_back
from backout.postgres.losses import measure
from backout.postgres.manifest import read
from benchmarks.cpu import Cost, peak_mib, server_seconds
from benchmarks.world import World

_NAME = "backout/bench/1"
Parameters = Mapping[str, str]


def loss(given: Parameters) -> str:
    """The loss report of one clone against its template."""
    with open_session(given["before"], _NAME) as before, open_session(given["after"], _NAME) as after:
        measured = measure(before, after)
    return ", ".join(f"{x.kind} {x.column} {x.values.count}".strip() for x in measured.losses)


def read_dump(given: Parameters) -> str:
    """The reading back of a dump, to its last row."""
    contents = read_back(Path(given["directory"]), client_for(int(given["major"])))
    return f"{sum(table.rows for table in contents.tables)} rows"


def prove(given: Parameters) -> str:
    """The proof of a restored copy; fails when it does not hold."""
    directory = Path(given["directory"])
    program = client_for(int(given["major"]))
    found = proof.prove(directory, read(directory), given["copy"], program, application_name=_NAME)
    assert found.holds, found
    return f"{found.rows} rows"


_VERBS = {"loss": loss, "read_dump": read_dump, "prove": prove}


def main() -> None:
    """Do one thing; print what it cost as one JSON document."""
    given = json.loads(sys.stdin.read())
    imported = time.process_time()
    answer = _VERBS[sys.argv[1]](given)
    children = os.times()
    used = time.process_time() - imported + children.children_user + children.children_system
    sys.stdout.write(json.dumps({"cpu": used, "peak_mib": peak_mib(), "answer": answer}) + "\n")


def cost_of(world: World, verb: str, **parameters: str) -> tuple[Cost, str]:
    """Run a verb of this program against the world's server; what it cost, and what it answered."""
    before = server_seconds(world.server)
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.work", verb],
        input=json.dumps(parameters),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{verb} failed: {done.stderr}")
    said = json.loads(done.stdout)
    return Cost(server_seconds(world.server) - before, said["cpu"], said["peak_mib"]), said["answer"]


if __name__ == "__main__":
    main()
