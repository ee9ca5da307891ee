"""PgBouncer in transaction mode: hold by PAUSE, move by a renamed INI and RELOAD, release by RESUME.

No client sees an error. Traps, each measured and each looked at here: a PAUSE that waits gets no answer
after a RESUME from elsewhere, and stays when its socket is cut; in session mode it hangs behind one idle
client; it cuts a server connection that is logging in, and other clients get an error for that; with
`min_pool_size > 0` the first query after a longer pause waits `server_login_retry`; clients that wait longer
than `query_wait_timeout` are thrown out; a restarted pooler is not paused and reads the file, so the new
one is renamed into place only behind the fence.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from backout.adapters.traffic import beside, options, pgbouncer_ini
from backout.errors import BackoutError, NeighbourUnreachable, Stopped
from backout.model.check import Check, CheckState
from backout.model.cutover import Price, Promise, Warrant
from backout.ports.traffic import Act, Address, Hold, Led, Link, Traffic, TrafficCapabilities
from backout.postgres.dead_man import Links, Refusal, Row, Wire

_LINK = "pooler"
_NOT_PAUSED = "not paused"
_GROWTH = "max_db_connections"
"""At 1 no pool begins a new server connection; those that are there stay and are used."""
_LOCAL = ("127.", "localhost", "::1", "/")
_POLL_SECONDS = 0.002


def from_settings(given: Mapping[str, object]) -> Traffic:
    """`ini` (path), `entry` (name in [databases]), `admin` (connection string of the console)."""
    link = options.link(options.text(given, "admin"))
    budget = given.get("budget_ms", 800)
    return PgBouncer(
        options.path(given, "ini"),
        options.text(given, "entry"),
        Link(link.host, link.port, link.user, "pgbouncer", link.password, link.tls, link.ca),
        budget if isinstance(budget, int) else 800,
    )


class PgBouncer:
    """`ports.traffic.Traffic` for one PgBouncer and one entry of it."""

    name = "pgbouncer"

    def __init__(self, ini: Path, entry: str, console: Link, budget_ms: int = 800) -> None:
        self._ini = ini
        self._entry = entry
        self._console = console
        self._budget_ms = budget_ms
        self._first: Wire | None = None
        self._second = Links({_LINK: options.document(console)})

    def capabilities(self) -> TrafficCapabilities:
        return TrafficCapabilities(True, Promise.NO_ERRORS, reads_back=True, leaves_by_itself=True)

    def price(self) -> Price:
        local = self._console.host.startswith(_LOCAL)
        needs = ("transaction mode", "its console", f"{self._ini} writable here", "min_pool_size = 0")
        pause = f"under 1 s: held at most {self._budget_ms} ms"
        cut_off = "" if local else "until a person acts, if the network to the pooler is lost"
        return Price(self.name, Promise.NO_ERRORS, pause, needs, cut_off)

    def checks(self) -> tuple[Check, ...]:
        file = beside.check(self._ini)
        if not file.good:
            return (file,)
        try:
            with_two = self._two_sessions()
            shown = self._shown()
            config = {str(row["key"]): str(row["value"]) for row in self._ask("SHOW CONFIG")}
        except (OSError, Refusal, BackoutError) as error:
            why = f"{self._console.host}:{self._console.port}: {error}"
            mend = "let the role of `admin` into the console (admin_users), then the same command again"
            return (Check("console", CheckState.FAIL, why, mend),)
        return (
            with_two,
            self._mode(shown, config),
            self._pool(shown, config),
            self._patience(config),
            self._growth(config),
            self._file(shown, config),
            file,
        )

    def keep_away(self) -> None:
        """Nobody is led anywhere by a server that answers: clients know the pooler."""

    def open(self) -> None:
        """Both sessions: that of the PAUSE, and the one that can end it."""
        try:
            if self._first is None or self._first.closed:
                self._first = Wire(options.document(self._console))
            self._first.ask("SHOW VERSION")
            self._ask("SHOW VERSION")
        except (OSError, Refusal) as error:
            raise NeighbourUnreachable(
                f"the console of PgBouncer does not answer: {error}",
                where=f"{self._console.host}:{self._console.port}",
                intact="everything; nothing was held",
                next="mend it, then the same command again",
            ) from None

    def prepare(self, new: Address, token: str) -> Warrant:
        text = pgbouncer_ini.led_to(
            beside.read(self._ini), self._entry, new, f"led to {new} by backout, {token}"
        )
        return beside.prepare(self._ini, text.encode(), token)

    def links(self) -> Mapping[str, Link]:
        return {_LINK: self._console}

    def back(self) -> tuple[Act, ...]:
        return (self._let_grow(), self._resume())

    def forward(self, new: Address) -> tuple[Act, ...]:
        there = {"name": self._entry, "host": new.host, "port": str(new.port)}
        reload = Act(_LINK, "RELOAD", "SHOW DATABASES", there, "name", self._entry)
        return (reload, self._let_grow(), self._resume())

    def hold(self, seconds: float) -> Hold:
        """PAUSE, with a deadline of our own; what is in its way is asked from the second session.

        PAUSE cuts a server connection that is just logging in, and then PgBouncer refuses the queries of
        other clients ("server login has been failing") until a login succeeds. So first no new one may
        begin (clients wait for those that are there), then those that have begun are waited for.
        """
        until = time.monotonic() + seconds
        self._ask(f"SET {_GROWTH} = 1")
        while logging_in := self._logging_in():
            if time.monotonic() > until - seconds / 2:
                return Hold(False, (f"server connections that are logging in: {logging_in}",))
            time.sleep(_POLL_SECONDS)
        self.open()
        assert self._first is not None
        try:
            self._first.ask(f"PAUSE {self._quoted}", until - time.monotonic())
        except TimeoutError:
            return Hold(False, self._blockers())
        except Refusal as refusal:
            if "already" not in str(refusal):
                raise
        return Hold(True)

    def let_go(self) -> None:
        self._say_resume()
        if self._first is not None:
            self._first.close()  # the answer to its PAUSE never comes
        self.open()

    def switch(self, warrant: Warrant, seconds: float) -> None:
        new = pgbouncer_ini.leads_to(beside.read(Path(warrant.prepared)), self._entry)
        beside.spend(warrant, f"PgBouncer, entry {self._entry}")
        until = time.monotonic() + seconds
        self._ask("RELOAD")
        while not self._leads_to(new):
            if time.monotonic() > until:
                raise Stopped(
                    f"PgBouncer does not lead to {new} after RELOAD",
                    where=f"PgBouncer, entry {self._entry}",
                    intact="traffic; nothing was switched",
                    next="backout status",
                )
            time.sleep(_POLL_SECONDS)

    def release(self, seconds: float) -> None:
        self._say_resume(seconds)

    def read_back(self) -> tuple[Led, ...]:
        row = self._shown()
        now = Address(str(row["host"] or ""), int(row["port"] or 0), str(row["database"]))
        led = [Led(f"entry {self._entry} of PgBouncer", now)]
        for server in self._ask("SHOW SERVERS"):
            if server["database"] == self._entry and int(server["port"] or 0) != now.port:
                at = Address(str(server["addr"]), int(server["port"] or 0), now.database)
                led.append(Led(f"a server connection to {server['addr']}:{server['port']}", at))
        return tuple(led)

    def close(self) -> None:
        if self._first is not None:
            self._first.close()
        self._second.close()
        beside.clear(self._ini)

    # ── the console ────────────────────────────────────────────────────────────────────────────────────

    @property
    def _quoted(self) -> str:
        return '"' + self._entry.replace('"', '""') + '"'

    def _ask(self, statement: str, seconds: float = 5.0) -> list[Row]:
        return self._second.ask(_LINK, statement, seconds)

    def _resume(self) -> Act:
        row = {"name": self._entry}
        return Act(_LINK, f"RESUME {self._quoted}", "SHOW DATABASES", row, "paused", "0", (_NOT_PAUSED,))

    def _let_grow(self) -> Act:
        """As the file says, so that also somebody who does not know what it was can say it."""
        value = pgbouncer_ini.setting(beside.read(self._ini), _GROWTH, "0")
        return Act(_LINK, f"SET {_GROWTH} = {value}", "SHOW CONFIG", {"key": _GROWTH}, "value", value)

    def _say_resume(self, seconds: float = 5.0) -> None:
        self._ask(self._let_grow().say, seconds)
        try:
            self._ask(f"RESUME {self._quoted}", seconds)
        except Refusal as refusal:
            if _NOT_PAUSED not in str(refusal):
                raise

    def _shown(self) -> Row:
        for row in self._ask("SHOW DATABASES"):
            if row["name"] == self._entry:
                return row
        raise NeighbourUnreachable(
            f"PgBouncer has no entry {self._entry}",
            next="correct traffic.entry",
            where=f"PgBouncer, entry {self._entry}",
            intact="traffic; nothing was switched",
        )

    def _leads_to(self, new: Address) -> bool:
        row = self._shown()
        return (row["host"], row["port"], row["database"]) == (new.host, str(new.port), new.database)

    def _logging_in(self) -> int:
        pools = self._ask("SHOW POOLS")
        return sum(int(row["sv_login"] or 0) for row in pools if row["database"] == self._entry)

    def _blockers(self) -> tuple[str, ...]:
        """Clients whose transaction keeps a server connection."""
        found = [row for row in self._ask("SHOW CLIENTS") if row["database"] == self._entry and row["link"]]
        return tuple(
            f"client {row['addr']}:{row['port']} ({row['user']}) in a transaction since {row['request_time']}"
            for row in found
        )

    # ── checks ─────────────────────────────────────────────────────────────────────────────────────────

    def _two_sessions(self) -> Check:
        with_second = Wire(options.document(self._console))
        try:
            version = next(iter(with_second.ask("SHOW VERSION")[0].values()))
            self._ask("SHOW VERSION")
        finally:
            with_second.close()
        return Check("console", CheckState.PASS, f"{version}, reached twice")

    def _mode(self, shown: Row, config: Mapping[str, str]) -> Check:
        mode = shown["pool_mode"] or config["pool_mode"]
        mend = "set pool_mode = transaction for this entry and RECONNECT: in session mode PAUSE hangs"
        return _state("pool mode", mode in ("transaction", "statement"), f"pool_mode = {mode}", mend)

    def _pool(self, shown: Row, config: Mapping[str, str]) -> Check:
        size = shown.get("min_pool_size") or config.get("min_pool_size", "0")
        mend = "set min_pool_size = 0 and RELOAD: the first query after RESUME waited server_login_retry"
        return _state("idle connections", size == "0", f"min_pool_size = {size}", mend)

    def _patience(self, config: Mapping[str, str]) -> Check:
        wait = float(config["query_wait_timeout"])
        mend = f"set query_wait_timeout above {self._budget_ms / 1000:.1f} and RELOAD: clients are thrown out"
        good = wait == 0 or wait * 1000 > self._budget_ms
        return _state("clients wait", good, f"query_wait_timeout = {wait:g} s", mend)

    def _growth(self, config: Mapping[str, str]) -> Check:
        told = pgbouncer_ini.setting(beside.read(self._ini), _GROWTH, "0")
        same = config.get(_GROWTH) == told
        mend = f"set {_GROWTH} in the file itself, as it is in force: a hold puts back what the file says"
        return _state(
            "connection limit", same, f"{_GROWTH} = {config.get(_GROWTH)}, {told} in the file", mend
        )

    def _file(self, shown: Row, config: Mapping[str, str]) -> Check:
        try:
            told = pgbouncer_ini.leads_to(beside.read(self._ini), self._entry)
        except BackoutError as error:
            return Check("configuration", CheckState.FAIL, error.what, error.next)
        running = config.get("conffile", "")
        if running and Path(running).resolve() != self._ini.resolve():
            why = f"PgBouncer reads {running}, not {self._ini}"
            return Check("configuration", CheckState.FAIL, why, "correct traffic.ini")
        same = (shown["host"] or "", shown["port"], shown["database"]) == (
            told.host,
            str(told.port),
            told.database,
        )
        mend = "RELOAD, so that file and pooler say the same"
        return _state("configuration", same, f"{self._entry} leads to {told}", mend)


def _state(name: str, good: bool, detail: str, mend: str) -> Check:
    return Check(name, CheckState.PASS if good else CheckState.FAIL, detail, "" if good else mend)
