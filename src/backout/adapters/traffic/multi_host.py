"""libpq's list of hosts with `target_session_attrs=read-write`: each client sees one error and reconnects.

Nothing holds writes here: the fence cuts every client, and the client's next connection finds the side that
takes writes. libpq does not go on past a host that refuses with "too many connections", as a fenced one
does (measured; psycopg, which walks the list itself, goes on): so the new side has to stand first. From
before it answers until the switch it is set read-only by default, which only leads clients (any session can
undo it) and is no fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backout.adapters.traffic import beside, options
from backout.errors import NeighbourUnreachable
from backout.model.check import Check, CheckState
from backout.model.cutover import Price, Promise, Warrant
from backout.ports.traffic import Act, Address, Hold, Led, Link, Traffic, TrafficCapabilities
from backout.postgres.dead_man import Links, Refusal
from backout.postgres.routing import read_only_question, read_only_statement, routed_sessions

_LINK = "routing"


def from_settings(given: Mapping[str, object]) -> Traffic:
    """`state` (directory for the permission to switch), `new` (owner's connection string on the new side, in
    another database than the application's), `database`, `application` (role whose sessions are counted)."""
    return MultiHost(
        options.path(given, "state"),
        options.link(options.text(given, "new")),
        options.text(given, "database"),
        options.text(given, "application"),
    )


class MultiHost:
    """`ports.traffic.Traffic` for clients that know both hosts."""

    name = "multi-host"

    def __init__(self, state: Path, new: Link, database: str, application: str) -> None:
        self._file = state / "multi-host"
        self._new = new
        self._database = database
        self._application = application
        self._links = Links({_LINK: options.document(new)})

    def capabilities(self) -> TrafficCapabilities:
        return TrafficCapabilities(False, Promise.ONE_ERROR, reads_back=False, leaves_by_itself=True)

    def price(self) -> Price:
        needs = (
            "every client lists both hosts, the new side first, with target_session_attrs=read-write",
            "clients that reconnect, and repeat only what may be repeated",
        )
        pause = "each client is cut once and refused until the switch; a commit behind it may have happened"
        cut_off = "until a person acts, if the network to the old side is lost"
        return Price(self.name, Promise.ONE_ERROR, pause, needs, cut_off)

    def checks(self) -> tuple[Check, ...]:
        try:
            self._ask("SELECT 1")
            self._ask(read_only_statement(self._database, self._read_only()))
        except (OSError, Refusal) as error:
            mend = "let the owner of the new database act, connected to another database of that cluster"
            return (Check("routing", CheckState.FAIL, str(error), mend),)
        detail = "the new side can be made read-only and writable by default"
        warning = "a client that is not told both hosts stays away: count instances on the new side"
        return (
            Check("routing", CheckState.PASS, detail),
            Check("clients", CheckState.WARN, "their host lists cannot be asked", warning),
        )

    def keep_away(self) -> None:
        """The new side stands first in every list: whoever connects would write there from now on."""
        self._ask(read_only_statement(self._database, True))

    def open(self) -> None:
        try:
            self._links.open()
        except (OSError, Refusal) as error:
            raise NeighbourUnreachable(
                f"the new side does not answer: {error}",
                where=f"{self._new.host}:{self._new.port}",
                intact="everything; nothing was fenced",
                next="mend it, then the same command again",
            ) from None

    def prepare(self, new: Address, token: str) -> Warrant:
        self._ask(read_only_statement(self._database, True))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        return beside.prepare(self._file, f"{new} {token}\n".encode(), token)

    def links(self) -> Mapping[str, Link]:
        return {_LINK: self._new}

    def back(self) -> tuple[Act, ...]:
        return ()

    def forward(self, new: Address) -> tuple[Act, ...]:
        asked = read_only_question(self._database)
        return (Act(_LINK, read_only_statement(self._database, False), asked, {}, "value", "off"),)

    def hold(self, seconds: float) -> Hold:
        """Nothing can be held: the fence cuts."""
        return Hold(True)

    def let_go(self) -> None:
        """Nothing was held."""

    def switch(self, warrant: Warrant, seconds: float) -> None:
        beside.spend(warrant, "the host list")

    def release(self, seconds: float) -> None:
        self._ask(read_only_statement(self._database, False), seconds)

    def read_back(self) -> tuple[Led, ...]:
        """Clients show themselves by their sessions on the new side; who stays away cannot be known."""
        rows = self._ask(routed_sessions(self._database, self._application))
        here = self._switched_to()
        count = int(rows[0]["value"] or 0)
        if not count:
            return (Led(f"sessions of {self._application}: none is on the new side yet; the others", None),)
        return (Led(f"{count} sessions of {self._application}", here),)

    def close(self) -> None:
        self._links.close()
        beside.clear(self._file)

    def _switched_to(self) -> Address:
        """What the spent permission says: our own link may go through a door that no client knows."""
        told = self._file.read_text("utf-8") if self._file.exists() else ""
        place, _, database = told.strip().rpartition(" ")[0].partition("/")
        host, _, port = place.rpartition(":")
        if not port.isdigit():
            return Address(self._new.host, self._new.port, self._database)
        return Address(host, int(port), database)

    def _read_only(self) -> bool:
        return self._ask(read_only_question(self._database))[0]["value"] == "on"

    def _ask(self, statement: str, seconds: float = 5.0) -> list[dict[str, str | None]]:
        return self._links.ask(_LINK, statement, seconds)
