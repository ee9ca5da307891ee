"""End a replication slot of a test, also one whose walsender has not noticed yet that its reader is gone."""

from __future__ import annotations

import time

import psycopg


def drop(admin: psycopg.Connection, slot: str) -> None:
    """Drop it, its reader ended first; five seconds of patience, then it stays for the server's end."""
    for _ in range(100):
        admin.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
            "WHERE slot_name = %s AND active_pid IS NOT NULL",
            (slot,),
        )
        try:
            admin.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
        except psycopg.errors.ObjectInUse:
            time.sleep(0.05)
            continue
        return
