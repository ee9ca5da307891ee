"""A document as Markdown (the GitHub flavour, for its tables)."""

from __future__ import annotations

import re

from backout.render import words
from backout.render.document import Block, Bullets, Document, Figures, Item, Paragraph, Source, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
_LEADING = re.compile(r"^(\s*)([-+]|\d+[.)])(?=\s)")


def to_markdown(document: Document) -> str:
    """The document as Markdown text that ends with a newline; texts are escaped, secrets hidden."""
    parts = [f"# {text(document.title)}", text(document.about)]
    for section in document.sections:
        parts.append(f"## {text(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def text(plain: str) -> str:
    """`plain` so that no character of it is read as Markdown."""
    escaped = _SPECIAL.sub(r"\\\1", words.clean(plain))
    return _LEADING.sub(r"\1\\\2", escaped)


def code(plain: str) -> str:
    """`plain` in the face of code; a backtick of its own becomes an apostrophe."""
    shown = words.clean(plain).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`" if shown.strip() else ""


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return text(block.text)
        case Figures():
            return "\n".join(f"- **{text(f.value)}** {text(f.words)}" for f in block.items)
        case Bullets():
            return "\n".join(_item(item) for item in block.items)
        case Table():
            return _table(block)
        case Source():
            return _source(block)


def _item(item: Item) -> str:
    state = f"**{item.label}** " if item.label else ""
    note = f" ({text(item.note)})" if item.note else ""
    return f"- {state}{text(item.text)}{note}"


def _table(table: Table) -> str:
    ruler = ["---:" if index in table.right else "---" for index in range(len(table.heads))]
    lines = [_row([text(head) for head in table.heads]), _row(ruler)]
    for row in table.rows:
        lines.append(_row([code(c) if i in table.code else text(c) for i, c in enumerate(row)]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _source(source: Source) -> str:
    lines = [words.clean(line) for line in source.text.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence, *lines, fence])
