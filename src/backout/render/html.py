"""A document as one self-contained HTML page: no script, no request, light and dark, fit for printing."""

from __future__ import annotations

import html

from backout.render import words
from backout.render.document import (
    Block,
    Bullets,
    Document,
    Figure,
    Figures,
    Item,
    Paragraph,
    Section,
    Source,
    Table,
)
from backout.render.layout import State

# Every text colour has at least 4.5 : 1 against both grounds of its scheme (WCAG AA); a test computes it.
LIGHT = {
    "ground": "#f3f5f8",
    "surface": "#ffffff",
    "line": "#d3dae5",
    "text": "#141c28",
    "label": "#566379",
    "pass": "#0a6238",
    "warn": "#7d4600",
    "fail": "#a81d15",
    "unknown": "#5f35a0",
}
DARK = {
    "ground": "#0d121a",
    "surface": "#151c27",
    "line": "#2b3647",
    "text": "#eaeff7",
    "label": "#9aa8bd",
    "pass": "#6fdba6",
    "warn": "#f5be66",
    "fail": "#ff9c92",
    "unknown": "#cfb0ff",
}
_LAYOUT = """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;
 font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main{max-width:64rem;margin:0 auto;padding:28px 20px 64px}
h1{font-size:24px;line-height:1.25;margin:0 0 4px}
h2{font-size:16px;margin:0 0 12px}
p{margin:0 0 10px}
.about,.note,th,.words{color:var(--label)}
section{background:var(--surface);border:1px solid var(--line);border-radius:12px;padding:20px;
 margin-top:16px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-size:13px;font-weight:600;text-align:left;padding:0 14px 8px 0}
td{border-top:1px solid var(--line);padding:8px 14px 8px 0;vertical-align:top;overflow-wrap:normal}
td.wide{min-width:16rem;overflow-wrap:anywhere}
.right{text-align:right;white-space:nowrap}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13px}
pre{margin:0 0 10px;padding:12px;background:var(--ground);border-radius:8px;white-space:pre-wrap}
ul{margin:0 0 10px;padding:0;list-style:none}
li{padding:7px 0;border-top:1px solid var(--line)}
li:first-child{border-top:0}
.note{display:block;font-size:13px}
.figures{display:flex;flex-wrap:wrap;gap:12px 28px;margin:0 0 12px}
.figures div{min-width:8rem}
.value{display:block;font-size:24px;font-weight:650;line-height:1.2}
.words{font-size:13px}
.state{font-weight:650;margin-right:6px}
.pass{color:var(--pass)}.warn{color:var(--warn)}.fail{color:var(--fail)}.unknown{color:var(--unknown)}
@media print{body{background:#fff;font-size:12px}main{max-width:none;padding:0}
 section{break-inside:avoid-page;border-color:#999}table{font-size:11px}thead{display:table-header-group}
 tr{break-inside:avoid}.scroll{overflow:visible}}
"""
_CLASSES = {
    State.PASS: "pass",
    State.WARN: "warn",
    State.FAIL: "fail",
    State.UNKNOWN: "unknown",
    State.PERSON: "unknown",
}
_WIDE = 40
"""A column with a longer text than this keeps a least width, so that it is not squeezed to a word a line."""


def to_html(document: Document) -> str:
    """One whole page; every text is escaped, secrets are hidden."""
    sections = "\n".join(_section(section) for section in document.sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(document.title)}</title>\n<style>{style_sheet()}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{_text(document.title)}</h1><p class="about">{_text(document.about)}</p></header>\n'
        f"{sections}\n</main>\n</body>\n</html>\n"
    )


def style_sheet() -> str:
    """The inline style sheet: tokens of both schemes, then the layout that uses only them."""
    dark = f"@media (prefers-color-scheme:dark){{{_tokens(DARK)}}}"
    # On paper the light tokens count, whatever the screen prefers.
    printed = f"@media print{{{_tokens(LIGHT)}}}"
    return f"{_tokens(LIGHT)}{dark}{printed}{_LAYOUT}"


def _tokens(colours: dict[str, str]) -> str:
    return ":root{" + ";".join(f"--{name}:{value}" for name, value in colours.items()) + "}"


def _text(plain: str) -> str:
    return html.escape(words.clean(plain))


def _section(section: Section) -> str:
    name = "".join(c if c.isalnum() else "-" for c in section.title.lower())
    body = "\n".join(_block(block) for block in section.blocks)
    return (
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{_text(section.title)}</h2>\n{body}\n</section>'
    )


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return f"<p>{_text(block.text)}</p>"
        case Figures():
            return f'<div class="figures">{"".join(_figure(figure) for figure in block.items)}</div>'
        case Bullets():
            return f"<ul>{''.join(_item(item) for item in block.items)}</ul>"
        case Table():
            return _table(block)
        case Source():
            return f"<pre>{chr(10).join(_text(line) for line in block.text.splitlines())}</pre>"


def _figure(figure: Figure) -> str:
    kind = f" {_CLASSES[figure.state]}" if figure.state in _CLASSES else ""
    value = f'<span class="value{kind}">{_text(figure.value)}</span>'
    return f'<div>{value}<span class="words">{_text(figure.words)}</span></div>'


def _item(item: Item) -> str:
    state = ""
    if item.state is not None:
        kind = _CLASSES.get(item.state, "words")
        state = f'<span class="state {kind}">{_text(item.label)}</span>'
    note = f'<span class="note">{_text(item.note)}</span>' if item.note else ""
    return f"<li>{state}{_text(item.text)}{note}</li>"


def _table(table: Table) -> str:
    wide = {
        index
        for index in range(len(table.heads))
        if index not in table.right and any(len(row[index]) > _WIDE for row in table.rows)
    }
    heads = "".join(_cell("th", head, table, index, wide) for index, head in enumerate(table.heads))
    rows = "".join(
        f"<tr>{''.join(_cell('td', cell, table, index, wide) for index, cell in enumerate(row))}</tr>\n"
        for row in table.rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(tag: str, plain: str, table: Table, index: int, wide: set[int]) -> str:
    kinds = (["right"] if index in table.right else []) + (["wide"] if index in wide and tag == "td" else [])
    named = f' class="{" ".join(kinds)}"' if kinds else ""
    scope = ' scope="col"' if tag == "th" else ""
    shown = _text(plain)
    if tag == "td" and index in table.code and shown:
        shown = f"<code>{shown}</code>"
    return f"<{tag}{named}{scope}>{shown}</{tag}>"
