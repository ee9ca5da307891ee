"""Look at a project for its migration tool: files only, nothing is run, nothing rough makes it fall over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backout.adapters.migrator import alembic_config, node_explain, node_files, sql_files
from backout.adapters.migrator.node_explain import shell_words
from backout.adapters.migrator.node_files import Place
from backout.adapters.migrator.options import shown
from backout.adapters.migrator.sql_files import Layout
from backout.errors import BackoutError
from backout.sql.scripts import split_dbmate

_NODE_CONFIGS = (
    "database/migration-config", "migration-config", "migrate-config", "config/migrate", "config/migrations",
    "node-pg-migrate.config", ".node-pg-migrate", "database.config",
)  # fmt: skip
_CONFIG_ENDINGS = (".json", ".js", ".cjs", ".mjs", ".ts")
_DIRECTORIES = (
    "db/migrations",
    "migrations",
    "database/migrations",
    "db/migrate",
    "sql/migrations",
    "src/migrations",
)
_LONGEST = 1024 * 1024
"""Bytes of the largest file that is looked into."""


@dataclass(frozen=True, slots=True)
class Detected:
    """A migration tool that a project seems to use, fit for `[target.NAME.migrations]`."""

    tool: str
    """`node-pg-migrate`, `sql` or `alembic`."""
    directory: str
    config: str
    """Path of the tool's configuration file, or empty."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further keys, e.g. `config_value`, `table`, `database_url_variable`."""
    warnings: tuple[str, ...] = ()
    """One line each, for people: what is rough or will not do what it seems to."""


def detect(project: Path) -> tuple[Detected, ...]:
    """Every tool found, the likeliest first. Never raises, never runs code of the project."""
    found: list[Detected] = []
    looks: tuple[Callable[[Path], Detected | None], ...] = (_node_pg_migrate, _alembic, _sql)
    for look in looks:
        try:
            seen = look(project)
        except (OSError, ValueError, TypeError, RecursionError, BackoutError):
            continue  # What cannot be understood is not the tool; `doctor` speaks about the one chosen.
        if seen is not None and all(seen.directory != other.directory for other in found):
            found.append(seen)
    return tuple(found)


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _LONGEST:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _node_pg_migrate(project: Path) -> Detected | None:
    described = _json(project / "package.json")
    scripts = node_explain.scripts(project)
    lines = [line for line in scripts.values() if "node-pg-migrate" in line]
    if not lines and not _depends(described, "node-pg-migrate") and not _written_for_it(project):
        return None
    flags = dict(pair for line in lines for pair in _flags(line))
    config = flags.get("config-file") or _first_config(project)
    settings = _settings_of(project, config, flags.get("config-value", "db"))
    directory = settings.get("migrations-dir") or flags.get("migrations-dir") or _node_directory(project)
    options = {
        "table": settings.get("migrations-table") or flags.get("migrations-table", ""),
        "migrations_schema": settings.get("migrations-schema") or flags.get("migrations-schema", ""),
        "config_value": flags.get("config-value", ""),
        "database_url_variable": flags.get("database-url-var", ""),
        "env_file": flags.get("envPath", ""),
    }
    warnings = [
        *node_explain.script_warnings(project),
        *_node_warnings(project, described, config, directory),
    ]
    kept = {key: value for key, value in options.items() if value}
    return Detected("node-pg-migrate", directory, config, kept, tuple(warnings))


def _written_for_it(project: Path) -> bool:
    """In a monorepo the dependency stands somewhere above; the files themselves tell."""
    files = sorted((project / _node_directory(project)).glob("[0-9]*.[jtcm]*s"))
    return any(re.search(r"\bup\b[^\n]*\bpgm\b", _text(file)) for file in files[:3])


