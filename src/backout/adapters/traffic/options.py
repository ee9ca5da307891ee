"""Read the options of a lever; an option that is missing or of the wrong kind is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backout.errors import ConfigurationError
from backout.ports.traffic import Link


def text(options: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = options.get(name, default)
    if isinstance(value, str) and (value or default == ""):
        return value
    raise _wrong(name, "a text")


def words(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A command as a list of words; empty when it is not configured."""
    value = options.get(name, ())
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise _wrong(name, "a list of words (no shell is used)")


def path(options: Mapping[str, object], name: str) -> Path:
    return Path(text(options, name))


def link(dsn: str) -> Link:
    """A connection string as what the dead-man opens; its text is never shown."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            "a connection string cannot be parsed (its text is not shown: it may hold a password)",
            where="backout.toml, traffic",
            intact="everything; nothing was changed",
            next="correct it in backout.toml, then: backout doctor",
        ) from None
    user = parts.get("user", "")
    host = parts.get("hostaddr") or parts.get("host") or "localhost"
    return Link(
        host=host,
        port=int(parts.get("port", "5432")),
        user=user,
        database=parts.get("dbname", user),
        password=parts.get("password", ""),
        tls=parts.get("sslmode", "prefer"),
        ca=parts.get("sslrootcert", ""),
    )


def document(given: Link) -> dict[str, object]:
    """A link as the wire opens it."""
    return asdict(given)


def _wrong(name: str, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"the option {name} of the traffic lever must be {kind}",
        where=f"traffic.{name}",
        intact="everything; nothing was changed",
        next="correct it in backout.toml, then: backout doctor",
    )
