"""Which text stands behind an Execute: prepared statements and portals by name."""

from __future__ import annotations

from backout.postgres.proxy.frames import cut_text


class Texts:
    """The text comes with Parse, the deed with Execute, perhaps long after; names tie them together.

    None stands for a text that was never seen (SQL's PREPARE and DECLARE) or is not certain.
    """

    def __init__(self) -> None:
        self._statements: dict[str, str | None] = {}
        self._portals: dict[str, str | None] = {}

    def parsed(self, body: bytes, encoding: str) -> None:
        """A Parse message: name, text, parameter types."""
        name, position = cut_text(body, 0, encoding)
        text: str | None = cut_text(body, position, encoding)[0]
        if name and self._statements.get(name, text) != text:
            text = None  # the server refuses a name in use, unless it was deallocated out of our sight
        self._statements[name] = text

    def bound(self, body: bytes, encoding: str) -> None:
        """A Bind message: portal, statement, values (never read)."""
        portal, position = cut_text(body, 0, encoding)
        statement = cut_text(body, position, encoding)[0]
        self._portals[portal] = self._statements.get(statement)

    def closed(self, body: bytes, encoding: str) -> None:
        """A Close message of a statement or portal."""
        name = cut_text(body, 1, encoding)[0]
        (self._statements if body[:1] == b"S" else self._portals).pop(name, None)

    def executed(self, body: bytes, encoding: str) -> str | None:
        """The text behind an Execute message."""
        return self._portals.get(cut_text(body, 0, encoding)[0])
