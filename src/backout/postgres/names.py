"""The only maker of names of ours on servers, so that leftovers are found by their prefix."""

from __future__ import annotations

import re

from psycopg import sql

STATE_SCHEMA = "backout"
KEPT_SCHEMA = "backout_kept"
MESSAGE_PREFIX = "backout"
OBJECT_PREFIX = "backout_"
"""Of slots, publications, origins and restore points."""
FULL_NOTE = "backout: replica identity FULL while armed: "
"""Comment of a publication of ours; behind it the tables (oids) whose identity was the default one."""
MARKER_TABLE = sql.Identifier(STATE_SCHEMA, "copy_marker")
PROGRESS_TABLE = sql.Identifier(STATE_SCHEMA, "progress")
REFUSED_TABLE = sql.Identifier(STATE_SCHEMA, "refused")
BASE_TABLE = sql.Identifier(STATE_SCHEMA, "base")


def application_name(incident: str, sequence: int) -> str:
    """`backout/<incident>/<n>`; always shorter than 63 bytes."""
    return f"backout/{incident}/{sequence}"[:62]


def kept_table(incident: str, oid: int, number: int) -> str:
    """Name of one table of kept values in schema `backout_kept`."""
    return f"{kept_prefix(incident)}{oid}_{number}"[:63]


def kept_prefix(incident: str) -> str:
    """How the names of all kept tables of an incident begin."""
    return f"k_{_plain(incident)}_"


def pre_copy(incident: str, oid: int, number: int) -> str:
    """Name of a copy that is not complete: made before the down, it becomes a kept table under its lock."""
    return f"pre_{_plain(incident)}_{oid}_{number}"[:63]


def cutover(incident: str, number: int) -> str:
    """Stem of the slots and publications of a cutover: `_w` the witness, `_back` the way back."""
    return f"backout_{_plain(incident)}_{number}"[:50]


def witness(incident: str, number: int) -> str:
    """The slot of the witness, and of its publications the first."""
    return f"{cutover(incident, number)}_w"


def states_slot(incident: str, number: int) -> str:
    """The slot that carries on where states were merged, and of its publications the first."""
    return f"{cutover(incident, number)}_s"


def copy_database(incident: str, number: int) -> str:
    """Name of a database restored or cloned on a scratch server."""
    return f"backout_{_plain(incident)}_{number}"[:63]


def guard_object(guard: str, number: int) -> str:
    """Name of the slot, the publications, the restore point and the origins of a guard."""
    return f"backout_{_plain(guard)}_{number}"[:50]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def qualified(schema: str, name: str) -> str:
    """`schema.name`, each part quoted when PostgreSQL would need it; for people and for SQL alike."""
    return f"{quoted(schema)}.{quoted(name)}"


_SIMPLE = re.compile(r"[a-z_][a-z0-9_$]*\Z")
# Words that cannot stand bare as a table or column name (PostgreSQL 18, appendix C, "reserved").
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate
    collation column concurrently constraint create cross current_catalog current_date current_role
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end
    except false fetch for foreign freeze from full grant group having ilike in initially inner intersect
    into is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null
    offset on only or order outer overlaps placing primary references returning right select session_user
    similar some symmetric system_user table tablesample then to trailing true union unique user using
    variadic verbose when where window with
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


def quoted(identifier: str) -> str:
    """An identifier as SQL text, quoted only when needed. Refuses a NUL byte (ValueError)."""
    if "\0" in identifier:
        raise ValueError("an identifier cannot hold a NUL byte")
    if _SIMPLE.match(identifier) and identifier not in _RESERVED:
        return identifier
    return '"' + identifier.replace('"', '""') + '"'
