"""Verbs that are imported when they are called: `backout --help` needs their names and one line each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

if TYPE_CHECKING:
    from typer._click import Command, Context


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb is, and what the overview says of it (its own page is its docstring)."""

    name: str
    place: str
    """`module:function` in this folder; the function may also be a `Typer` of several verbs."""
    summary: str
    """At most 66 characters: one line beside the names in a terminal of 80 columns."""

    def load(self) -> Command:
        """Import the verb, and read its options."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(f"backout.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            return get_group(found)
        alone = typer.Typer(rich_markup_mode=None, add_completion=False)
        alone.command(self.name)(found)
        return get_command(alone)


def group_of(verbs: tuple[Verb, ...]) -> type[TyperGroup]:
    """The class of a command group with these verbs, for `typer.Typer(cls=...)`."""
    by_name = {verb.name: verb for verb in verbs}

    class Verbs(TyperGroup):
        """Shows, completes and suggests by name; what is really called takes the name's place."""

        def __init__(self, **attributes: object) -> None:
            super().__init__(**attributes)  # type: ignore[arg-type]  # typer's own, passed through
            for verb in verbs:
                self.add_command(TyperCommand(verb.name, short_help=verb.summary, rich_markup_mode=None))

        def resolve_command(
            self, ctx: Context, args: list[str]
        ) -> tuple[str | None, Command | None, list[str]]:
            name, stub, rest = super().resolve_command(ctx, args)
            return name, by_name[name].load() if name is not None else stub, rest

    return Verbs
