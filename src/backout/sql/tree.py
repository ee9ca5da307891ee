"""Text to syntax trees with PostgreSQL's own grammar (18); the only importer of `postgast`.

Three traps of the library are dealt with here, so that nobody else has to know them: it reads a text only up
to a NUL character, it crashes the process on some tens of thousands of nested operators, and it refuses to
hand over trees deeper than a hundred messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from postgast import PgQueryError
from postgast import parse as parse_protobuf

from backout.sql import lexer
from backout.sql.names import qualified

_UNCHECKED_LENGTH = 4096
"""Characters; a text this short cannot nest deeply enough to exhaust a thread's stack."""
_DEEPEST = 2000
"""Levels. The library needed up to 420 bytes of stack a level (measured) and has no check of its own;
what is deeper than about fifty is refused by the hand-over anyway."""
_LEAVES = frozenset({"a_const", "string", "integer", "float", "boolean", "bit_string", "a_star", "param_ref"})


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a syntax tree. Field names and enumerations are libpg_query's own.

    An absent field reads as empty, False, 0, None or ().
    """

    raw: Any
    _all: list[tuple[str, Any]] = field(default_factory=list, init=False, repr=False, compare=False)
    """The whole tree below, remembered by the first `find`: several readers ask the same tree."""

    @property
    def kind(self) -> str:
        """The name of the node's type: `AlterTableStmt`, `ColumnRef`, ..."""
        return str(self.raw.DESCRIPTOR.name)

    def text(self, field: str) -> str:
        """A field that holds a string."""
        return str(getattr(self.raw, field))

    def flag(self, field: str) -> bool:
        """A field that holds a truth value or a number; whether it is set and not zero."""
        return bool(getattr(self.raw, field))

    def number(self, field: str) -> int:
        """A field that holds a whole number."""
        return int(getattr(self.raw, field))

    def enum(self, field: str) -> str:
        """A field that holds an enumeration, by its name: `OBJECT_TABLE`."""
        described = self.raw.DESCRIPTOR.fields_by_name[field]
        return str(described.enum_type.values_by_number[getattr(self.raw, field)].name)

    def child(self, field: str) -> Node | None:
        """A field that holds one node."""
        return _unwrap(getattr(self.raw, field)) if self.raw.HasField(field) else None

    def children(self, field: str) -> tuple[Node, ...]:
        """A field that holds a list of nodes."""
        return tuple(node for node in map(_unwrap, getattr(self.raw, field)) if node is not None)

    def strings(self, field: str) -> tuple[str, ...]:
        """A field that holds a list of names, of which only the strings are given."""
        return tuple(node.text("sval") for node in self.children(field) if node.kind == "String")

    def find(self, *kinds: str) -> Iterator[Node]:
        """All nodes of these kinds, this one included, parents before children; constants are passed over."""
        if not self._all:
            self._all.extend(_preorder(self.raw))
        return (Node(raw) for name, raw in self._all if name in kinds)


def _preorder(root: Any) -> Iterator[tuple[str, Any]]:
    """The names and messages of a tree, parents before children."""
    stack = [root]
    while stack:
        raw = stack.pop()
        yield raw.DESCRIPTOR.name, raw
        stack.extend(reversed(list(_messages_of(raw))))


def _unwrap(raw: Any) -> Node | None:
    """The node inside the library's generic wrapper, None for an empty one."""
    if raw.DESCRIPTOR.name != "Node":
        return Node(raw)
    which = raw.WhichOneof("node")
    return None if which is None else Node(getattr(raw, which))


def _messages_of(raw: Any) -> Iterator[Any]:
    """The children of a message that can have children themselves; constants are passed over."""
    for described, value in raw.ListFields():
        if described.message_type is None:
            continue
        for item in (value,) if hasattr(value, "ListFields") else value:
            if item.DESCRIPTOR.name != "Node":
                yield item
                continue
            which = item.WhichOneof("node")
            if which is not None and which not in _LEAVES:
                yield getattr(item, which)


@dataclass(frozen=True, slots=True)
class Fragment:
    """One statement of a script; `node` is None when the parser did not understand it."""

    text: str
    node: Node | None


def fragments(script: str) -> tuple[Fragment, ...]:
    """The statements of a script with their trees; never raises.

    Texts are trimmed of white space, comments and semicolons around them. A script that the grammar
    refuses as a whole is split by the lexer, and each piece is parsed alone.
    """
    if "\0" in script:
        return (Fragment(script, None),)
    whole = _parse(script)
    if whole is not None:
        return whole
    found: list[Fragment] = []
    for piece in lexer.split(script):
        found.extend(_parse(piece) or (Fragment(piece, None),))
    return tuple(found)


def _parse(script: str) -> tuple[Fragment, ...] | None:
    """The statements of a script, or None when grammar or library refuse it."""
    if len(script) > _UNCHECKED_LENGTH and lexer.nesting(script) > _DEEPEST:
        return None
    encoded = script.encode("utf-8", "replace")
    try:
        parsed = parse_protobuf(encoded.decode("utf-8"))
    except (PgQueryError, DecodeError, UnicodeError):
        return None
    return tuple(
        Fragment(_slice(script, encoded, raw.stmt_location, raw.stmt_len), _unwrap(raw.stmt))
        for raw in parsed.stmts
    )


def _slice(script: str, encoded: bytes, location: int, length: int) -> str:
    """The trimmed text of one statement; `location` and `length` are in bytes, 0 = to the end."""
    end = location + length if length else len(encoded)
    if len(script) == len(encoded):
        return lexer.trim(script[location:end])
    return lexer.trim(encoded[location:end].decode("utf-8"))


def relation(node: Node | None) -> str:
    """The name of a `RangeVar` as it was written, quoted where needed; empty for None."""
    return "" if node is None else qualified(node.text("schemaname"), node.text("relname"))


def name_parts(node: Node) -> tuple[str, ...]:
    """The raw parts of a name, in each of the shapes in which the grammar delivers one."""
    match node.kind:
        case "String":
            return (node.text("sval"),)
        case "List":
            return node.strings("items")
        case "TypeName":
            return node.strings("names")
        case "ObjectWithArgs":
            return node.strings("objname")
        case _:
            return ()


def object_words(object_type: str) -> str:
    """An object type (`OBJECT_FOREIGN_TABLE`) as people write it."""
    return object_type.removeprefix("OBJECT_").replace("_", " ")


def camel_words(name: str) -> str:
    """A name of the grammar (`DetachPartition`) as people write it (`DETACH PARTITION`)."""
    return "".join(f" {letter}" if letter.isupper() else letter for letter in name).strip().upper()
