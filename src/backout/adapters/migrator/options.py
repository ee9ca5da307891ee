"""Typed reading of what the configuration says about a migration tool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backout.errors import ConfigurationError

Options = Mapping[str, object]


def _wrong(name: str, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"migrations.{name} must be {wanted}",
        where="backout.toml",
        intact="everything; nothing was started",
        next="correct backout.toml, then: backout doctor",
    )


def text(options: Options, name: str, default: str = "") -> str:
    """A string option; raises `ConfigurationError` when it is something else."""
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise _wrong(name, "a text")
    return value


def texts(options: Options, name: str) -> tuple[str, ...]:
    """A list of strings, or one string standing for a list of one."""
    value = options.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise _wrong(name, "a list of texts")
    return tuple(str(item) for item in value)


def truth(options: Options, name: str, default: bool = False) -> bool:
    """A boolean option."""
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def table(options: Options, name: str) -> Mapping[str, str]:
    """A table of strings; a bare string stands for `{table = ...}`."""
    value = options.get(name)
    if value is None:
        return {}
    if isinstance(value, str):
        return {"table": value}
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise _wrong(name, "a table of texts")
    return {str(key): str(item) for key, item in value.items()}


def command(options: Options) -> tuple[str, ...]:
    """`command` as argv; a string is refused, because splitting it would guess at quoting."""
    value = options.get("command")
    if isinstance(value, str):
        raise _wrong("command", 'a list, e.g. ["pnpm", "exec", "node-pg-migrate"]')
    found = texts(options, "command")
    if value is not None and not found:
        raise _wrong("command", "a list with at least one word")
    return found


def inside(project: Path, name: str) -> Path:
    """A path of the configuration, relative ones seen from the project."""
    path = Path(name).expanduser()
    return path if path.is_absolute() else project / path


def shown(project: Path, path: Path) -> str:
    """The path as people write it: relative to the project where it lies inside."""
    try:
        return path.relative_to(project).as_posix()
    except ValueError:
        return path.as_posix()
