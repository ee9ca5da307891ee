"""A process that carries back for ever; made to be killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from backout.phases.lost_writes.following import Route
from backout.phases.lost_writes.way_back import carry_back
from backout.postgres.decoding.transactions import End
from backout.postgres.writes.follow import Limits


def main() -> None:
    told = json.loads(os.environ["ROAD"])
    told["publications"] = tuple(told["publications"])
    told["directory"] = Path(told["directory"])
    print("begins", flush=True)
    carry_back(Route(**told), End(), limits=Limits(transactions=20, seconds=0.05))


if __name__ == "__main__":
    main()
