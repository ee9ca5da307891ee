"""Everything that can be known about each statement of a script, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backout.model.statement import StatementClass
from backout.sql import lexer, tree
from backout.sql.classify import class_of
from backout.sql.effects import effects_of
from backout.sql.facts import Reading
from backout.sql.names import qualified
from backout.sql.tags import tag_of
from backout.sql.tree import Fragment, Node, relation

_MANY_ROWS = 100
_META_COMMAND = re.compile(r"\\\S+")
_LEADING_WORDS = 3
_SETTING_CALL = "set_config"


def readings(script: str) -> tuple[Reading, ...]:
    """One reading per statement of the script, in order; never raises."""
    return tuple(map(_reading, tree.fragments(script)))


def _reading(fragment: Fragment) -> Reading:
    node = fragment.node
    if node is None:
        return Reading(fragment.text, StatementClass.UNKNOWN, _spoken_tag(fragment.text), effects_of(None))
    if node.kind == "InsertStmt" and _inserts_many(node):
        # The values of a bulk insert are walked once, for calls; nothing else can hide in them.
        objects: tuple[str, ...] = (relation(node.child("relation")),)
    else:
        objects = _unique(_objects(node))
    return Reading(
        text=fragment.text,
        klass=class_of(node),
        tag=tag_of(node),
        effects=effects_of(node),
        objects=objects,
        functions=_unique(qualified(*call.strings("funcname")) for call in node.find("FuncCall")),
        bodies=tuple(_bodies(node)),
        settings=_unique(_settings(node)),
        options=frozenset(_copy_options(node)),
    )


def _unique(words: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))


def _spoken_tag(text: str) -> str:
    """A tag for a text that was not understood: its meta-command, or its first words in capitals."""
    meta = _META_COMMAND.match(text)
    if meta:
        return meta.group()
    words: list[str] = []
    for token in lexer.tokens(text):
        if token.kind is lexer.TokenKind.WORD and len(words) < _LEADING_WORDS:
            words.append(text[token.start : token.end].upper())
        elif token.kind not in lexer.TRIVIA:
            break
    return " ".join(words[:2])


def _inserts_many(node: Node) -> bool:
    select = node.child("select_stmt")
    return select is not None and len(select.children("values_lists")) > _MANY_ROWS


def _objects(node: Node) -> Iterator[str]:
    """Relations named anywhere in the statement, except names that its own WITH introduces."""
    own = {query.text("ctename") for query in node.find("CommonTableExpr")}
    for found in node.find("RangeVar", "DropStmt"):
        if found.kind == "DropStmt":
            yield from (effect.table for effect in effects_of(found))
        elif found.text("schemaname") or found.text("relname") not in own:
            yield relation(found)


def _bodies(node: Node) -> Iterator[str]:
    """Program text in DO blocks and function definitions (the strings behind AS)."""
    if node.kind not in ("DoStmt", "CreateFunctionStmt"):
        return
    for option in node.find("DefElem"):
        argument = option.child("arg")
        if option.text("defname") != "as" or argument is None:
            continue
        if argument.kind == "String":
            yield argument.text("sval")
        elif argument.kind == "List":
            yield from argument.strings("items")


def _settings(node: Node) -> Iterator[str]:
    """Parameters set by SET, and by set_config with a literal name; another name reads as `?`."""
    if node.kind == "VariableSetStmt":
        yield node.text("name").lower() if node.text("name") else "all"
    for call in node.find("FuncCall"):
        if call.strings("funcname")[-1:] == (_SETTING_CALL,):
            first = call.children("args")[:1]
            literal = first[0].child("sval") if first and first[0].kind == "A_Const" else None
            yield literal.text("sval").lower() if literal is not None else "?"


def _copy_options(node: Node) -> Iterator[str]:
    if node.kind != "CopyStmt":
        return
    yield "from" if node.flag("is_from") else "to"
    if node.flag("is_program"):
        yield "program"
    elif node.text("filename"):
        yield "file"
