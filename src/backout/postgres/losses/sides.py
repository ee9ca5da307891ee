"""Turn a group of tables into the two sides of a comparison: the same expressions in the same order."""

from __future__ import annotations

import re
from collections.abc import Sequence

from psycopg import sql

from backout.postgres.catalog import Column, Schema, Table
from backout.postgres.compare import non_null_cells
from backout.postgres.connect import Session
from backout.postgres.fingerprint import TEXT, Form, forms_of, text_hash
from backout.postgres.losses.groups import Group, Living
from backout.postgres.source import Side, Source

_NOTHING = sql.SQL("NULL::pg_catalog.text")
_JSON = frozenset({"json", "jsonb"})
_INTEGERS = frozenset({"smallint", "integer", "bigint"})
_TEXTS = ("text", "character varying", "character(", '"char"', "name")
_CONSTANT = re.compile(
    r"""\(*(?:-?\d+(?:\.\d+)?|'(?:[^']|'')*'|true|false|ARRAY\[\])\)*"""
    r"""(?:::[\w\s."\[\](),]+)?\)*(?:::[\w\s."\[\](),]+)?"""
)


def constant(default: str) -> bool:
    """Whether a default is a literal: only then its value is the same in every row and at every time."""
    return bool(default) and _CONSTANT.fullmatch(default) is not None


def only(table: Table) -> sql.Composable:
    """`ONLY schema.table`: inheriting tables are compared by themselves."""
    return sql.SQL("ONLY {}").format(sql.Identifier(table.schema, table.name))


def whole(table: Table) -> sql.Composable:
    """A table with its partitions, without inheriting tables."""
    return sql.Identifier(table.schema, table.name) if table.kind == "p" else only(table)


class Expressions:
    """The comparable form of each column on each side.

    With `casts` a retyped column is compared as the new type, and counts as unchanged only when it also
    comes back through the old type; without (the cast fails or the type is unknown on the before side)
    both are compared in their text form.
    """

    def __init__(self, before: Session, after: Session, group: Group, *, casts: bool) -> None:
        columns = [*group.root.columns, *(column for leaf in group.leaves for column in leaf.columns)]
        self.before_forms = forms_of(before, (column.type_oid for column in columns))
        now = [c for leaf in (group.after_root, *group.after_leaves) if leaf for c in leaf.columns]
        self.after_forms = forms_of(after, (column.type_oid for column in now))
        self.casts = casts

    def row(self, pair: Living, column: sql.Composable, *, is_before: bool) -> sql.Composable:
        """As it enters the fingerprint."""
        if pair.retyped:
            return self.cell(pair, column, is_before=is_before)
        return self._form(pair, is_before=is_before).of(column)

    def cell(self, pair: Living, column: sql.Composable, *, is_before: bool) -> sql.Composable:
        """As its text form is compared."""
        if not pair.retyped:
            return column
        if {pair.before.type, pair.after.type} <= _JSON:
            return sql.SQL("({})::pg_catalog.jsonb::pg_catalog.text").format(column)
        if is_before and self.casts:
            return _there_and_back(column, pair.before.type, pair.after.type)
        return TEXT.of(column)

    def key(self, pair: Living, column: sql.Composable, *, is_before: bool) -> sql.Composable:
        """As the identity of a row; a retyped key in the type that it had before."""
        old, new = pair.before.type, pair.after.type
        if not pair.retyped:
            return self._form(pair, is_before=is_before).of(column)
        if {old, new} <= _INTEGERS:
            return Form("bigint").of(column)
        both_text = old.startswith(_TEXTS) and new.startswith(_TEXTS)
        if is_before or both_text or not self.casts:
            return TEXT.of(column)
        return TEXT.of(Form(old).of(column))

    def key_type(self, pair: Living) -> str:
        """The type that `key` yields on both sides."""
        if not pair.retyped:
            return pair.before.type
        return "bigint" if {pair.before.type, pair.after.type} <= _INTEGERS else "text"

    def _form(self, pair: Living, *, is_before: bool) -> Form:
        forms, column = (self.before_forms, pair.before) if is_before else (self.after_forms, pair.after)
        return forms.get(column.type_oid, TEXT)


