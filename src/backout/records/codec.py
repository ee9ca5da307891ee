"""Records to JSON and back: every record carries its type and version, so an old journal stays readable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import rfc8785
from pydantic import TypeAdapter, ValidationError

from backout.errors import StoryChanged

T = TypeVar("T")

VERSION = 1


@lru_cache(maxsize=256)
def _cached_adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _adapter(kind: Any) -> TypeAdapter[Any]:
    adapter: TypeAdapter[Any] = _cached_adapter(kind)
    return adapter


def plain(value: object) -> Any:
    """A record as JSON-ready dicts, lists and scalars (tuples become lists, enums their values)."""
    return _adapter(type(value)).dump_python(value, mode="json")


def dump(value: object) -> dict[str, Any]:
    """A record with its type name and version."""
    return {"type": type_name(type(value)), "version": VERSION, "data": plain(value)}


def type_name(kind: Any) -> str:
    """Name under which records of this type are journalled."""
    return str(getattr(kind, "__name__", kind))


def load(kind: type[T], document: Mapping[str, Any]) -> T:
    """The record in `document`; raises `StoryChanged` when it is of another type or does not fit."""
    if document.get("type") != type_name(kind):
        raise StoryChanged(
            f"the journal holds a {document.get('type')} where this version expects a {type_name(kind)}",
            where="the journal",
            intact="everything; the journal was only read",
            next="go on with the version that began this incident, or type: backout propose",
        )
    return load_plain(kind, document["data"])


def load_plain(kind: type[T], data: object) -> T:
    """The record in bare JSON data; raises `StoryChanged` when it does not fit."""
    try:
        result: T = _adapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise StoryChanged(
            f"a recorded {type_name(kind)} does not fit this version: {path}: {first['msg']}",
            where="the journal",
            intact="everything; the journal was only read",
            next="go on with the version that began this incident, or type: backout propose",
        ) from None
    return result


def canonical(data: object) -> bytes:
    """Canonical JSON (RFC 8785) of JSON-ready data or of a record."""
    ready = data if isinstance(data, dict | list | str | int | float | bool | None) else plain(data)
    return bytes(rfc8785.dumps(_widen(ready)))


def _widen(value: Any) -> Any:
    """RFC 8785 numbers are doubles: integers beyond 2^53 are written as strings, or they would be refused."""
    if isinstance(value, dict):
        return {str(k): _widen(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_widen(v) for v in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    return value


def digest(data: object) -> str:
    """Hex SHA-256 over the canonical JSON."""
    return hashlib.sha256(canonical(data)).hexdigest()


def short(digest_hex: str) -> str:
    """The first 64 bits in four groups, as people see a digest: `9f3c-61ad-07e2-b85d`."""
    return "-".join(digest_hex[i : i + 4] for i in range(0, 16, 4))


def schema(kind: Any) -> dict[str, Any]:
    """JSON Schema of a record type."""
    return _adapter(kind).json_schema()
