"""The text of a first backout.toml: commented, valid at once, with what only a person knows as TODO."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from backout.phases.readiness.plan import PlannedCheck

_TODO = re.compile(r"#\s*TODO\s+([^:]+):")
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_LOWER = ("staging", "stage", "stg"), ("test", "ci"), ("development", "dev")
# What each policy asks for when backout.toml says nothing else.
_DEMANDS = {"production": "an SRE and the migration's owner, two people"}


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything that the file will say."""

    target: str
    environment: str
    because: str
    """On what the environment was guessed."""
    dsn_env: str
    dsn_note: str
    """What a person has to do about the variable; empty when it worked."""
    tool: str
    migrations: Mapping[str, str]
    """Keys of `[target.NAME.migrations]` besides the tool."""
    migrations_note: str
    checks: tuple[PlannedCheck, ...]
    left_out: tuple[str, ...]
    """Tables without a check because the newest migration made them."""


def environment_of(local: bool | None, names: Iterable[str]) -> tuple[str, str]:
    """(environment, reason): production unless a name or the host says otherwise.

    `local` is None when no server was asked. A guess too strict costs a question, one too lax a night.
    """
    words = {word for name in names for word in re.split(r"[^a-z]+", name.lower()) if word}
    for family in _LOWER:
        said = words & set(family)
        if said:
            return family[0], f"a name says {min(said)}"
    if words & {"prod", "production", "live"}:
        return "production", "a name says so"
    if local:
        return "development", "the server is on this machine; write production if people depend on it"
    return "production", "nothing says otherwise"


def target_name(wanted: str | None, database: str, project: str, environment: str) -> str:
    """The wanted name, else database (or project) and environment: `heroes-production`."""
    if wanted:
        return wanted
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", database or project).strip("-") or "main"
    return base if base.endswith(environment) else f"{base}-{environment}"


def text_of(draft: Draft) -> str:
    """The file."""
    parts = (_head(draft), _migrations(draft), _snapshot(draft), _checks(draft), _people(draft))
    return "\n".join(line for part in parts for line in part) + "\n"


def todo_of(text: str) -> tuple[tuple[str, int], ...]:
    """(what, line number) of every TODO."""
    lines = enumerate(text.splitlines(), start=1)
    return tuple((found.group(1).strip(), number) for number, line in lines if (found := _TODO.search(line)))


def _key(name: str) -> str:
    return name if _BARE.match(name) else _quoted(name)


def _quoted(value: str) -> str:
    """A TOML basic string; it escapes as JSON does, and DEL besides."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(draft: Draft, *names: str) -> str:
    return f"[{'.'.join(('target', _key(draft.target), *map(_key, names)))}]"


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def _head(draft: Draft) -> Iterator[str]:
    yield "# How this database is backed out of a bad migration. Written by `backout init` from what it saw;"
    yield "# change any line, then: backout doctor. All keys: backout schema config"
    yield ""
    yield _table(draft)
    demands = _DEMANDS.get(draft.environment, "anybody enrolled")
    yield f"# Guessed: {_one_line(draft.because)}. Approvals come from {demands}."
    yield f"environment = {_quoted(draft.environment)}"
    yield ""
    yield _table(draft, "dsn")
    yield "# The name of a variable. Its value is read each time, never stored and never shown."
    if draft.dsn_note:
        yield f"# TODO DSN: {_one_line(draft.dsn_note)}"
    yield f"operate = {{ env = {_quoted(draft.dsn_env)} }}"
    yield ""


def _migrations(draft: Draft) -> Iterator[str]:
    yield _table(draft, "migrations")
    if draft.migrations_note:
        yield f"# {_one_line(draft.migrations_note)}"
    if not draft.tool:
        yield "# TODO migration tool: node-pg-migrate, sql or alembic, and the directory of its files"
    yield f"tool = {_quoted(draft.tool or 'sql')}"
    for key, value in draft.migrations.items():
        yield f"{_key(key)} = {_quoted(value)}"
    yield ""


def _snapshot(draft: Draft) -> Iterator[str]:
    yield _table(draft, "snapshot")
    yield "# Copies are restored to a private server of this machine; to use a server of yours instead:"
    yield '# scratch = { env = "SCRATCH_DATABASE_URL" }'
    yield ""


def _checks(draft: Draft) -> Iterator[str]:
    yield "# The validation plan: what is looked at after a rollback. Row counts are floors as of today;"
    yield "# lower one whose rows may go. An empty plan keeps the gate shut."
    if draft.left_out:
        names = _one_line(", ".join(draft.left_out))
        yield f"# Left out, since the newest migration made them and its down takes them away: {names}"
    if not draft.checks:
        yield "# TODO validation plan: what proves that the application is well"
    for check in draft.checks:
        if check.note:
            yield f"# {_one_line(check.note)}"
        yield _table(draft, "checks", check.key)
        for key, value in check.settings:
            yield f"{key} = {_quoted(value)}"
        yield ""
    yield "# TODO health URL: what the application answers when it is well"
    yield f"# {_table(draft, 'checks', 'health')}"
    yield '# http = "http://127.0.0.1:8080/api/health"'
    yield '# expect = "200"'
    yield ""


def _people(draft: Draft) -> Iterator[str]:
    yield "[channels]"
    yield "# Notices appear on the terminal and are appended to this file."
    yield 'file = "notices.txt"'
    yield ""
    yield "[people]"
    yield "# A person is an SSH key, enrolled on a calm day by a reviewed change of this file. Each of them:"
    yield "#   ssh-keygen -t ed25519        (unless they have a key)"
    yield '#   echo "NAME namespaces=\\"backout\\" $(cat ~/.ssh/id_ed25519.pub)" >> allowed_signers'
    yield 'allowed_signers = "allowed_signers"'
    yield "# TODO people and roles: one line each, sre or owner or both"
    yield '# "mara.okafor" = { roles = ["sre"] }'
    yield '# "priya.raman" = { roles = ["owner"] }'
