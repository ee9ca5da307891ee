"""The migration files of node-pg-migrate: which ones count, in the tool's own order, as facts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backout.adapters.migrator import node_source, sources
from backout.adapters.migrator.options import shown
from backout.errors import ConfigurationError
from backout.model.migration import DownKind, FoundIn, MigrationFile

SCRIPTS = (".js", ".ts", ".cjs", ".mjs", ".cts", ".mts")
EXTENSIONS = (*SCRIPTS, ".sql")
_PREFIX = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the migrations lie and how the tool picks them."""

    project: Path
    directory: str
    """A directory, or a glob pattern when `use_glob`."""
    use_glob: bool = False
    ignore: str = ""
    sql_pairs: bool = False
    """Whether the user's own runner joins `.up.sql` and `.down.sql` (the command line never does)."""


def prefix_value(name: str) -> float | None:
    """The number that orders the file: an index, milliseconds, or a 17 digit UTC date; None without one."""
    found = _PREFIX.match(name)
    if found is None:
        return None
    digits = found.group()
    if len(digits) != 17:
        return float(digits)
    try:
        moment = datetime.strptime(digits[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() * 1000 + int(digits[14:])


def _letters(name: str) -> list[tuple[int, int, str]]:
    """A key like the tool's second criterion: punctuation ignored, numbers by value, a before A."""
    parts = re.findall(r"\d+|[^\W\d_]+", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.casefold()) for part in parts]


def _compare(one: Path, other: Path) -> int:
    left = (prefix_value(one.name) or 0.0, _letters(one.name), one.name.swapcase())
    right = (prefix_value(other.name) or 0.0, _letters(other.name), other.name.swapcase())
    return (left > right) - (left < right)


def found_paths(place: Place) -> tuple[Path, ...]:
    """All files that the tool would load, in its order. Raises `ConfigurationError` without a directory."""
    paths = _globbed(place) if place.use_glob else _listed(place)
    return tuple(sorted(paths, key=functools.cmp_to_key(_compare)))


def _listed(place: Place) -> list[Path]:
    directory = place.project / place.directory
    ignored = _pattern(f"^{place.ignore}$" if place.ignore else r"^\..*")
    try:
        return [path for path in directory.iterdir() if path.is_file() and not ignored.search(path.name)]
    except OSError as error:
        raise ConfigurationError(
            f"the migrations directory cannot be read: {error.strerror}",
            where=str(directory),
            intact="everything",
            next="set migrations.directory in backout.toml, then: backout doctor",
        ) from None


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error:
        raise ConfigurationError(
            f"the ignore pattern {text!r} cannot be read",
            where="migrations.ignore",
            intact="everything",
            next="correct migrations.ignore, then: backout doctor",
        ) from None


def _globbed(place: Place) -> list[Path]:
    ignored = {path for path in _matches(place.project, place.ignore)} if place.ignore else set()
    return [
        path for path in _matches(place.project, place.directory) if path.is_file() and path not in ignored
    ]


def _matches(project: Path, pattern: str) -> Iterable[Path]:
    """Paths of a node glob: Python's own, plus one level of `{a,b}`."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces:
        for choice in braces.group(1).split(","):
            yield from _matches(project, pattern[: braces.start()] + choice + pattern[braces.end() :])
        return
    yield from project.glob(pattern.removeprefix("./").removeprefix(f"{project}/"))


def unusable(place: Place) -> tuple[str, ...]:
    """Names of files on which the tool stops while it loads the directory, before any migration runs."""
    return tuple(p.name for p in found_paths(place) if not _usable(p))


def _usable(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and prefix_value(path.name) is not None


def migration_files(place: Place, authors: Mapping[str, str]) -> tuple[MigrationFile, ...]:
    """Every migration on disk, oldest first; files on which the tool would stop are left out."""
    groups: dict[str, list[Path]] = {}
    for path in found_paths(place):
        if _usable(path):
            groups.setdefault(name_of(path.name, place.sql_pairs), []).append(path)
    return tuple(_described(place, name, paths, authors) for name, paths in groups.items())


def name_of(file_name: str, sql_pairs: bool = False) -> str:
    """The name under which the tool records a file: without its last extension.

    So `1_x.up.sql` and `1_x.down.sql` are two migrations for the command line, `1_x.up` and `1_x.down`.
    """
    name = Path(file_name).stem
    return re.sub(r"\.(up|down)$", "", name) if sql_pairs and file_name.endswith(".sql") else name


def _described(place: Place, name: str, paths: list[Path], authors: Mapping[str, str]) -> MigrationFile:
    contents = sources.read(paths)
    names = tuple(shown(place.project, path) for path in paths)
    author = next((authors[path.name] for path in paths if path.name in authors), "")
    return describe(name, names, contents, author)


def describe(
    name: str, paths: tuple[str, ...], contents: Mapping[str, bytes], author: str, commit: str = ""
) -> MigrationFile:
    """The facts about one migration from the contents of its files (by file name)."""
    down, transactional = _judge({key: sources.text_of(value) for key, value in contents.items()})
    first = sources.text_of(next(iter(contents.values())))
    return MigrationFile(
        name=name,
        paths=paths,
        sha256=sources.digest(contents),
        down=down,
        transactional=transactional,
        found_in=FoundIn.GIT_HISTORY if commit else FoundIn.WORKTREE,
        origin=commit,
        author=author,
        header=sources.header(first),
    )


def _judge(texts: Mapping[str, str]) -> tuple[DownKind, bool | None]:
    names = list(texts)
    if not names[0].endswith(".sql"):
        text = texts[names[0]]
        return node_source.script_down(text), node_source.script_transactional(text)
    if len(names) == 1 and not names[0].endswith((".up.sql", ".down.sql")):
        return node_source.sql_down(node_source.sql_sections(texts[names[0]])[1]), True
    return _judge_pair(texts), True


def _judge_pair(texts: Mapping[str, str]) -> DownKind:
    """Halves of a pair: joined by the user's runner, else each a migration of its own without a down."""
    if len(texts) == 1:
        return node_source.sql_down(node_source.sql_sections(next(iter(texts.values())))[1])
    down = next((text for name, text in texts.items() if name.endswith(".down.sql")), None)
    return DownKind.INFERRED if down is None else node_source.sql_down(down)
