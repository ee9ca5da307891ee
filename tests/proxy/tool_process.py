"""A migration tool in a process of its own, to be killed: runs the down in one transaction."""

from __future__ import annotations

import json
import os

import psycopg

from tests.proxy import fire


def main() -> None:
    with psycopg.connect(**json.loads(os.environ["TOOL_SETTINGS"])) as tool:
        tool.execute("SELECT 1")
        print("begun", flush=True)
        for statement in fire.DOWN:
            tool.execute(statement)


if __name__ == "__main__":
    main()
