"""The environment of a person's own program that is to work on a copy and never on the production."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from psycopg.conninfo import conninfo_to_dict

_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
_CONNECTION = ("PGHOSTADDR", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS")
"""Variables of libpq that could lead elsewhere or carry a secret of the production."""


def pointed_at(dsn: str, production: Iterable[str]) -> Mapping[str, str]:
    """Our environment with libpq's variables naming the copy, and every variable that holds one of the
    `production` connection strings holding the copy's."""
    away = frozenset(filter(None, production))
    parts = conninfo_to_dict(dsn)
    kept = {name: dsn if value in away else value for name, value in os.environ.items()}
    clean = {name: value for name, value in kept.items() if name not in _CONNECTION}
    there = {variable: str(parts[key]) for key, variable in _VARIABLES.items() if parts.get(key)}
    return {**clean, **there, "BACKOUT_COPY": dsn}
