"""The private servers that every other test stands on."""

from __future__ import annotations

import psycopg


def test_a_private_server_is_cut_off_from_the_world(connection: psycopg.Connection):
    def show(name: str) -> str:
        row = connection.execute("SELECT pg_catalog.current_setting(%s)", (name,)).fetchone()
        assert row is not None
        return str(row[0])

    assert show("archive_mode") == "off"
    assert show("max_logical_replication_workers") == "0"
    assert show("listen_addresses") == "127.0.0.1"
