"""Plain SQL migrations: `.up.sql`/`.down.sql` pairs and single files with `-- migrate:up/down`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from backout.adapters.migrator import sources
from backout.adapters.migrator.options import shown
from backout.errors import ConfigurationError
from backout.model.migration import DownKind, FoundIn, MigrationFile
from backout.model.statement import StatementClass
from backout.sql.parse import statements
from backout.sql.scripts import is_empty, meta_commands, split_dbmate

_PAIR = re.compile(r"(\d+)_.*\.(up|down)\.sql\Z")
_SINGLE = re.compile(r"(\d+).*\.sql\Z")


class Layout(StrEnum):
    """How the directory is laid out."""

    PAIRS = "pairs"
    """As golang-migrate and many others do; versions are numbers, so `000001` is version 1."""
    SINGLE = "single files"
    """As dbmate does; versions are the digits as written."""


@dataclass(frozen=True, slots=True)
class Half:
    """One direction of a migration."""

    text: str
    in_transaction: bool
    """Whether the file asks for a transaction around it (dbmate); pairs never get one from the tool."""


@dataclass(frozen=True, slots=True)
class Script:
    """One migration: its version as the tool records it, its files and its halves."""

    version: str
    paths: tuple[str, ...]
    contents: Mapping[str, bytes]
    layout: Layout
    up: Half | None
    down: Half | None


def layout_of(directory: Path) -> Layout:
    """Pairs when at least one file is named as half of a pair. Raises `ConfigurationError`."""
    pairs = any(_PAIR.match(path.name) for path in _listed(directory))
    return Layout.PAIRS if pairs else Layout.SINGLE


def _listed(directory: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(path for path in directory.iterdir() if path.is_file()))
    except OSError as error:
        raise ConfigurationError(
            f"the migrations directory cannot be read: {error.strerror}",
            where=str(directory),
            intact="everything",
            next="set migrations.directory in backout.toml, then: backout doctor",
        ) from None


def version_of(file_name: str, layout: Layout) -> str | None:
    """The version that a file name carries, or None when it is no migration of this layout."""
    found = (_PAIR if layout is Layout.PAIRS else _SINGLE).match(file_name)
    if found is None:
        return None
    return normal(found.group(1), layout)


def normal(version: str, layout: Layout) -> str:
    """A version as it stands in a history table, in the one form in which we compare: digits in front."""
    digits = re.match(r"\d+", version)
    if digits is None:
        return version
    return str(int(digits.group())) if layout is Layout.PAIRS else digits.group()


def scripts(project: Path, directory: Path) -> tuple[Script, ...]:
    """All migrations, oldest first: pairs by number, single files by name, as their tools do."""
    layout = layout_of(directory)
    groups: dict[str, list[Path]] = {}
    for path in _listed(directory):
        version = version_of(path.name, layout)
        if version is not None:
            groups.setdefault(version, []).append(path)
    found = [_script(project, version, paths, layout) for version, paths in groups.items()]
    if layout is Layout.PAIRS:
        found.sort(key=lambda script: int(script.version))
    return tuple(found)


def _script(project: Path, version: str, paths: list[Path], layout: Layout) -> Script:
    halves = [path.name.rsplit(".", 2)[-2] for path in paths] if layout is Layout.PAIRS else ["both"]
    if len(paths) != len(set(halves)):
        raise ConfigurationError(
            f"version {version} is given to several files: {', '.join(path.name for path in paths)}",
            where=str(paths[0].parent),
            intact="everything",
            next="give each migration its own number, then: backout doctor",
        )
    names = tuple(shown(project, path) for path in paths)
    return script_from(version, names, sources.read(paths), layout)


def script_from(
    version: str, paths: tuple[str, ...], contents: Mapping[str, bytes], layout: Layout
) -> Script:
    """A migration from the contents of its files, by file name."""
    texts = {name: sources.text_of(content) for name, content in contents.items()}
    if layout is Layout.PAIRS:
        up, down = (
            next((t for n, t in texts.items() if n.endswith(end)), None) for end in (".up.sql", ".down.sql")
        )
        up_half, down_half = (None if text is None else Half(text, False) for text in (up, down))
    else:
        split = split_dbmate(next(iter(texts.values())))
        up_half = Half(split.up, split.up_transaction) if split.has_up else None
        down_half = Half(split.down, split.down_transaction) if split.has_down else None
    return Script(version, paths, contents, layout, up_half, down_half)


def described(script: Script, authors: Mapping[str, str], commit: str = "") -> MigrationFile:
    """The facts about one migration. `authors` by file name."""
    known = [authors[Path(path).name] for path in script.paths if Path(path).name in authors]
    first = script.contents[min(script.contents, key=lambda name: name.endswith(".down.sql"))]
    return MigrationFile(
        name=script.version,
        paths=script.paths,
        sha256=sources.digest(script.contents),
        down=_down_kind(script.down),
        transactional=all(atomic(half) for half in (script.up, script.down) if half is not None),
        found_in=FoundIn.GIT_HISTORY if commit else FoundIn.WORKTREE,
        origin=commit,
        author=known[0] if known else "",
        header=sources.header(sources.text_of(first)),
    )


def _down_kind(down: Half | None) -> DownKind:
    if down is None:
        return DownKind.MISSING
    return DownKind.EMPTY if is_empty(down.text) else DownKind.PRESENT


def atomic(half: Half) -> bool:
    """Whether this half happens wholly or not at all.

    A script sent as one query is one implicit transaction, unless it holds a statement that cannot run in
    a block, or ends transactions itself.
    """
    outside = (StatementClass.NON_TRANSACTIONAL, StatementClass.COMMIT, StatementClass.ROLLBACK)
    holds = {statement.klass for statement in statements(half.text)}
    ends = [statement.klass for statement in statements(half.text)].count(StatementClass.COMMIT)
    if StatementClass.COMMIT in holds and ends == 1 and wrapped(half.text):
        holds.discard(StatementClass.COMMIT)
    return not holds.intersection(outside)


def wrapped(text: str) -> bool:
    """Whether the script brings its own BEGIN first and COMMIT last, as pairs often do."""
    classes = [statement.klass for statement in statements(text)]
    return len(classes) > 1 and (classes[0], classes[-1]) == (StatementClass.BEGIN, StatementClass.COMMIT)


def controls_transactions(text: str) -> bool:
    """Whether the script begins, commits or rolls back transactions itself."""
    own = (StatementClass.BEGIN, StatementClass.COMMIT, StatementClass.ROLLBACK)
    return any(statement.klass in own for statement in statements(text))


def refuse_psql(script: Script, half: Half) -> None:
    """Scripts go through the protocol, never through psql: `\\!` there is a shell on this machine."""
    found = meta_commands(half.text)
    if found:
        raise ConfigurationError(
            f"migration {script.version} uses {found[0]}, a command of psql that no server understands",
            where=", ".join(script.paths),
            intact="everything; no statement was sent",
            next="write it as SQL; without it, run: backout rehearse",
        )


def needed(found: Iterable[Script], version: str, half: str) -> tuple[Script, Half]:
    """The script of this version with the wanted half (`up`, `down`); `ConfigurationError` without it."""
    script = next((script for script in found if script.version == version), None)
    wanted = None if script is None else (script.down if half == "down" else script.up)
    if script is None or wanted is None:
        missing = "no file" if script is None else f"no {half}"
        raise ConfigurationError(
            f"migration {version} has {missing}",
            where="the migrations directory",
            intact="everything; no statement was sent",
            next="bring its file back, then: backout doctor",
        )
    refuse_psql(script, wanted)
    return script, wanted
