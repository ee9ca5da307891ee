"""Column definitions, types and constraints of a tree as words and traits."""

from __future__ import annotations

from collections.abc import Mapping

from backout.sql.facts import Trait
from backout.sql.names import qualified
from backout.sql.tree import Node

_SPOKEN: Mapping[str, str] = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "bpchar": "char",
}
_SERIAL = frozenset({"serial", "bigserial", "smallserial", "serial4", "serial8", "serial2"})
_KEEPS_STILL = ("a", "r", "")
"""Foreign key actions that change no row by themselves: NO ACTION, RESTRICT, none written."""


def type_words(node: Node | None) -> str:
    """A `TypeName` as people write it: `integer`, `varchar(10)`, `app.mood[]`."""
    if node is None:
        return ""
    names = node.strings("names")
    if len(names) == 2 and names[0] == "pg_catalog":
        words = _SPOKEN.get(names[1], names[1])
    else:
        words = qualified(*names)
    modifiers = [_constant(modifier) for modifier in node.children("typmods")]
    if modifiers and "interval" not in words:
        words += f"({', '.join(modifiers)})"
    return words + "[]" * len(node.children("array_bounds"))


def _constant(node: Node) -> str:
    if node.kind != "A_Const":
        return "?"
    number = node.child("ival")
    return str(number.number("ival")) if number is not None else "?"


def traits_of_column(column: Node) -> frozenset[Trait]:
    """The traits of a `ColumnDef`: what its type and its constraints bring along."""
    traits: frozenset[Trait] = frozenset()
    for constraint in column.children("constraints"):
        traits |= traits_of_constraint(constraint)
    kind = column.child("type_name")
    if kind is not None and kind.strings("names")[-1:] and kind.strings("names")[-1] in _SERIAL:
        traits |= {Trait.DEFAULT, Trait.NOT_NULL}
    return traits


def referenced_table(constraint: Node) -> Node | None:
    """The `RangeVar` that a foreign key points at; None for other constraints."""
    return constraint.child("pktable")


_OF_CONSTRAINT: Mapping[str, frozenset[Trait]] = {
    "CONSTR_NOTNULL": frozenset({Trait.NOT_NULL}),
    "CONSTR_IDENTITY": frozenset({Trait.DEFAULT, Trait.NOT_NULL}),
    "CONSTR_DEFAULT": frozenset({Trait.DEFAULT}),
    "CONSTR_GENERATED": frozenset({Trait.GENERATED}),
    "CONSTR_CHECK": frozenset({Trait.CHECK}),
    "CONSTR_PRIMARY": frozenset({Trait.PRIMARY_KEY, Trait.NOT_NULL}),
    "CONSTR_UNIQUE": frozenset({Trait.UNIQUE}),
    "CONSTR_EXCLUSION": frozenset({Trait.EXCLUDE}),
    "CONSTR_FOREIGN": frozenset({Trait.FOREIGN_KEY}),
}


def traits_of_constraint(constraint: Node) -> frozenset[Trait]:
    """The traits of one `Constraint`, of a column, table or domain; `DEFAULT NULL` is no default."""
    what = constraint.enum("contype")
    found = _OF_CONSTRAINT.get(what, frozenset())
    if what == "CONSTR_DEFAULT" and _is_null(constraint.child("raw_expr")):
        found = frozenset()
    if what == "CONSTR_FOREIGN":
        actions = (constraint.text("fk_del_action"), constraint.text("fk_upd_action"))
        if any(action not in _KEEPS_STILL for action in actions):
            found |= {Trait.ACTION}
    if constraint.flag("skip_validation"):
        found |= {Trait.NOT_VALID}
    return found


def _is_null(expression: Node | None) -> bool:
    return expression is not None and expression.kind == "A_Const" and expression.flag("isnull")
