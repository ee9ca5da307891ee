"""How an Alembic project is set up: its ini or pyproject.toml, and where env.py takes its connection from."""

from __future__ import annotations

import ast
import configparser
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backout.errors import ConfigurationError
from backout.ports.migrator import Endpoint

_URL_NAME = re.compile(r"URL|URI|DSN|CONN|DATABASE$|^DB$", re.IGNORECASE)
_PART = re.compile(
    r"(?:^|_)(?:PG|DB|DATABASE|POSTGRES(?:QL)?|RDS|SQL)_?"
    r"(?:(?P<host>HOST(?:NAME)?|SERVER)|(?P<port>PORT)|(?P<password>PASS(?:WORD)?|PW)"
    r"|(?P<user>USER(?:NAME)?|LOGIN)|(?P<database>NAME|DB|DATABASE))$",
    re.IGNORECASE,
)
_URL_LINE = re.compile(r"^(sqlalchemy\.url\s*[=:]\s*)(.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_SPLITS = {"os": os.pathsep, "space": " ", "newline": "\n", ":": ":", ";": ";"}


@dataclass(frozen=True, slots=True)
class Setup:
    """What the configuration files say."""

    ini: Path | None
    location: Path
    """The script directory: env.py lies there."""
    versions: tuple[Path, ...]
    recursive: bool
    url: str
    """`sqlalchemy.url` of the ini, for its scheme only; never shown."""

    @property
    def env_py(self) -> Path:
        return self.location / "env.py"


@dataclass(frozen=True, slots=True)
class EnvPy:
    """What can be read of env.py without running it."""

    variables: tuple[str, ...]
    """Environment variables that it reads."""
    reads_ini_url: bool
    version_table: str
    version_schema: str
    text: str


def setup(project: Path, config: Path | None, section: str) -> Setup:
    """Read the configuration. Raises `ConfigurationError` when none says where the scripts are."""
    ini = config if config and config.suffix != ".toml" else project / "alembic.ini"
    values = _ini_values(ini, section) if ini.is_file() else {}
    if "script_location" not in values:
        toml = config if config and config.suffix == ".toml" else project / "pyproject.toml"
        values = _toml_values(toml) | values
    location = values.get("script_location")
    if not location:
        raise ConfigurationError(
            "no script_location was found in alembic.ini or pyproject.toml",
            where=str(project),
            intact="everything",
            next="set migrations.config in backout.toml, then: backout doctor",
        )
    place = _path(project, location)
    return Setup(
        ini if ini.is_file() else None,
        place,
        _version_directories(project, values) or (place / "versions",),
        values.get("recursive_version_locations", "").lower() == "true",
        values.get("sqlalchemy.url", ""),
    )


def _ini_values(ini: Path, section: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(ini.read_text(encoding="utf-8", errors="replace"))
    except (OSError, configparser.Error) as error:
        # The message of configparser may quote the line, and that line may be the connection string.
        raise ConfigurationError(
            f"{ini.name} cannot be read: {type(error).__name__}",
            where=str(ini),
            intact="everything",
            next="correct it, then: backout doctor",
        ) from None
    if not parser.has_section(section):
        return {}
    here = ini.parent.as_posix()
    return {key: value.replace("%(here)s", here).replace("%%", "%") for key, value in parser.items(section)}


def _toml_values(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    table = found.get("tool", {}).get("alembic", {}) if isinstance(found.get("tool"), dict) else {}
    here = path.parent.as_posix()
    values = {}
    for key, value in table.items() if isinstance(table, dict) else ():
        joined = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        values[str(key)] = joined.replace("%(here)s", here).replace("%%", "%")
        if key == "version_locations":
            values["path_separator"] = "newline"
    return values


def _version_directories(project: Path, values: Mapping[str, str]) -> tuple[Path, ...]:
    said = values.get("version_locations", "").strip()
    separator = values.get("path_separator") or values.get("version_path_separator") or ""
    parts = said.split(_SPLITS[separator]) if separator in _SPLITS else re.split(r"[,\s]+", said)
    return tuple(_path(project, part.strip()) for part in parts if part.strip())


def _path(project: Path, text: str) -> Path:
    """A path seen from where the tool runs; `package:directory` as a directory of the project."""
    package, colon, inside = text.partition(":")
    if colon and not Path(text).is_absolute():
        return project / package.replace(".", "/") / inside
    return project / text


def env_py(path: Path) -> EnvPy:
    """Read env.py; one that is missing or no Python reads nothing that we can see."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        module = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return EnvPy((), False, "", "", "")
    reads_ini = re.search(r"engine_from_config|get_section|sqlalchemy\.url", text) is not None
    table, schema = (_keyword(module, word) for word in ("version_table", "version_table_schema"))
    return EnvPy(tuple(dict.fromkeys(_variables(module))), reads_ini, table, schema, text)


def _variables(module: ast.Module) -> Iterator[str]:
    """Names in `os.environ["X"]`, `environ.get("X")` and `getenv("X")`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and _called(node.value) == "environ":
            yield from _text(node.slice)
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            of_environ = isinstance(function, ast.Attribute) and _called(function.value) == "environ"
            if of_environ or _called(function) == "getenv":
                yield from _text(node.args[0])


def _called(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _keyword(module: ast.Module, name: str) -> str:
    for node in ast.walk(module):
        if isinstance(node, ast.keyword) and node.arg == name:
            return next(_text(node.value), "")
    return ""


def is_url_variable(name: str) -> bool:
    """Whether a variable of env.py is likely to hold a whole connection string."""
    return _URL_NAME.search(name) is not None and part_of(name) is None


def part_of(name: str) -> str | None:
    """Which part of a connection a variable holds by its name: host, port, user, password, database."""
    found = _PART.search(name)
    return found.lastgroup if found else None


def value_of(part: str, endpoint: Endpoint) -> str:
    """That part of the endpoint."""
    return {
        "host": endpoint.host,
        "port": str(endpoint.port),
        "user": endpoint.user,
        "password": endpoint.password,
        "database": endpoint.database,
    }[part]


def redirected_ini(ini: Path, url: str) -> str:
    """The text of the ini with its URL replaced, fit to lie in another directory.

    Raises `ConfigurationError` when it speaks of several databases: which one is meant cannot be seen.
    """
    text = ini.read_text(encoding="utf-8")
    if len(_URL_LINE.findall(text)) > 1:
        raise ConfigurationError(
            f"{ini.name} names several databases (sqlalchemy.url in more than one section)",
            where=str(ini),
            intact="everything; the tool was not started",
            next="let env.py read one variable and set migrations.database_url_variable",
        )
    here = ini.parent.absolute().as_posix().replace("%", "%%")
    written = url.replace("%", "%%")
    moved = text.replace("%(here)s", here)
    return _URL_LINE.sub(lambda found: found.group(1) + written, moved)


def without_url(text: str) -> str:
    """The text of an ini without its connection string, for digests."""
    return _URL_LINE.sub(r"\1", text)