def _there_and_back(column: sql.Composable, old: str, new: str) -> sql.Composable:
    """The value as the new type shows it; marked when the way back does not lead to the same text."""
    return sql.SQL(
        "CASE WHEN ({c})::pg_catalog.text IS NULL THEN NULL"
        ' WHEN (({c})::{new})::{old}::pg_catalog.text = ({c})::pg_catalog.text COLLATE "C"'
        " THEN (({c})::{new})::pg_catalog.text"
        " ELSE 'does not come back: ' || ({c})::pg_catalog.text END"
    ).format(c=column, old=sql.SQL(old), new=sql.SQL(new))


def before_side(
    session: Session, group: Group, leaves: Sequence[Table], key: tuple[Living, ...], forms: Expressions
) -> Side:
    """The before side over these leaves; its extra columns are those that are gone."""

    def source(leaf: Table) -> Source:
        return Source(
            oid=leaf.oid,
            relation=only(leaf),
            key=tuple(forms.key(p, sql.Identifier(p.before.name), is_before=True) for p in key),
            row=tuple(forms.row(p, sql.Identifier(p.before.name), is_before=True) for p in group.living),
            cells=tuple(forms.cell(p, sql.Identifier(p.before.name), is_before=True) for p in group.living),
            extra=tuple(sql.Identifier(column.name) for column in group.gone),
        )

    return Side(session, tuple(source(leaf) for leaf in leaves))


def after_side(
    session: Session,
    group: Group,
    leaves: Sequence[Table],
    key: tuple[Living, ...],
    forms: Expressions,
    before: Schema,
) -> Side:
    """The after side over these leaves; its extra columns are those that the down made."""

    def source(leaf: Table) -> Source:
        names = group.column_names(leaf, before)
        present = {column.name for column in leaf.columns}

        def at(pair: Living) -> sql.Composable:
            name = names.get(pair.before.name)
            return sql.Identifier(name) if name is not None else _NOTHING

        return Source(
            oid=leaf.oid,
            relation=only(leaf),
            key=tuple(forms.key(p, at(p), is_before=False) for p in key),
            row=tuple(forms.row(p, at(p), is_before=False) for p in group.living),
            cells=tuple(forms.cell(p, at(p), is_before=False) for p in group.living),
            extra=tuple(
                sql.Identifier(column.name) if column.name in present else _NOTHING
                for column in group.created
            ),
        )

    return Side(session, tuple(source(leaf) for leaf in leaves))


def default_hashes(session: Session, columns: Sequence[Column], seed: int) -> dict[int, bytes]:
    """Position -> the column's default as `Cells` would hold it, where it is a constant."""
    known = [(i, column) for i, column in enumerate(columns) if constant(column.default)]
    if not known:
        return {}
    values = [text_hash(default_text(column), seed) for _, column in known]
    row = session.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(values))).fetchone()
    assert row is not None
    pairs = zip(known, row, strict=True)
    return {i: value.to_bytes(8, signed=True) for (i, _), value in pairs if value is not None}


def default_text(column: Column) -> sql.Composable:
    """A constant default as the text that the column would show."""
    return sql.SQL("(({})::{})::pg_catalog.text").format(sql.SQL(column.default), sql.SQL(column.type))


def count(session: Session, table: Table, columns: Sequence[Column]) -> tuple[int, int]:
    """(rows, non-NULL values of these columns) of a table with its partitions."""
    cells = [sql.Identifier(column.name) for column in columns]
    row = session.execute(
        sql.SQL("SELECT pg_catalog.count(*), {} FROM {}").format(non_null_cells(cells), whole(table))
    ).fetchone()
    assert row is not None
    rows, values = row
    return int(rows), int(values)
