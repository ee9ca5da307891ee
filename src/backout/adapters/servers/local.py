"""Scratch servers from the PostgreSQL programs on this machine: private, isolated, found after a crash."""

from __future__ import annotations

from pathlib import Path

from backout.adapters.servers import fit
from backout.errors import NeighbourUnreachable, Refused, UnknownName
from backout.model.check import Check, CheckState, all_good
from backout.ports.servers import Capabilities, Scratch, SourceFacts
from backout.postgres import extensions, scratch, servers
from backout.postgres.binaries import Binaries, installations


class LocalServers:
    """One scratch server a major version and installation, below `<state directory>/copies/`.

    Its databases carry the encoding and locale of their source each, so one server serves many sources.
    """

    def __init__(self, state_directory: Path, reserve_bytes: int | None = None) -> None:
        """`reserve_bytes` must stay free on the disk; None = decided by whether a production shares it."""
        self._reserve = reserve_bytes
        self._directory = state_directory / "copies"
        self._registry = scratch.Registry(self._directory)

    def fit(self, source: SourceFacts, need_bytes: int) -> tuple[Check, ...]:
        """Check by check, whether `start` would give a server on which `need_bytes` of this source fit."""
        major = source.server_version // 10000
        try:
            binaries = _choose(source)
        except NeighbourUnreachable as error:
            mend = f"apt-get install postgresql-{major}; or {fit.NAME_A_SERVER}"
            return (Check("server version", CheckState.FAIL, error.what, mend),)
        return (
            Check("server version", CheckState.PASS, f"PostgreSQL {binaries.version} ({binaries.origin})"),
            *fit.extension_checks(source, fit.Ground(extensions.on_disk(binaries))),
            *fit.locale_checks(source, binaries),
            fit.disk_check(self._directory, need_bytes, source, self._reserve),
            _network_check(),
        )

    def start(self, source: SourceFacts) -> Scratch:
        """Start the server for this source, or use the running one.

        Raises `NeighbourUnreachable` when there are no programs of its version or it does not start,
        `Refused` when a check of `fit` fails.
        """
        binaries = _choose(source)
        bad = [check for check in self.fit(source, 0) if check.state is CheckState.FAIL]
        if not all_good(bad):
            raise Refused(
                f"no scratch server fits this source: {bad[0].detail}",
                where="this machine",
                intact="everything; no server was started",
                next=bad[0].mend,
            )
        with self._registry.lock():
            layout = self._registry.ensure(scratch.name_of(binaries), binaries)
        if source.on_this_machine:
            scratch.give_way(layout)
        return _scratch(scratch.name_of(binaries), layout)

    def conninfo(self, scratch: Scratch, database: str) -> str:
        """Connection string over the private socket; holds no secret."""
        return self._layout(scratch.name).conninfo(database)

    def running(self) -> tuple[Scratch, ...]:
        """The servers of the registry whose postmaster lives, whoever started them."""
        layouts = ((record.name, scratch.layout_of(record)) for record in self._registry.records())
        return tuple(_scratch(name, layout) for name, layout in layouts if servers.is_running(layout))

    def stopped(self) -> tuple[Scratch, ...]:
        """The servers of the registry that do not run, also half made ones; `destroy` takes them too."""
        layouts = ((record.name, scratch.layout_of(record)) for record in self._registry.records())
        return tuple(_scratch(name, layout) for name, layout in layouts if not servers.is_running(layout))

    def destroy(self, scratch: Scratch) -> None:
        """Stop the server and remove all its files; raises `NeighbourUnreachable` when something is left."""
        with self._registry.lock():
            for record in self._registry.records():
                if record.name == scratch.name:
                    self._registry.remove(record)

    def capabilities(self) -> Capabilities:
        """We own its configuration; whether it can be cut off the network depends on the system."""
        return Capabilities(True, True, servers.find_launcher() is not None)

    def _layout(self, name: str) -> servers.Layout:
        for record in self._registry.records():
            if record.name == name:
                return scratch.layout_of(record)
        raise UnknownName(
            f"there is no scratch server {name}",
            where=str(self._directory),
            intact="everything",
            next="backout copies",
        )


def _choose(source: SourceFacts) -> Binaries:
    """The installation of the source's major that misses the fewest of its extensions and locales."""
    major = source.server_version // 10000
    able = [binaries for binaries in installations() if binaries.major == major]
    if not able:
        there = ", ".join(str(m) for m in sorted({b.major for b in installations()})) or "none"
        raise NeighbourUnreachable(
            f"no PostgreSQL {major} server programs on this machine (found: {there})",
            where="this machine",
            intact="everything",
            next=f"apt-get install postgresql-{major}; or {fit.NAME_A_SERVER}",
        )
    return min(able, key=lambda binaries: _shortcomings(source, binaries))


def _shortcomings(source: SourceFacts, binaries: Binaries) -> int:
    checks = fit.extension_checks(source, fit.Ground(extensions.on_disk(binaries)))
    checks += fit.locale_checks(source, binaries)
    weight = {CheckState.FAIL: 100, CheckState.WARN: 1}
    return sum(weight.get(check.state, 0) for check in checks)


def _network_check() -> Check:
    if servers.find_launcher() is not None:
        return Check("isolation", CheckState.PASS, "no network, no archiving, no replication, private socket")
    detail = "no archiving, no replication, private socket; this system allows no network namespace, so "
    detail += "functions of a copy could still reach the network: user mappings are left out of every copy"
    return Check("isolation", CheckState.WARN, detail)


def _scratch(name: str, layout: servers.Layout) -> Scratch:
    return Scratch(
        name=name,
        host=str(layout.socket_directory),
        port=layout.port,
        user=layout.user,
        major=layout.binaries.major,
        bin_directory=str(layout.binaries.directory),
        data_directory=str(layout.data),
    )
