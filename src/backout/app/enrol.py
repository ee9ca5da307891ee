"""Keys for the people of a demo; people of the real world bring keys of their own."""

from __future__ import annotations

from pathlib import Path

from backout.adapters.people.keys import allowed_signers_line, make_key


def make_demo_key(path: Path, name: str) -> str:
    """Make an ed25519 key pair in `path` and `path`.pub; return the line that enrols `name` with it.

    A pair that is there already is used again. Raises `ConfigurationError` when it cannot be written.
    """
    public = path.with_name(path.name + ".pub")
    line = public.read_text("utf-8") if path.exists() and public.exists() else make_key(path, name)
    return allowed_signers_line(name, line)
