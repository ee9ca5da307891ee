"""Which text stands behind an Execute: prepared statements and portals by name."""

from __future__ import annotations

from backout.postgres.proxy.frames import cut_text


class Texts:
    """The text comes with Parse, the deed with Execute, perhaps long after; names tie them together."""

    def __init__(self) -> None:
        self._statements: dict[str, str] = {}
        self._portals: dict[str, str] = {}

    def parsed(self, body: bytes, encoding: str) -> None:
        """A Parse message: name, text, parameter types."""
        name, position = cut_text(body, 0, encoding)
        self._statements[name] = cut_text(body, position, encoding)[0]

    def bound(self, body: bytes, encoding: str) -> None:
        """A Bind message: portal, statement, values (never read)."""
        portal, position = cut_text(body, 0, encoding)
        statement = cut_text(body, position, encoding)[0]
        self._portals[portal] = self._statements.get(statement, "")

    def executed(self, body: bytes, encoding: str) -> str:
        """The text behind an Execute message; empty when it was never seen (SQL PREPARE, DECLARE)."""
        return self._portals.get(cut_text(body, 0, encoding)[0], "")
