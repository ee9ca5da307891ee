"""Alembic's revision scripts, read as syntax and never imported: the chain and the way back of each."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backout.adapters.migrator import sources
from backout.adapters.migrator.options import shown
from backout.errors import ConfigurationError
from backout.model.migration import DownKind, FoundIn, MigrationFile


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision script."""

    revision: str
    parents: tuple[str, ...]
    """Its down_revision and depends_on; more than one is a merge."""
    path: str
    content: bytes
    down: DownKind
    transactional: bool


def parse(path: str, content: bytes) -> Revision | None:
    """The revision in this file, or None when it is none or cannot be read as Python."""
    try:
        module = ast.parse(content)
    except (SyntaxError, ValueError):
        return None
    values = _assigned(module)
    name = _constant(values.get("revision"))
    if not name:
        return None
    parents = (*_names(values.get("down_revision")), *_names(values.get("depends_on")))
    return Revision(name[0], parents, path, content, _down_kind(module), not _leaves_transaction(module))


def _assigned(module: ast.Module) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for node in module.body:
        if isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def _constant(node: ast.expr | None) -> tuple[str, ...]:
    return (node.value,) if isinstance(node, ast.Constant) and isinstance(node.value, str) else ()


def _names(node: ast.expr | None) -> tuple[str, ...]:
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(name for element in node.elts for name in _constant(element))
    return _constant(node)


def _down_kind(module: ast.Module) -> DownKind:
    functions = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "downgrade"]
    if not functions:
        return DownKind.MISSING
    body = [node for node in functions[-1].body if not _does_nothing(node)]
    if not body:
        return DownKind.EMPTY
    return DownKind.REFUSED if isinstance(body[0], ast.Raise) else DownKind.PRESENT


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Return):
        return node.value is None
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _leaves_transaction(module: ast.Module) -> bool:
    """`op.get_context().autocommit_block()` commits what came before it."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "autocommit_block" for node in ast.walk(module)
    )


def read(project: Path, directories: Iterable[Path], recursive: bool) -> tuple[Revision, ...]:
    """All revisions on disk, in no order. Raises `ConfigurationError` when no directory can be read."""
    directories = tuple(directories)
    if not any(directory.is_dir() for directory in directories):
        raise ConfigurationError(
            "the directory of the revision scripts cannot be read",
            where=", ".join(map(str, directories)),
            intact="everything",
            next="set migrations.config (alembic.ini) in backout.toml, then: backout doctor",
        )
    pattern = "**/*.py" if recursive else "*.py"
    paths = sorted({path for directory in directories for path in directory.glob(pattern)})
    contents = ((path, sources.read([path])[path.name]) for path in paths)
    found = (parse(shown(project, path), content) for path, content in contents)
    return tuple(revision for revision in found if revision is not None)


def chain(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """The revisions, oldest first. Raises `ConfigurationError` unless they make one straight line."""
    by_parent: dict[str, list[Revision]] = {}
    known = {revision.revision: revision for revision in revisions}
    for revision in known.values():
        if len(revision.parents) > 1:
            raise _not_straight(f"{revision.revision} merges {' and '.join(revision.parents)}")
        by_parent.setdefault(revision.parents[0] if revision.parents else "", []).append(revision)
    for parent, children in by_parent.items():
        if len(children) > 1:
            names = " and ".join(sorted(child.revision for child in children))
            raise _not_straight(f"{names} both follow {parent or 'the beginning'}")
    return _followed(by_parent, known)


def _followed(by_parent: Mapping[str, list[Revision]], known: Mapping[str, Revision]) -> tuple[Revision, ...]:
    starts = [parent for parent in by_parent if parent not in known]
    if len(starts) > 1:
        gone = " and ".join(sorted(start for start in starts if start))
        raise ConfigurationError(
            f"revision {gone} is missing: another follows it, and Alembic stops at that",
            where="the revision files of Alembic",
            intact="everything",
            next="bring its file back, then: backout doctor",
        )
    ordered: list[Revision] = []
    following = by_parent.get(starts[0], []) if starts else []
    while following and len(ordered) < len(known):
        ordered.append(following[0])
        following = by_parent.get(ordered[-1].revision, [])
    return tuple(ordered)


def _not_straight(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the revisions are not one straight line: {why}",
        where="the revision files of Alembic",
        intact="everything",
        next="branches and merges are not supported; undo this one by hand, or by restore",
    )


def described(revision: Revision, authors: Mapping[str, str], commit: str = "") -> MigrationFile:
    """The facts about one revision; `authors` by file name."""
    name = Path(revision.path).name
    return MigrationFile(
        name=revision.revision,
        paths=(revision.path,),
        sha256=sources.digest({name: revision.content}),
        down=revision.down,
        transactional=revision.transactional,
        found_in=FoundIn.GIT_HISTORY if commit else FoundIn.WORKTREE,
        origin=commit,
        author=authors.get(name, ""),
        header=sources.header(sources.text_of(revision.content)),
    )
