"""Who comes to a server or a proxy, as a program of its own; the connection comes from the environment,
as a tool's would."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import psycopg

_COPY = "COPY (SELECT * FROM public.heroes LIMIT 500000) TO STDOUT"


def statements(number: int) -> dict[str, float]:
    """So many single-row INSERTs, each of its own text, in one transaction that is rolled back."""
    with psycopg.connect() as session:
        taken = []
        for n in range(number):
            text = f"INSERT INTO public.history VALUES ({n}, 'migration number {n}')".encode()  # noqa: S608
            begun = time.perf_counter_ns()
            session.execute(text)
            taken.append(time.perf_counter_ns() - begun)
        session.rollback()
    return {"median_ms": median(taken) / 1e6}


def copy_out(_number: int) -> dict[str, float]:
    """One COPY of many rows to the client."""
    size = 0
    with psycopg.connect() as session, session.cursor().copy(_COPY) as rows:
        for piece in rows:
            size += len(piece)
    return {"bytes": size}


_VISITS: dict[str, Callable[[int], dict[str, float]]] = {"statements": statements, "copy": copy_out}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(_VISITS[sys.argv[1]](int(sys.argv[2]))) + "\n")
