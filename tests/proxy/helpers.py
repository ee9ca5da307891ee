"""Connect a client to a proxy's endpoint."""

from __future__ import annotations

from typing import Any

import psycopg

from backout.postgres.proxy.server import Proxy


def through(proxy: Proxy, **more: Any) -> psycopg.Connection:
    """A psycopg session through the proxy; not autocommit unless asked."""
    place = proxy.endpoint
    return psycopg.connect(
        host=place.host,
        port=place.port,
        dbname=place.database,
        user=place.user,
        password=place.password,
        **more,
    )
