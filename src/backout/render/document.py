"""A document of sections, and its two writers' common ground: paragraphs, figures, bullets and tables."""

from __future__ import annotations

from dataclasses import dataclass

from backout.render.layout import State


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that is read first, with the words below it."""

    value: str
    words: str
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers side by side."""

    items: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a list: a state with its word (or another `word`), and a smaller note behind."""

    text: str
    note: str = ""
    state: State | None = None
    word: str = ""

    @property
    def label(self) -> str:
        """The word that stands in front; empty without a state."""
        return self.word or (self.state.value if self.state else "")


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads. `right` and `code` name columns by index: figures, and identifiers or digests."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    code: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Text that is shown as it is: SQL, a message."""

    text: str


Block = Paragraph | Figures | Bullets | Table | Source


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document; `about` is the line under its title."""

    title: str
    about: str
    sections: tuple[Section, ...]
