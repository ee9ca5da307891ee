"""Make the reference pages from the code, so that they cannot say anything else than it does.

`python -m tools.reference` writes docs/reference; `--check` only says which files are stale. The order is
that of the code and the width is 80 columns, so that every machine makes the same bytes.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from backout import errors as error_tree
from backout.app.schemas import DOCUMENTS, schema_of
from backout.cli.main import VERBS, application
from backout.sql.rules import RULES
from tools import proofs

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Made by tools/reference.py from the code; change the code, then: python -m tools.reference -->"
_WIDTH = 80
_EXIT_CODES = (
    (0, "done"),
    (1, "a check failed or is unknown; what was asked for has happened"),
    (2, "usage or configuration; nothing was done"),
    (3, "refused, with the reason; nothing was done"),
    (4, "waits for a person"),
    (5, "stopped safely in the middle; `backout resume` goes on"),
    (6, "handed over to people; `backout sheet` says how to finish by hand"),
    (7, "a neighbour (server, tool, service) cannot be reached"),
)


def pages() -> Mapping[Path, str]:
    """Every generated file with its contents, by absolute path."""
    return {
        REFERENCE / "cli.md": _page(command_line()),
        REFERENCE / "errors.md": _page(errors()),
        REFERENCE / "configuration.md": _page(configuration()),
        REFERENCE / "hazards.md": _page(hazards()),
        REFERENCE / "documents.md": _page(documents()),
        REFERENCE / "proved.md": _page(proofs.page(MADE)),
        REFERENCE / "backout.schema.json": _json(schema_of("config")),
        **{REFERENCE / _schema_file(name): _json(schema_of(name)) for name in document_names()},
    }


def _page(lines: Iterator[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def commands() -> Mapping[str, Any]:
    """Every verb with its command object, groups flattened: `snapshot take`."""
    return {name: command for verb in VERBS for name, command in _walk(verb.load(), verb.name)}


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """`command`, or the verbs of it when it is a group."""
    if not hasattr(command, "commands"):
        yield name, command
    for word, verb in getattr(command, "commands", {}).items():
        yield f"{name} {word}", verb


def help_of(command: Any, name: str) -> str:
    """What `backout NAME --help` prints at 80 columns."""
    context = command.context_class(
        command, info_name=f"backout {name}".strip(), terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    return str(command.get_help(context)).rstrip()


def command_line() -> Iterator[str]:
    """The page of all verbs."""
    yield from ("# The command line", "", MADE, "")
    yield from ("Each text is what `--help` prints. Exit codes are on the page of [errors](errors.md).", "")
    yield from _block(help_of(get_command(application), ""))
    for name, command in commands().items():
        yield from (f"## `backout {name}`", "", f"How to use it: [{name}]({how_to(name)}).", "")
        yield from _block(help_of(command, name))


def _block(text: str) -> Iterator[str]:
    yield from ("```text", text, "```", "")


_HOW_TO = {
    "release": "contain",
    "reject": "approve",
    "withdraw": "approve",
    "resume": "run",
    "show": "postmortem",
    "sheet": "postmortem",
    "diagnose": "when-something-stops",
    "schema": "json",
    "demo": "../tutorial/demo",
}


def how_to(name: str) -> str:
    """The how-to page of a verb, relative to the reference."""
    word = name.split()[0]
    return os.path.normpath(f"../howto/{_HOW_TO.get(word, word)}.md")


def errors() -> Iterator[str]:
    """Exit codes, then every class of the tree."""
    yield from ("# Exit codes and errors", "", MADE, "")
    yield from ("## Exit codes", "", "| code | means | errors |", "|---:|---|---|")
    tree = tuple(error_classes())
    for code, meaning in _EXIT_CODES:
        names = ", ".join(f"[`{c.__name__}`](#{c.__name__.lower()})" for c in tree if c.exit_code == code)
        yield f"| {code} | {meaning} | {names} |"
    yield from (
        "",
        "An error says four things: what happened, `where`, what is `intact`, and the `next` command.",
    )
    yield "With `--json` it is one document: `exit`, `error` (a name of those below), `what`, `where`, "
    yield from (
        "`intact`, `next`; a mistake on the command line itself is `error: usage`.",
        "",
        "## Errors",
        "",
    )
    for found in tree:
        parent = found.__mro__[1].__name__
        yield from (f"### {found.__name__}", "", inspect.cleandoc(found.__doc__ or ""), "")
        kind = "" if parent == "Exception" else f" A kind of [`{parent}`](#{parent.lower()})."
        yield from (f"Exit code {found.exit_code}.{kind}", "")


def error_classes() -> Iterator[type[Any]]:
    """The tree of errors, parents first, in the order of the file."""
    for value in vars(error_tree).values():
        if inspect.isclass(value) and issubclass(value, error_tree.BackoutError):
            yield value


def hazards() -> Iterator[str]:
    """One heading a hazard rule."""
    yield from ("# Hazards of SQL statements", "", MADE, "")
    yield "What the text of a statement can show before anything ran. A hazard is told; what a statement"
    yield from ("really does is said by a rehearsal only.", "")
    for rule in RULES:
        yield from (f"## {rule.name}", "", f"**Problem.** {rule.problem}", "")
        yield from (f"**Solution.** {rule.solution}", "")


def document_names() -> Sequence[str]:
    """Verbs that print a document with `--json`."""
    return tuple(DOCUMENTS)


def _schema_file(name: str) -> str:
    return f"documents/{name.replace(' --', '-').replace(' ', '-')}.schema.json"


def documents() -> Iterator[str]:
    """A page that leads to the schema of each document."""
    yield from ("# Documents of `--json`", "", MADE, "")
    yield "With `--json` a verb prints one document on one line of stdout; progress stays on stderr."
    yield "`exit` repeats the exit code. `backout schema VERB` prints the same schemas. A verb that ends with"
    yield from ("an error prints the document `error` instead.", "")
    yield from ("| verb | schema | fields |", "|---|---|---|")
    for name in document_names():
        file = _schema_file(name)
        fields = ", ".join(f"`{field}`" for field in schema_of(name)["properties"])
        yield f"| `{name}` | [{Path(file).name}]({file}) | {fields} |"


def configuration() -> Iterator[str]:
    """Every key of backout.toml, table by table."""
    schema = schema_of("config")
    yield from ("# Configuration: `backout.toml`", "", MADE, "")
    yield from _found_where()
    yield from ("The same as a JSON Schema: [backout.schema.json](backout.schema.json).", "")
    for title, words, properties in tables(schema):
        yield from (f"## {title}", "", words, "")
        for key, about in properties.items():
            yield from (f"### `{key}`", "", about.get("description", ""), "")
            yield from (f"{_kind(about, schema)}; {_default(about)}.", "")


def _found_where() -> Iterator[str]:
    yield from (
        "`$BACKOUT_CONFIG` names the file; without it, it is the nearest `backout.toml` in this directory or",
        "above. Paths in it are relative to it. Spans are written `200ms`, `30s`, `5m`, `4h`, `90d`,",
        "sizes `500MB`, `20GB`, `1.5TB` (powers of 1000). An unknown key is an error that names its dotted",
        "path. The state directory is `$BACKOUT_STATE`, else `/var/lib/backout` when that is writable, else",
        "the user's own.",
        "",
    )


_TABLES = {
    "Target": "[target.NAME]",
    "Dsns": "[target.NAME.dsn]",
    "Dsn": "One DSN",
    "Migrations": "[target.NAME.migrations]",
    "SnapshotSettings": "[target.NAME.snapshot]",
    "CheckSettings": "[target.NAME.checks.CHECK]",
    "BudgetSettings": "[budgets]",
    "Kept": "[kept]",
    "People": "[people]",
    "PersonSettings": '[people] "PERSON"',
    "Channels": "[channels]",
    "PolicySettings": "[policy.ENVIRONMENT]",
}


def tables(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(heading, words, keys) of every table of the file."""
    definitions = schema["$defs"]
    yield "The whole file", schema.get("description", ""), schema["properties"]
    for name in (*_TABLES, *sorted(set(definitions) - set(_TABLES))):
        found = definitions[name]
        yield f"`{_TABLES.get(name, name)}`", found.get("description", ""), found["properties"]


