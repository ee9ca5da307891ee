"""Say what a command line of node-pg-migrate would really do; unknown options are silently ignored there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_ALIASES = {"d": "database-url-var", "m": "migrations-dir", "t": "migrations-table", "s": "schema",
            "f": "config-file", "j": "migration-file-language", "i": "version"}  # fmt: skip
_VALUED = frozenset(
    ["database-url-var", "migrations-dir", "migrations-table", "migrations-schema", "ignore-pattern",
     "config-value", "config-file", "migration-file-language", "migration-filename-format",
     "template-file-name", "envPath", "lock-value", "advisory-lock-mode", "tsconfig-paths"]
)  # fmt: skip
_SWITCHES = frozenset(
    ["use-glob", "create-schema", "create-migrations-schema", "check-order", "verbose", "decamelize",
     "dry-run", "fake", "single-transaction", "lock", "reject-unauthorized", "timestamp", "version", "help"]
)  # fmt: skip
_KNOWN = _VALUED | _SWITCHES | {"schema"}
_ACTIONS = frozenset(["up", "down", "redo", "create"])
_MEANT = {"count": "the number stands alone: `down 3`", "config": "it is `--config-file`",
          "env": "it is `--envPath FILE`", "n": "the number stands alone: `down 3`",
          "steps": "the number stands alone: `down 3`"}  # fmt: skip
_RUNNERS = frozenset(["npm", "pnpm", "yarn", "bun"])
_NUMBER = re.compile(r"-?\d+\Z")
_NOTHING = "No migrations to run, exit 0; history unchanged"


@dataclass(slots=True)
class Parsed:
    """A command line as the tool's own parser sees it."""

    positional: list[str] = field(default_factory=list)
    after_dashes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    switches: set[str] = field(default_factory=set)
    schemas: list[str] = field(default_factory=list)


def parse(arguments: Iterable[str]) -> Parsed:
    """Split arguments as the tool does: an unknown option takes the word behind it, `--` ends all options."""
    parsed = Parsed()
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            parsed.after_dashes = words
            break
        if word.startswith("-") and len(word) > 1 and not _NUMBER.match(word):
            _option(word, words, parsed)
        else:
            parsed.positional.append(word)
    return parsed


def _option(word: str, words: list[str], parsed: Parsed) -> None:
    name, equals, _ = word.lstrip("-").partition("=")
    name = _ALIASES.get(name, name)
    bare = name.removeprefix("no-")
    if bare in _SWITCHES:
        parsed.switches.add(name)
        if words and words[0] in ("true", "false") and not equals:
            words.pop(0)
    elif name == "schema":
        parsed.schemas += [word.partition("=")[2]] if equals else []
        while words and not words[0].startswith("-"):
            parsed.schemas.append(words.pop(0))
    else:
        if name not in _KNOWN:
            parsed.unknown.append(name)
        if not equals and words and (not words[0].startswith("-") or _NUMBER.match(words[0])):
            words.pop(0)


def explain(arguments: tuple[str, ...], project: Path) -> str | None:
    """What this command line would really do, or None when it does what it seems to say.

    Accepts the tool's own arguments (`down` is assumed when no action is named) and whole lines that
    start with npm, pnpm, yarn or bun and a script of package.json.
    """
    parsed = parse(real_arguments(arguments, project))
    rest = [*parsed.positional, *parsed.after_dashes]
    action, words = (rest or [""])[0], rest[1:]
    if action not in _ACTIONS:
        return f"`{action}` is no action of node-pg-migrate: it prints its help, exit 1; history unchanged"
    said = [*_dangers(parsed, action), *_effect(action, words, parsed)]
    said += [f"`--{name}` does not exist and is ignored{_hint(name)}" for name in parsed.unknown]
    return "; ".join(said) if said else None


def _hint(name: str) -> str:
    return f" ({_MEANT[name]})" if name in _MEANT else ""


