"""The commands of backout in what it prints, parsed by its own command line: is each of them alive?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from tools import reference
from typer import _click as click

from backout.cli.main import VERBS

NAMES = frozenset(verb.name for verb in VERBS)
# Where a command ends in a sentence: the next clause, the closing of what it stands in, the end. What is
# quoted belongs to it whole.
_WORDS = r"""(?P<words>(?:'[^']*'|"[^"]*"|[^\n`;)'"])+?)"""
_END = r"""(?=, | && | or |[\n`;)]|['"](?:[\s,;)]|$)|[.:]?$)"""
_COMMAND = re.compile(rf"""(?:^|(?<=[\s(`'"]))backout (?!-){_WORDS}{_END}""", re.MULTILINE)


def commands(text: str) -> Iterator[str]:
    """Every command line of backout in `text`, without `backout`; its first word may be no verb at all."""
    for found in _COMMAND.finditer(text):
        yield found["words"].strip()


@cache
def problem(command: str) -> str:
    """Why the command line does not take it; empty when it does. Nothing is carried out."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return f"{command}: {error}"
    if any(word.startswith("[") for word in words):
        return ""  # a synopsis
    if words[:1] == ["guard"] and words[1:2] not in ([verb.split()[1]] for verb in _verbs() if " " in verb):
        words.insert(1, "run")  # `guard -- COMMAND` is short for it
    if not words or words[0] not in NAMES:
        return f"{command}: no verb {words[0] if words else ''}"
    verbs = _verbs()
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in verbs), "")
    if not name:
        return f"{command}: {words[0]} wants a verb"
    try:
        verbs[name].make_context(name, words[len(name.split()) :])
    except click.exceptions.UsageError as error:
        return f"{command}: {error.format_message()}"
    return ""


@cache
def _verbs() -> Mapping[str, Any]:
    return reference.commands()


def dead(text: str) -> list[str]:
    """What is wrong with the commands in a text of which all are meant to be typed."""
    return [found for found in map(problem, commands(text)) if found]