def _kind(about: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(_kind(one, schema) for one in about["anyOf"] if one.get("type") != "null")
    if "$ref" in about:
        return f"Table `{_TABLES.get(about['$ref'].rsplit('/', 1)[-1], '')}`"
    if "enum" in about:
        return " or ".join(f'`"{value}"`' for value in about["enum"])
    if about.get("title") in ("Span", "Size"):
        return str(about["title"])
    if about.get("type") == "array":
        return f"List of {_kind(about['items'], schema)}"
    if about.get("type") == "object":
        return "Tables"
    return {"string": "Text", "integer": "Whole number", "number": "Number", "boolean": "`true` or `false`"}[
        about["type"]
    ]


def _default(about: Mapping[str, Any]) -> str:
    if "default" not in about:
        return "required"
    value = about["default"]
    if value is None or value in ({}, []) or isinstance(value, dict):
        return "not required"
    if _kind(about, {}) == "Span":
        return f"without it `{_span(float(value))}`"
    return f"without it `{json.dumps(value)}`"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"


def stale() -> tuple[Path, ...]:
    """Files whose contents differ from what the code says now, and schemas of documents that are gone."""
    wanted = pages()
    changed = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    gone = [p for p in REFERENCE.rglob("*.schema.json") if p not in wanted]
    return (*changed, *gone)


def write() -> tuple[Path, ...]:
    """Write what is stale; returns the files that changed."""
    wanted, changed = pages(), stale()
    for path in changed:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
        else:
            path.unlink()
    return changed


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 with `--check` when something is stale."""
    check = "--check" in arguments
    changed = stale() if check else write()
    for path in changed:
        print(f"{'stale' if check else 'wrote'}: {os.path.relpath(path, ROOT)}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
