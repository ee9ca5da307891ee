"""A document of `--json` against its published schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from backout.app.schemas import DOCUMENTS, schema_of


def verb_of(words: Sequence[str]) -> str:
    """The document that a command line prints: `kept put-back inc-1 --as x` -> `kept put-back`."""
    joined = " ".join(words[:2])
    return joined if joined in DOCUMENTS else words[0]


def assert_fits(document: Mapping[str, Any], verb: str) -> None:
    """Every field has its place in the schema, and nothing that the schema demands is left out."""
    schema = schema_of("error" if "error" in document and "what" in document else verb)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert set(document) <= set(schema["properties"]), set(document) - set(schema["properties"])
