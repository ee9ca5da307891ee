"""HAProxy before the database: the address of its server is changed behind the fence.

Nothing holds writes here: the fence ends every session, and until the switch a client that comes back is
refused by the old side. Traps, each measured: a change of the address moves no session that is there, and
without a fence one of them writes to the old side on, acknowledged and lost; `set maxconn frontend` as a
brake is an outage that ends only by a restart; so the old sessions are ended, and nothing is braked. A
restarted HAProxy reads its file, so the new one is renamed into place only behind the fence.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from backout.adapters.traffic import beside, haproxy_cfg, options
from backout.adapters.traffic.haproxy_cfg import ServerLine
from backout.errors import ConfigurationError, NeighbourUnreachable, Stopped
from backout.model.check import Check, CheckState
from backout.model.cutover import Price, Promise, Warrant
from backout.ports.traffic import Act, Address, Hold, Led, Link, Traffic, TrafficCapabilities
from backout.postgres.dead_man import Links, Refusal, Row

_LINK = "haproxy"
_NO_CHECKS = "not enabled"
_LOCAL = ("127.", "localhost", "::1", "/")
_POLL_SECONDS = 0.002


def from_settings(given: Mapping[str, object]) -> Traffic:
    """`cfg` (path), `backend`, `server` (names in it), `socket` (path or host:port of its runtime API, level
    admin), `database`."""
    return HAProxy(
        options.path(given, "cfg"),
        ServerLine(options.text(given, "backend"), options.text(given, "server")),
        _runtime(options.text(given, "socket")),
        options.text(given, "database"),
    )


def _runtime(told: str) -> Link:
    host, port = (told, "0") if told.startswith("/") else told.rsplit(":", 1) if ":" in told else (told, "")
    if not port.isdigit():
        raise ConfigurationError(
            f"{told!r} is no place of a runtime API: a path, or host:port",
            where="traffic.socket",
            intact="everything; nothing was changed",
            next="correct it in backout.toml, then: backout doctor",
        )
    return Link(host=host, port=int(port), user="", database="", speaks=_LINK)


class HAProxy:
    """`ports.traffic.Traffic` for one server line of one HAProxy."""

    name = "haproxy"

    def __init__(self, cfg: Path, line: ServerLine, runtime: Link, database: str) -> None:
        self._cfg = cfg
        self._line = line
        self._runtime = runtime
        self._database = database
        self._links = Links({_LINK: options.document(runtime)})

    def capabilities(self) -> TrafficCapabilities:
        return TrafficCapabilities(False, Promise.ONE_ERROR, reads_back=True, leaves_by_itself=True)

    def price(self) -> Price:
        needs = (
            "its runtime API with level admin",
            f"{self._cfg} writable here",
            "clients that reconnect, and repeat only what may be repeated",
        )
        pause = "each client is cut once and refused until the switch; a commit behind it may have happened"
        local = self._runtime.host.startswith(_LOCAL)
        cut_off = "" if local else "until a person acts, if the network to HAProxy is lost"
        return Price(self.name, Promise.ONE_ERROR, pause, needs, cut_off)

    def checks(self) -> tuple[Check, ...]:
        file = beside.check(self._cfg)
        if not file.good:
            return (file,)
        try:
            return (self._may_act(), self._file(), file)
        except (OSError, Refusal, NeighbourUnreachable) as error:
            mend = "give it `stats socket PATH level admin` in haproxy.cfg, then the same command again"
            return (Check("runtime API", CheckState.FAIL, f"{self._where}: {error}", mend), file)

    def keep_away(self) -> None:
        """Nobody is led anywhere by a server that answers: clients know HAProxy."""

    def open(self) -> None:
        try:
            self._ask("show info")
        except (OSError, Refusal) as error:
            raise NeighbourUnreachable(
                f"the runtime API of HAProxy does not answer: {error}",
                where=self._where,
                intact="everything; nothing was fenced",
                next="mend it, then the same command again",
            ) from None

    def prepare(self, new: Address, token: str) -> Warrant:
        _resolved(new.host)  # a name that leads nowhere is found before anything happens
        remark = f"{self._line} led to {new} by backout, {token}"
        text = haproxy_cfg.led_to(beside.read(self._cfg), self._line, new, remark)
        return beside.prepare(self._cfg, text.encode(), token)

    def links(self) -> Mapping[str, Link]:
        return {_LINK: self._runtime}

    def back(self) -> tuple[Act, ...]:
        return ()

    def forward(self, new: Address) -> tuple[Act, ...]:
        return (self._lead(new), self._end_sessions(), self._believe())

    def hold(self, seconds: float) -> Hold:
        """Nothing can be held: the fence cuts."""
        return Hold(True)

    def let_go(self) -> None:
        """Nothing was held."""

    def switch(self, warrant: Warrant, seconds: float) -> None:
        host, port = haproxy_cfg.leads_to(beside.read(Path(warrant.prepared)), self._line)
        beside.spend(warrant, f"HAProxy, server {self._line}")
        until = time.monotonic() + seconds
        new = Address(_resolved(host), port, self._database)
        self._ask(self._lead(new).say)
        while not self._leads_to(new):
            if time.monotonic() > until:
                raise Stopped(
                    f"HAProxy does not lead to {host}:{port} after its address was set",
                    where=f"HAProxy, server {self._line}",
                    intact="traffic; nothing was switched",
                    next="backout status",
                )
            time.sleep(_POLL_SECONDS)

    def release(self, seconds: float) -> None:
        self._ask(self._end_sessions().say, seconds)
        try:
            self._ask(self._believe().say, seconds)
        except Refusal as refusal:
            if _NO_CHECKS not in str(refusal):
                raise

    def read_back(self) -> tuple[Led, ...]:
        """As HAProxy has it in force, under the name that its file has for that place."""
        row = self._shown()
        at, port = str(row["srv_addr"]), int(row["srv_port"] or 0)
        told, told_port = haproxy_cfg.leads_to(beside.read(self._cfg), self._line)
        host = told if told_port == port and _resolved(told) == at else at
        return (Led(f"server {self._line} of HAProxy", Address(host, port, self._database)),)

    def close(self) -> None:
        self._links.close()
        beside.clear(self._cfg)

    # ── the runtime API ────────────────────────────────────────────────────────────────────────────────

    @property
    def _where(self) -> str:
        return f"{self._runtime.host}:{self._runtime.port}".removesuffix(":0")

    def _ask(self, statement: str, seconds: float = 5.0) -> list[Row]:
        return self._links.ask(_LINK, statement, seconds)

    def _lead(self, new: Address) -> Act:
        return Act(_LINK, f"set server {self._line} addr {_resolved(new.host)} port {new.port}")

    def _end_sessions(self) -> Act:
        return Act(_LINK, f"shutdown sessions server {self._line}")

    def _believe(self) -> Act:
        """Checks have seen the fenced side fail: the new one need not wait until they have come round."""
        return Act(_LINK, f"set server {self._line} health up", fine=(_NO_CHECKS,))

    def _leads_to(self, new: Address) -> bool:
        """One look; `new` with its address, not a name: nothing is looked up while writes are held."""
        row = self._shown()
        return (row["srv_addr"], row["srv_port"]) == (new.host, str(new.port))

    def _shown(self) -> Row:
        for row in self._ask(f"show servers state {self._line.backend}"):
            if row["srv_name"] == self._line.server:
                return row
        raise NeighbourUnreachable(
            f"HAProxy has no server {self._line}",
            where=self._where,
            intact="everything; nothing was changed",
            next="correct traffic.backend and traffic.server, then: backout doctor",
        )

    def _may_act(self) -> Check:
        """The address that it has, set once more: asked as it will be, and changed is nothing."""
        row = self._shown()
        self._ask(f"set server {self._line} addr {row['srv_addr']} port {row['srv_port']}")
        detail = f"server {self._line} at {row['srv_addr']}:{row['srv_port']} can be led elsewhere"
        return Check("runtime API", CheckState.PASS, detail)

    def _file(self) -> Check:
        text = beside.read(self._cfg)
        if haproxy_cfg.remembers_states(text):
            why = "load-server-state-from-file: a reload would lead back to the old side"
            return Check("configuration", CheckState.FAIL, why, "take it out of haproxy.cfg and reload")
        row, (host, port) = self._shown(), haproxy_cfg.leads_to(text, self._line)
        in_force = f"{row['srv_addr']}:{row['srv_port']}"
        if f"{_resolved(host)}:{port}" != in_force:
            why = f"the file says {host}:{port}, in force is {in_force}"
            return Check("configuration", CheckState.FAIL, why, "reload HAProxy, or correct traffic.cfg")
        return Check("configuration", CheckState.PASS, f"the file and what is in force say {in_force}")


def _resolved(host: str) -> str:
    """The address behind a name: the runtime API takes no names."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)[0][4][0])
    except OSError as error:
        raise NeighbourUnreachable(
            f"the name {host} leads nowhere: {error.strerror or error}",
            where="traffic.host",
            intact="everything; nothing was changed",
            next="correct traffic.host, then: backout doctor",
        ) from None