def _json(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _depends(described: Mapping[str, object], name: str) -> bool:
    tables = (described.get(key) for key in ("dependencies", "devDependencies", "optionalDependencies"))
    return any(isinstance(table, Mapping) and name in table for table in tables)


def _flags(line: str) -> Iterator[tuple[str, str]]:
    """The tool's real flags with their values in a script's line."""
    short = {"-f": "config-file", "-m": "migrations-dir", "-t": "migrations-table", "-d": "database-url-var"}
    words = shell_words(line.partition("node-pg-migrate")[2])
    for position, word in enumerate(words):
        name, equals, value = word.removeprefix("--").partition("=")
        name = short.get(word, name)
        following = words[position + 1] if position + 1 < len(words) else ""
        if word.startswith("-") and (equals or not following.startswith("-")):
            yield name, value if equals else following


def _first_config(project: Path) -> str:
    names = (f"{base}{ending}" for base in _NODE_CONFIGS for ending in _CONFIG_ENDINGS)
    for name in names:
        text = _text(project / name)
        if "migrations-" in text or '"url"' in text or "DATABASE_URL" in text:
            return name
    return ""


def _settings_of(project: Path, config: str, section: str) -> Mapping[str, str]:
    """Plain texts of the configuration file, read and never evaluated."""
    text = _text(project / config) if config else ""
    if config.endswith(".json"):
        whole = _json(project / config)
        part = whole.get(section, whole)
        return {k: v for k, v in part.items() if isinstance(v, str)} if isinstance(part, Mapping) else {}
    pairs = re.findall(r"""['"]?(migrations-[a-z]+)['"]?\s*:\s*['"]([^'"\n]+)['"]""", text)
    return {**dict(_joined(project, (project / config).parent, text)), **dict(pairs)}


def _joined(project: Path, here: Path, text: str) -> Iterator[tuple[str, str]]:
    """Paths that a configuration puts together: `path.join(__dirname, '..', 'db')`, texts only."""
    call = r"""['"]?(migrations-[a-z]+)['"]?\s*:\s*(?:path\.)?(?:join|resolve)\(([^()]*)\)"""
    for name, arguments in re.findall(call, text):
        parts = [part.strip() for part in arguments.split(",") if part.strip()]
        base = here if parts[:1] == ["__dirname"] else project
        texts = [re.fullmatch(r"""(['"])([^'"]*)\1""", part) for part in parts if part != "__dirname"]
        if all(texts):
            yield (
                name,
                shown(project.resolve(), base.joinpath(*(found[2] for found in texts if found)).resolve()),
            )


def _node_directory(project: Path) -> str:
    for name in ("migrations", *_DIRECTORIES):
        if any((project / name).glob("[0-9]*.[jtcm]*s")) or any((project / name).glob("[0-9]*.sql")):
            return name
    return "migrations"


def _node_warnings(
    project: Path, described: Mapping[str, object], config: str, directory: str
) -> Iterator[str]:
    if not described:
        yield "package.json cannot be read"
    text = _text(project / config) if config else ""
    if config and not text:
        yield f"{config}: named in a script, but not there"
    if re.search(r"\bthrow\b|process\.exit", text):
        yield f"{config}: throws when a variable is not set, even for --help"
    if re.search(r"\bssl\b|sslmode", text):
        yield f"{config}: demands TLS; the proxy speaks it and brings its own authority"
    if not (project / directory).is_dir():
        yield f"{directory}: no such directory"
        return
    stray = node_files.unusable(Place(project, directory))
    if stray:
        yield f"{directory}/{stray[0]}: no number in front; node-pg-migrate stops at it"


def _alembic(project: Path) -> Detected | None:
    config = "alembic.ini" if (project / "alembic.ini").is_file() else ""
    if not config and "[tool.alembic]" not in _text(project / "pyproject.toml"):
        return None
    setup = alembic_config.setup(project, None, "alembic")
    env_py = alembic_config.env_py(setup.env_py)
    urls = [name for name in env_py.variables if alembic_config.is_url_variable(name)]
    options = {"database_url_variable": urls[0]} if len(urls) == 1 else {}
    warnings = []
    if not env_py.text:
        warnings.append(f"{shown(project, setup.env_py)}: cannot be read as Python")
    elif not env_py.variables and not (setup.url and env_py.reads_ini_url):
        warnings.append("env.py: where its connection comes from cannot be seen; set database_url_variable")
    return Detected("alembic", shown(project, setup.versions[0]), config, options, tuple(warnings))


def _sql(project: Path) -> Detected | None:
    for name in _DIRECTORIES:
        directory = project / name
        names = sorted(path.name for path in directory.glob("*.sql")) if directory.is_dir() else []
        if not names:
            continue
        layout = sql_files.layout_of(directory)
        if layout is Layout.SINGLE and not any(split_dbmate(_text(directory / n)).has_up for n in names):
            continue
        return Detected("sql", name, "", {}, tuple(_sql_warnings(name, names, layout)))
    return None


def _sql_warnings(directory: str, names: list[str], layout: Layout) -> Iterator[str]:
    strange = [name for name in names if sql_files.version_of(name, layout) is None]
    if strange:
        yield f"{directory}/{strange[0]}: no migration by its name; it is left out"
    if layout is Layout.PAIRS:
        downs = {name.removesuffix(".down.sql") for name in names}
        alone = [n for n in names if n.endswith(".up.sql") and n.removesuffix(".up.sql") not in downs]
        if alone:
            yield f"{directory}/{alone[-1]}: has no down"
