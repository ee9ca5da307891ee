"""Tables of two sibling databases side by side: the same oid and attnum, whatever their names are now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backout.postgres.catalog import Column, Schema, Table, keys_of


@dataclass(frozen=True, slots=True)
class Living:
    """A column that is there on both sides."""

    before: Column
    after: Column

    @property
    def retyped(self) -> bool:
        return self.before.type != self.after.type


@dataclass(frozen=True, slots=True)
class Group:
    """One table with its leaves (an ordinary table is its own leaf), before and after.

    A row that moved between partitions is where it was, so leaves are never compared one by one.
    """

    root: Table
    leaves: tuple[Table, ...]
    """Before; only those that store rows here (no foreign partitions)."""
    after_root: Table | None
    after_leaves: tuple[Table, ...]
    """The same tables as far as they exist, detached ones too, then the new partitions of the root."""
    living: tuple[Living, ...]
    gone: tuple[Column, ...]
    """Columns without a counterpart. Generated columns are never among them: their values follow others."""
    created: tuple[Column, ...]

    @property
    def name(self) -> str:
        """Qualified name before."""
        return self.root.qualified

    @property
    def is_gone(self) -> bool:
        return self.after_root is None and not self.after_leaves

    @property
    def keys(self) -> tuple[tuple[Living, ...], ...]:
        """Identities whose columns all live on, best first."""
        living = {pair.before.name: pair for pair in self.living}
        return tuple(
            tuple(living[name] for name in key)
            for key in keys_of(self.root)
            if all(name in living for name in key)
        )

    def column_names(self, leaf: Table, before: Schema) -> Mapping[str, str]:
        """Name in the before root -> name in this after leaf. A partition has the names of its root but
        other attnums; a detached one goes its own way."""
        by_attnum = {column.attnum: column.name for column in leaf.columns}
        known = before.by_oid.get(leaf.oid)
        if known is not None:
            return {c.name: by_attnum[c.attnum] for c in known.columns if c.attnum in by_attnum}
        return {pair.before.name: pair.after.name for pair in self.living}


def groups(before: Schema, after: Schema, ignore: frozenset[str]) -> Iterator[Group]:
    """Every table that stores rows, partitions with their root."""
    leaves = _leaves_by_root(before)
    after_leaves = _leaves_by_root(after)
    for root in before.tables:
        if root.kind not in "rp" or root.qualified in ignore or before.root_of(root) is not root:
            continue
        own = leaves.get(root.oid, ())
        still = [after.by_oid[leaf.oid] for leaf in own if leaf.oid in after.by_oid]
        new = [leaf for leaf in after_leaves.get(root.oid, ()) if leaf.oid not in before.by_oid]
        yield _group(root, own, after.by_oid.get(root.oid), (*still, *new))


def _leaves_by_root(schema: Schema) -> dict[int, tuple[Table, ...]]:
    found: dict[int, tuple[Table, ...]] = {}
    for table in schema.tables:
        if table.has_rows:
            root = schema.root_of(table).oid
            found[root] = (*found.get(root, ()), table)
    return found


def _group(
    root: Table, leaves: tuple[Table, ...], after_root: Table | None, after_leaves: tuple[Table, ...]
) -> Group:
    counterparts = _counterparts(root, leaves, after_root, after_leaves)
    own = [column for column in root.columns if not column.generated]
    living = tuple(Living(c, counterparts[c.name]) for c in own if c.name in counterparts)
    gone = tuple(c for c in own if c.name not in counterparts)
    taken = {column.attnum for column in counterparts.values()}
    reference = after_root or (after_leaves[0] if after_leaves else None)
    created = tuple(c for c in reference.columns if c.attnum not in taken) if reference else ()
    return Group(root, leaves, after_root, after_leaves, living, gone, created)


def _counterparts(
    root: Table, leaves: tuple[Table, ...], after_root: Table | None, after_leaves: tuple[Table, ...]
) -> dict[str, Column]:
    """Name before -> column after, by attnum; through a leaf when the root itself was dropped."""
    if after_root is not None:
        was, now = root, after_root
    elif after_leaves:
        now = after_leaves[0]
        was = next(leaf for leaf in leaves if leaf.oid == now.oid)
    else:
        return {}
    by_attnum = {column.attnum: column for column in now.columns}
    return {c.name: by_attnum[c.attnum] for c in was.columns if c.attnum in by_attnum}
