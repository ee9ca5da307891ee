"""The contract type `rooms` of .importlinter: one line a room, with all that it may import.

The contract types that import-linter brings name what is forbidden, and break when a module that they name
does not exist yet. Here what is allowed is named, so whatever nobody thought of is forbidden.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

ROOT_PACKAGE = "backout"


class RoomsContract(Contract):
    """Each module's direct imports stay within the line of its room.

    `rooms` has one line per room, `room: import import …`, a room being the module's path below the root
    package. The lines of all rooms that a module lies in are added up. The standard library and the root
    package itself are always allowed.
    """

    type_name = "rooms"
    rooms = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at every direct import of every module of ours."""
        table = dict(read_line(line) for line in self.rooms)  # type: ignore[attr-defined]
        broken = list(violations(graph, table))
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line per import that leads out of its room."""
        for line in check.metadata["broken"]:
            output.print_error(line)


def read_line(line: str) -> tuple[str, frozenset[str]]:
    """`room: a b` as (room, {a, b})."""
    room, _, allowed = line.partition(":")
    return room.strip(), frozenset(allowed.split())


def rooms_of(module: str) -> list[str]:
    """`backout.postgres.proxy.session` → postgres, postgres.proxy, postgres.proxy.session."""
    inside = module.split(".")[1:] or ["__init__"]
    return [".".join(inside[:length]) for length in range(1, len(inside) + 1)]


def outermost(module: str) -> str:
    """The room of a module of ours, the distribution's top-level name of any other."""
    first, *rest = module.split(".")
    return rest[0] if first == ROOT_PACKAGE and rest else first


def violations(graph: ImportGraph, table: dict[str, frozenset[str]]) -> Iterator[str]:
    """A sentence for every direct import that no line allows, in order of the importing module."""
    ours = (m for m in sorted(graph.modules) if m == ROOT_PACKAGE or m.startswith(f"{ROOT_PACKAGE}."))
    for module in ours:
        rooms = rooms_of(module)
        line = frozenset[str]().union(*(table.get(room, frozenset()) for room in rooms))
        allowed = line | {rooms[0], ROOT_PACKAGE} | sys.stdlib_module_names
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            if outermost(imported) not in allowed:
                yield f"{module} -> {imported} ({rooms[0]} may import: {' '.join(sorted(line))})"
