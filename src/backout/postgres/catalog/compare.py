"""Compare two schemas, and the digest that stands for one: without oids, without column order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

from backout.model.loss import SchemaDifference
from backout.postgres.catalog.schema import Schema, Table
from backout.postgres.names import quoted

Facts = dict[str, str]
"""What is said of one object: attribute -> value. Two objects are equal when these are."""

_NESTED = frozenset({"column", "constraint", "index", "trigger", "policy", "rule", "statistics", "sequence"})
_CONSTRAINTS = {"p": "primary key", "u": "unique", "f": "foreign key", "c": "check", "x": "exclusion"}
_SHOWN = 120


def portable(schema: Schema) -> Schema:
    """The same schema without what a copy on another server cannot share: owners, privileges, versions of
    extensions, and whether foreign keys were validated (a copy of part of the data cannot check them)."""
    return replace(
        schema,
        tables=tuple(_portable_table(table) for table in schema.tables),
        views=tuple(_portable_table(view) for view in schema.views),
        others=tuple(
            replace(d, owner="", privileges="", text="" if d.kind == "extension" else d.text)
            for d in schema.others
            if d.kind != "default privileges"
        ),
    )


def _portable_table(table: Table) -> Table:
    return replace(
        table,
        owner="",
        privileges="",
        columns=tuple(replace(column, privileges="") for column in table.columns),
        constraints=tuple(replace(k, validated=k.validated or k.kind == "f") for k in table.constraints),
    )


def digest(schema: Schema, ignore: frozenset[str] = frozenset()) -> str:
    """SHA-256 (hex) of a schema; equal exactly when `differences` finds none.

    `ignore` holds qualified names of tables (the migration tool's history), with all that belongs to them.
    """
    text = json.dumps(_objects(schema, ignore), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def portable_digest(schema: Schema, ignore: frozenset[str] = frozenset()) -> str:
    """Digest of what a copy on another server shares: for comparing a production with its copies."""
    return digest(portable(schema), ignore)


def differences(
    before: Schema, after: Schema, ignore: frozenset[str] = frozenset()
) -> tuple[SchemaDifference, ...]:
    """What `after` has more, less or otherwise; sorted by object. Column order is never among it.

    `object` is the kind and the qualified name: `column public.users.email`, `index public.users_email_key`.
    Parts of a table that came or went as a whole are not listed apart.
    """
    old, new = _objects(before, ignore), _objects(after, ignore)
    gone = {name.removeprefix("table ") for name in old.keys() - new.keys() if name.startswith("table ")}
    made = {name.removeprefix("table ") for name in new.keys() - old.keys() if name.startswith("table ")}
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            if old[name].get("of") not in gone:
                found.append(SchemaDifference(name, "removed", _brief(old[name])))
        elif name not in old:
            if new[name].get("of") not in made:
                found.append(SchemaDifference(name, "added", _brief(new[name])))
        elif old[name] != new[name]:
            found.append(SchemaDifference(name, "changed", _changed(old[name], new[name])))
    return tuple(found)


def order_changes(
    before: Schema, after: Schema, ignore: frozenset[str] = frozenset()
) -> tuple[SchemaDifference, ...]:
    """Tables whose common columns stand in another order, with change `order`.

    Told apart because it is no difference: a column that was dropped can only come back as the last one.
    """
    found = []
    for table in before.tables:
        other = after.by_name.get(table.qualified)
        if other is None or table.qualified in ignore:
            continue
        common = {c.name for c in table.columns} & {c.name for c in other.columns}
        was, now = ([c.name for c in t.columns if c.name in common] for t in (table, other))
        if was != now:
            detail = f"{', '.join(was)} -> {', '.join(now)}"
            found.append(SchemaDifference(f"table {table.qualified}", "order", detail))
    return tuple(found)


def _objects(schema: Schema, ignore: frozenset[str]) -> dict[str, Facts]:
    objects: dict[str, Facts] = {}
    for relation in (*schema.tables, *schema.views):
        if relation.qualified not in ignore:
            objects |= dict(_of_table(schema, relation))
    for other in schema.others:
        if other.table in ignore:
            continue
        where = (
            f"{other.name} on {other.table}" if other.kind in {"trigger", "policy", "rule"} else other.name
        )
        objects[f"{other.kind} {where}"] = _spoken(
            of=other.table,
            definition=other.text,
            owner=other.owner,
            privileges=other.privileges,
            comment=other.comment,
        )
    return objects


def _of_table(schema: Schema, table: Table) -> Iterator[tuple[str, Facts]]:
    word = {"v": "view", "m": "materialized view"}.get(table.kind, "table")
    above = [schema.by_oid.get(oid) for oid in table.parents]
    yield (
        f"{word} {table.qualified}",
        _spoken(
            kind=table.kind,
            persistence=table.persistence,
            owner=table.owner,
            privileges=table.privileges,
            comment=table.comment,
            replica_identity="d" if table.identity_lent else table.replica_identity,
            row_security=_yes(table.row_security),
            force_row_security=_yes(table.force_row_security),
            options=table.options,
            parents=", ".join(t.qualified for t in above if t is not None),
            bound=table.bound,
            partition_key=table.partition_key,
            definition=table.definition,
        ),
    )
    if table.kind not in "vm":
        yield from _columns(table)
    for constraint in table.constraints:
        name = f"constraint {table.qualified}.{quoted(constraint.name)}"
        kind = _CONSTRAINTS.get(constraint.kind, constraint.kind)
        facts = _spoken(
            of=table.qualified,
            definition=constraint.definition,
            validated=_yes(constraint.validated),
            comment=constraint.comment,
        )
        yield name, facts | {"kind": kind}
    for index in table.indexes:
        name = f"index {quoted(table.schema)}.{quoted(index.name)}"
        facts = _spoken(
            of=table.qualified,
            definition=index.definition,
            valid=_yes(index.valid),
            # How far a build came that broke off is no property of the schema.
            ready=_yes(index.ready) if index.valid else "",
            replica_identity=_yes(index.identity),
            comment=index.comment,
        )
        yield name, facts


def _columns(table: Table) -> Iterator[tuple[str, Facts]]:
    for column in table.columns:
        facts = _spoken(
            of=table.qualified,
            type=column.type,
            not_null=_yes(column.not_null),
            default=column.default,
            generated=column.generated,
            identity=column.identity,
            collation=column.collation,
            storage=column.storage,
            privileges=column.privileges,
            comment=column.comment,
        )
        yield f"column {table.qualified}.{quoted(column.name)}", facts


def _spoken(**facts: str) -> Facts:
    return {name: value for name, value in facts.items() if value}


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _brief(facts: Facts) -> str:
    return _short(facts.get("type") or facts.get("definition") or "")


def _changed(old: Facts, new: Facts) -> str:
    parts = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name, "none"), new.get(name, "none")
        if was != now:
            parts.append(f"{name.replace('_', ' ')}: {_short(was)} -> {_short(now)}")
    return "; ".join(parts)


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _SHOWN else one_line[: _SHOWN - 1] + "…"
