"""A session whose writes are marked, kept and gated: one unit of the tool at a time, nothing outstanding.

Invariant: a transaction that destroys what is not kept does not commit, and the tool is told the truth:
an error when it did not commit, even where PostgreSQL itself would answer ROLLBACK without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from backout.model.statement import StatementClass
from backout.postgres.proxy import frames, held, units
from backout.postgres.proxy.bench import Bench, Numbers
from backout.postgres.proxy.frames import Message, Oversized
from backout.postgres.proxy.gate import Gate
from backout.postgres.proxy.keeper import Keeper
from backout.postgres.proxy.pipe import BudgetPassed, InjectionFailed, Pipe
from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.relay import Relay
from backout.postgres.proxy.seen import Log, Reader, Recorder, Refusal, SeenCommit
from backout.postgres.proxy.texts import Texts
from backout.postgres.proxy.transaction import GATE, HOLD, SHAPE, NotLet, Transaction
from backout.postgres.proxy.units import SYNC, Piece
from backout.postgres.proxy.wire import Hangup

WHOLE_UP_TO = 16 * 1024 * 1024
"""Longest message of the tool that can be read before it is let through; a longer one is refused."""
_FAILED = "25P02"
_NO_SNAPSHOT = ("SET", "SHOW", "RESET", "DISCARD", "DEALLOCATE", "LISTEN", "UNLISTEN", "LOCK TABLE")


class ActiveSession:
    """Takes the tool's units apart, puts ours in between, answers ReadyForQuery itself."""

    def __init__(
        self,
        relay: Relay,
        recorder: Recorder,
        policy: Policy,
        log: Log,
        cancel: Callable[[], None],
        reader: Reader,
        numbers: Numbers,
    ) -> None:
        self._relay = relay
        self._recorder = recorder
        self._policy = policy
        self._log = log
        self._reader = reader
        self._pipe = Pipe(relay, recorder, cancel)
        self._keeper = Keeper(Bench(self._pipe, policy, numbers))
        self._gate = Gate(self._pipe, policy)
        self._texts = Texts()
        self._tx: Transaction | None = None
        self._refused: NotLet | None = None
        """Why the transaction is gone that the tool still believes to be in (as a failed one)."""
        self._batch: list[Message] = []
        self._ahead = False
        """A part of the current batch was sent already (the tool asked with Flush)."""
        self._ending = False
        """The current unit ends the transaction, whatever comes of it."""
        self._skipping = False
        """The current batch failed: nothing of it counts until its Sync."""
        self._has_origin = False

    def serve(self) -> None:
        """Until one side hangs up (`Hangup`)."""
        while True:
            piece = self._receive()
            if isinstance(piece, Oversized):
                self._refuse_oversized(piece)
            if isinstance(piece, Message):
                self._take(piece)

    def _receive(self) -> Message | Oversized | bytes | None:
        """The tool's next message. The budget of a held lock runs while the tool thinks, too."""
        deadline = self._pipe.deadline
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        piece = self._relay.receive(left)
        if piece is None and self._pipe.overdue:
            self._give_up(self._hold_passed())
        return piece

    def _take(self, message: Message) -> None:
        match message.kind:
            case b"Q":
                self._unit(lambda: self._query(message))
            case b"F":
                call = Piece((units.function_call(),), (message.raw,), extended=False)
                self._unit(lambda: self._run([call]))
            case b"S":
                self._unit(self._sync)
            case b"H":
                self._flush()
            case b"X":
                self._relay.to_server(message.raw)
                raise Hangup
            case b"c" | b"f" | b"d":
                return  # left over from a COPY that failed; the server ignores them too
            case _:
                self._batch.append(message)

    # --- units: everything up to one ReadyForQuery

    def _unit(self, work: Callable[[], None]) -> None:
        self._pipe.errors.clear()
        self._ending = False
        try:
            self._set_up_origin()
            work()
        except NotLet as refusal:
            self._give_up(refusal)
            self._tell(refusal)
        except InjectionFailed as failure:
            what = "gate" if self._ending else "keep"
            self._give_up(NotLet(what, failure.sqlstate, f"a statement of ours failed: {failure}"))
            self._relay.to_tool(failure.raw)
        except BudgetPassed:
            passed = self._hold_passed()
            self._give_up(passed)
            self._tell(passed)
        if self._pipe.state == b"I" and self._refused is None:
            self._forget()
        self._relay.to_tool(frames.ready(b"E" if self._refused is not None else self._pipe.state))

    def _set_up_origin(self) -> None:
        """Once, before the first unit: only one session at a time may use an origin, so each has its own."""
        if not self._policy.origin_prefix or self._has_origin:
            return
        name = f"{self._policy.origin_prefix}_{self._recorder.number}"
        self._pipe.rows("SELECT pg_catalog.pg_replication_origin_create($1)", name)
        self._pipe.rows("SELECT pg_catalog.pg_replication_origin_session_setup($1)", name)
        self._has_origin = True

    def _query(self, message: Message) -> None:
        text = frames.cut_text(message.body, 0, self._pipe.encoding)[0]
        statements = self._reader(text)
        self._run(units.of_query(message, statements, self._in_block, self._pipe.encoding))

    def _sync(self) -> None:
        """The end of an extended batch."""
        batch, self._batch = self._batch, []
        ahead, self._ahead = self._ahead, False
        skipping, self._skipping = self._skipping, False
        if ahead:
            self._pipe.exchange([SYNC], ())
            if skipping or self._pipe.errors:
                return
        elif skipping:
            return
        pieces = units.of_batch(batch, self._texts, self._reader, self._in_block, self._pipe.encoding)
        self._run(pieces or [Piece((), (), extended=True)])

    def _flush(self) -> None:
        """The tool wants answers before it goes on. What runs nothing can be sent ahead; the rest cannot:
        between an unsynced message and the next nothing of ours fits."""
        if self._skipping or not self._batch:
            return
        if any(message.kind == b"E" for message in self._batch):
            self._skipping = True
            self._batch = []
            refusal = NotLet("shape", SHAPE, "statements with Flush and without Sync do not pass here")
            self._give_up(refusal)
            self._tell(refusal)
            return
        units.of_batch(self._batch, self._texts, self._reader, self._in_block, self._pipe.encoding)
        self._pipe.send([message.raw for message in self._batch] + [frames.message(b"H")], ())
        self._batch = []
        self._ahead = True

    @property
    def _in_block(self) -> bool:
        return self._pipe.state != b"I" or self._refused is not None

    def _run(self, pieces: Sequence[Piece]) -> None:
        if self._refused is not None:
            self._answer_in_failed_transaction(pieces[0])
            return
        for position, piece in enumerate(pieces):
            self._check_order(pieces[position:])
            self._piece(piece)
            if self._pipe.errors:
                return

    def _check_order(self, pieces: Sequence[Piece]) -> None:
        """Statements before a BEGIN of the same unit would commit with its transaction."""
        first, following = pieces[0], pieces[1:2]
        before_begin = bool(following) and following[0].control is StatementClass.BEGIN
        if self._pipe.state == b"I" and before_begin and first.control is None and first.writing:
            raise NotLet("shape", SHAPE, "statements that write before a BEGIN in the same query")

    # --- pieces

    def _piece(self, piece: Piece) -> None:
        match piece.control:
            case StatementClass.BEGIN:
                self._begin(piece)
            case StatementClass.COMMIT:
                self._commit(piece)
            case StatementClass.SAVEPOINT:
                self._savepoint(piece)
            case StatementClass.ROLLBACK:
                self._pipe.deadline = None
                self._exchange(piece)
                self._forget()
                if self._pipe.state == b"T":  # AND CHAIN
                    self._opened()
            case _:
                self._block(piece)

    def _exchange(self, piece: Piece) -> None:
        self._pipe.exchange(piece.cycle, piece.statements, offset=piece.offset)

    def _begin(self, piece: Piece) -> None:
        already = self._tx is not None
        self._exchange(piece)
        if self._pipe.state == b"T" and not already:
            self._opened()

    def _opened(self) -> None:
        self._tx = Transaction()
        self._check_isolation(self._tx)

    def _check_isolation(self, tx: Transaction) -> None:
        if not (self._policy.keep or self._policy.gate) or tx.isolated:
            return
        level = self._pipe.rows("SHOW transaction_isolation")[0][0]
        if level not in ("read committed", "read uncommitted"):
            self._keeper.before_anything(tx)

    def _savepoint(self, piece: Piece) -> None:
        self._exchange(piece)
        went_back = piece.statements[0].tag == "ROLLBACK"
        if went_back and self._tx is not None and self._tx.wrote and self._pipe.state == b"T":
            self._keeper.after_rollback_to(self._tx)

    def _block(self, piece: Piece) -> None:
        if self._pipe.state == b"I" and piece.writing:
            self._autocommit(piece)
            return
        if self._pipe.state == b"T" and self._tx is None:
            self._opened()
        tx = self._tx
        if self._pipe.state == b"T" and tx is not None:
            if piece.writing:
                self._refuse_tag(piece)
                self._keeper.before_writing(tx, piece.writing)
            elif any(s.tag not in _NO_SNAPSHOT for s in piece.statements):
                tx.read = True
        self._exchange(piece)
        if self._pipe.state == b"T" and tx is not None:
            self._keeper.after_writing(tx, piece.writing)
            if piece.asks_isolation:
                self._check_isolation(tx)

    def _refuse_tag(self, piece: Piece) -> None:
        """A prepared transaction would commit later, past the gate."""
        if any(statement.tag == "PREPARE TRANSACTION" for statement in piece.statements):
            raise NotLet("shape", SHAPE, "PREPARE TRANSACTION does not pass here")

    # --- autocommit: keep, statement and gate in one transaction of ours

    def _autocommit(self, piece: Piece) -> None:
        if len(piece.statements) == 1 and piece.statements[0].klass is StatementClass.NON_TRANSACTIONAL:
            if piece.statements[0].tag in ("DROP DATABASE", "COMMIT PREPARED"):
                raise NotLet("shape", SHAPE, f"{piece.statements[0].tag} does not pass here")
            self._exchange(piece)  # cannot run in a block, destroys no value
            return
        self._pipe.rows("BEGIN ISOLATION LEVEL READ COMMITTED")
        tx = self._tx = Transaction(ours=True)
        self._keeper.before_writing(tx, piece.writing)
        self._exchange(piece)
        if self._pipe.errors or self._pipe.state != b"T":
            self._roll_back()
            return
        self._ending = True
        commit = self._check_and_note(tx)
        self._pipe.inject([("COMMIT", ())], to_the_end=True)
        self._committed(commit)

    # --- COMMIT

    def _commit(self, piece: Piece) -> None:
        self._refuse_tag(piece)
        self._ending = True
        if self._pipe.state == b"E":
            raise NotLet(
                "commit of a failed transaction",
                _FAILED,
                "the transaction had failed before; COMMIT would have been a ROLLBACK",
            )
        tx = self._tx
        if self._pipe.state != b"T" or tx is None:
            self._exchange(piece)
            return
        commit = self._check_and_note(tx)
        self._pipe.exchange(piece.cycle, piece.statements, offset=piece.offset, to_the_end=True)
        if not self._pipe.errors:
            self._committed(commit)
        self._forget()
        if self._pipe.state == b"T":  # AND CHAIN
            self._opened()

    def _check_and_note(self, tx: Transaction) -> SeenCommit | None:
        """Gate, xid, journal; after this nothing stands between the transaction and its COMMIT."""
        attributes, kept = self._gate.pass_through(tx) if tx.wrote or tx.isolated else ((), ())
        xid = self._pipe.rows("SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text")[0][0]
        locks = held.at_commit(tx)
        self._pipe.deadline = None
        if xid is None:
            return None
        try:
            self._policy.on_commit(xid)
        except Exception as failure:
            raise NotLet("gate", GATE, "the commit could not be journalled") from failure
        felt = held.seconds_felt(tx, locks)
        number = self._recorder.transaction_now
        copied = tuple((copy.keep.table, copy.seconds) for copy in tx.copies)
        return SeenCommit(xid, number, attributes, kept, felt, locks, tx.waited, copied)

    def _committed(self, commit: SeenCommit | None) -> None:
        if commit is not None:
            self._recorder.committed(commit)
            self._policy.on_committed(commit.xid)

    # --- refusals

    def _hold_passed(self) -> NotLet:
        budget = self._policy.budgets.lock_hold
        return NotLet("lock_hold", HOLD, f"the lock was held for longer than its budget of {budget:g} s")

    def _give_up(self, refusal: NotLet) -> None:
        """Roll back and remember why; the tool's transaction stays failed until it ends it."""
        running = self._recorder.current()
        self._log.refuse(
            Refusal(refusal.what, refusal.sqlstate, refusal.detail, self._recorder.number, running)
        )
        ends = self._tx is None or self._tx.ours or self._ending
        self._roll_back()
        self._refused = None if ends else refusal

    def _roll_back(self) -> None:
        self._pipe.deadline = None
        for _ in range(3):  # a cancel that came late may hit the first
            if self._pipe.state == b"I":
                break
            try:
                self._pipe.rows("ROLLBACK")
            except InjectionFailed:
                continue
        if self._pipe.state != b"I":
            raise Hangup  # the server rolls back when the connection is gone
        self._forget()

    def _forget(self) -> None:
        self._tx = None
        self._pipe.deadline = None

    def _tell(self, refusal: NotLet) -> None:
        words = f"backout: {refusal.what}: nothing was committed"
        raw = frames.error(refusal.sqlstate, words, detail=refusal.detail, encoding=self._pipe.encoding)
        self._relay.to_tool(raw)

    def _answer_in_failed_transaction(self, piece: Piece) -> None:
        """The tool's transaction is rolled back already; it has to hear so, and to end it."""
        refusal = self._refused
        assert refusal is not None
        if piece.control is StatementClass.ROLLBACK:
            self._refused = None
            self._pipe.exchange(piece.cycle, piece.statements, quiet=True)
        elif piece.control is StatementClass.COMMIT:
            self._refused = None
            self._tell(refusal)
        elif not piece.statements:
            self._exchange(piece)
        else:
            self._tell(NotLet(f"the transaction was rolled back ({refusal.what})", _FAILED, refusal.detail))

    def _refuse_oversized(self, piece: Oversized) -> None:
        detail = f"a message of {piece.length} bytes cannot be read before it runs"
        self._give_up(NotLet("shape", "54000", detail))
        self._relay.to_tool(frames.error("54000", detail, severity="FATAL"))
        raise Hangup
