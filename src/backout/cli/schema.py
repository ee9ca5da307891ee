"""`backout schema`: the JSON Schema of backout.toml and of every verb's --json document."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    of: Annotated[str, typer.Argument(help="config, or a verb such as open, propose, run.")] = "config",
) -> None:
    """Print a JSON Schema."""
    import json

    from backout.app.schemas import schema_of

    print(json.dumps(schema_of(of), indent=2, sort_keys=True))  # noqa: T201
