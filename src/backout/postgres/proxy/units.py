"""Cut what the tool sends into pieces between which something of ours can be slipped in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backout.model.statement import Statement, StatementClass
from backout.postgres.proxy import frames
from backout.postgres.proxy.frames import Message
from backout.postgres.proxy.seen import Reader
from backout.postgres.proxy.texts import Texts
from backout.sql.parse import isolation_asked

SYNC = frames.message(b"S")
_BOUNDARIES = (StatementClass.BEGIN, StatementClass.COMMIT, StatementClass.ROLLBACK)
CONTROL = (*_BOUNDARIES, StatementClass.SAVEPOINT)


@dataclass(frozen=True, slots=True)
class Piece:
    """Messages that are sent in one go. A control statement always stands alone in its piece."""

    statements: tuple[Statement, ...]
    messages: tuple[bytes, ...]
    """Without the Sync that ends an extended piece."""
    extended: bool
    offset: int = 0
    """Characters of the tool's text before this piece, for error positions."""

    @property
    def control(self) -> StatementClass | None:
        """BEGIN, COMMIT, ROLLBACK or SAVEPOINT, or None for a block of other statements."""
        if len(self.statements) == 1 and self.statements[0].klass in CONTROL:
            return self.statements[0].klass
        return None

    @property
    def writing(self) -> tuple[Statement, ...]:
        return tuple(statement for statement in self.statements if statement.writes)

    @property
    def cycle(self) -> tuple[bytes, ...]:
        """The messages with the end that makes the server answer ReadyForQuery."""
        return (*self.messages, SYNC) if self.extended else self.messages

    @property
    def asks_isolation(self) -> bool:
        return any(isolation_asked(statement.text) is not None for statement in self.statements)


def _alone(statement: Statement, in_block: bool) -> bool:
    """Whether a statement must stand alone. Savepoints of an implicit transaction stay in its block."""
    if statement.klass in _BOUNDARIES:
        return True
    if statement.klass is StatementClass.SAVEPOINT:
        return in_block
    return isolation_asked(statement.text) is not None


def of_query(message: Message, statements: Sequence[Statement], in_block: bool, encoding: str) -> list[Piece]:
    """The pieces of a simple query; one, unchanged, when nothing has to come in between."""
    in_block = in_block or any(s.klass is StatementClass.BEGIN for s in statements)
    if len(statements) <= 1 or not any(_alone(statement, in_block) for statement in statements):
        return [Piece(tuple(statements), (message.raw,), extended=False)]
    whole = frames.cut_text(message.body, 0, encoding)[0]
    return [_part(whole, group, encoding) for group in _groups(whole, statements, in_block)]


@dataclass(frozen=True, slots=True)
class _Placed:
    statement: Statement
    start: int
    end: int


def _groups(whole: str, statements: Sequence[Statement], in_block: bool) -> Iterator[list[_Placed]]:
    group: list[_Placed] = []
    position = 0
    for statement in statements:
        start = whole.find(statement.text, position)
        start = position if start < 0 else start
        position = start + len(statement.text)
        placed = _Placed(statement, start, position)
        if not _alone(statement, in_block):
            group.append(placed)
            continue
        if group:
            yield group
        yield [placed]
        group = []
    if group:
        yield group


def _part(whole: str, group: Sequence[_Placed], encoding: str) -> Piece:
    start, end = group[0].start, group[-1].end
    raw = frames.message(b"Q", frames.text(whole[start:end], encoding))
    return Piece(tuple(placed.statement for placed in group), (raw,), extended=False, offset=start)


def of_batch(
    messages: Sequence[Message], texts: Texts, reader: Reader, in_block: bool, encoding: str
) -> list[Piece]:
    """The pieces of an extended batch (without its Sync): the text came with Parse, the deed is Execute."""
    steps = list(_steps(messages, texts, reader, encoding))
    in_block = in_block or any(s is not None and s.klass is StatementClass.BEGIN for s, _ in steps)
    pieces: list[Piece] = []
    for statement, raws in steps:
        alone = statement is not None and _alone(statement, in_block)
        mergeable = pieces and not alone and not any(_alone(s, in_block) for s in pieces[-1].statements)
        own = (statement,) if statement is not None else ()
        if statement is None and pieces:  # Close, Describe behind the last Execute
            mergeable = True
        if mergeable:
            last = pieces[-1]
            pieces[-1] = Piece((*last.statements, *own), (*last.messages, *raws), extended=True)
        else:
            pieces.append(Piece(own, tuple(raws), extended=True))
    return pieces


def _steps(
    messages: Sequence[Message], texts: Texts, reader: Reader, encoding: str
) -> Iterator[tuple[Statement | None, list[bytes]]]:
    """Messages up to and with each Execute; what stands behind the last one comes with None."""
    raws: list[bytes] = []
    for message in messages:
        raws.append(message.raw)
        match message.kind:
            case b"P":
                texts.parsed(message.body, encoding)
            case b"B":
                texts.bound(message.body, encoding)
            case b"C":
                texts.closed(message.body, encoding)
            case b"E":
                yield one(reader, texts.executed(message.body, encoding)), raws
                raws = []
    if raws:
        yield None, raws


def one(reader: Reader, text: str | None) -> Statement:
    """The single statement of a text; what cannot be read counts as a write."""
    if text is None:
        return Statement("", StatementClass.UNKNOWN, "")
    found = reader(text)
    if len(found) == 1:
        return found[0]
    if not found and not text.strip():
        return Statement(text, StatementClass.READ, "")
    return Statement(text, StatementClass.UNKNOWN, "")


def function_call() -> Statement:
    """A FunctionCall message: a function by oid, which may do anything."""
    return Statement("(function call)", StatementClass.DYNAMIC, "SELECT")