def _dangers(parsed: Parsed, action: str) -> list[str]:
    said = []
    if "dry-run" in parsed.switches:
        said.append("`--dry-run` runs the migration's own code: a query sent by the code itself is executed")
    if "fake" in parsed.switches:
        said.append("`--fake` only edits the history; the schema stays as it is")
    if "no-lock" in parsed.switches:
        said.append("`--no-lock` lets a second run go on at the same time")
    if "timestamp" in parsed.switches and action == "down":
        said.append("with `--timestamp` the number is a point in time: everything from it on is reverted")
    return said


def _effect(action: str, words: list[str], parsed: Parsed) -> list[str]:
    """What the positional words make the tool do, said only when it may surprise."""
    if action not in ("up", "down"):
        return []
    if words and not _NUMBER.match(words[0]):
        name = "-".join(words)
        if parsed.after_dashes:
            return [f"`--` ends the options: the tool looks for a migration named `{name}`. {_NOTHING}"]
        return [f"it reverts or applies only the migration named `{name}`; if there is none: {_NOTHING}"]
    swallowed = [word for word in parsed.schemas if _NUMBER.match(word)]
    if swallowed and not words:
        verb = "reverts one migration" if action == "down" else "applies all pending migrations"
        return [f"`--schema` takes the {swallowed[0]} behind it as a schema: it {verb}"]
    meant = [name for name in parsed.unknown if name in ("count", "n", "steps")]
    if meant and not words:
        return ["it reverts one migration" if action == "down" else "it applies all pending migrations"]
    return []


def real_arguments(arguments: tuple[str, ...], project: Path) -> tuple[str, ...]:
    """The arguments that reach the tool: `pnpm run SCRIPT ...` is looked up in package.json.

    A line that does not name the tool stands for what comes behind `node-pg-migrate down`.
    """
    words = _expanded(arguments, project)
    behind = _behind_tool(words)
    if behind is not None:
        return behind
    named = parse(words).positional[:1]
    return words if named and named[0] in _ACTIONS else ("down", *words)


def _expanded(arguments: tuple[str, ...], project: Path) -> tuple[str, ...]:
    if not arguments or Path(arguments[0]).name not in _RUNNERS:
        return arguments
    words = list(arguments[2:] if arguments[1:2] in (("run",), ("run-script",)) else arguments[1:])
    script = scripts(project).get(words[0]) if words else None
    if script is None:
        return arguments
    # npm keeps the first `--` for itself; the others hand it on.
    skip = 2 if arguments[0] == "npm" and words[1:2] == ["--"] else 1
    return (*shell_words(script), *words[skip:])


def shell_words(line: str) -> tuple[str, ...]:
    """The words of a script's line as a shell splits them; what no shell would accept, at its blanks."""
    try:
        return tuple(shlex.split(line))
    except ValueError:
        return tuple(line.split())


def _behind_tool(words: tuple[str, ...]) -> tuple[str, ...] | None:
    for position, word in enumerate(words):
        if Path(word).name.removesuffix(".js") == "node-pg-migrate":
            return words[position + 1 :]
    return None


def scripts(project: Path) -> dict[str, str]:
    """The scripts of package.json; empty when there is none that can be read."""
    try:
        found = json.loads((project / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    named = found.get("scripts") if isinstance(found, dict) else None
    return {k: v for k, v in named.items() if isinstance(v, str)} if isinstance(named, dict) else {}


def script_warnings(project: Path) -> tuple[str, ...]:
    """One line for each script of package.json whose flags node-pg-migrate ignores."""
    said = []
    for name, line in scripts(project).items():
        for command in re.split(r"&&|\|\||;", line):
            behind = _behind_tool(shell_words(command))
            unknown = parse(behind).unknown if behind else []
            said += [f"package.json: script {name}: `--{flag}` is ignored{_hint(flag)}" for flag in unknown]
    return tuple(said)
