"""A process that applies until it reads the end marker; made to be killed. Exit 0 = everything is there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from backout.errors import BackoutError
from backout.postgres.decoding.stream import Source, Stream
from backout.postgres.decoding.transactions import End
from backout.postgres.writes import tables
from backout.postgres.writes.apply import Applier, open_target
from backout.postgres.writes.follow import Limits, follow
from backout.postgres.writes.parking import Parking
from backout.postgres.writes.same_schema import SameSchema, keys_of_tables

RUN = "inc-1"
END = End(marker={"incident": "inc-1", "kind": "end"})


def main() -> int:
    asked = json.loads(os.environ["APPLY"])
    session = open_target(asked["target"], "backout/inc-1/2").session
    progress = tables.take_over(session, RUN)
    source = Source(asked["source"], asked["slot"], ("backout_r",), progress.lsn, "backout/inc-1/3")
    with Stream(source) as stream:
        translation = SameSchema(keys_of_tables(session))
        applier = Applier(
            session,
            progress,
            translation,
            Parking(session, RUN, RUN),
            alive=stream.tend,
        )
        print("ready", flush=True)
        limits = Limits(transactions=50, seconds=0.05)
        follow(stream, applier, END, Path(asked["directory"]), limits=limits)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BackoutError as error:
        print(type(error).__name__, error, flush=True)
        sys.exit(error.exit_code)
