"""An isolated instance becomes the server that others use, or is isolated again: looked at in every step."""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import replace
from pathlib import Path

from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from backout.errors import BackoutError, ConfigurationError, NeighbourUnreachable, Refused, Stopped
from backout.ports.backups import Instance, Listening, Serving, ServingSource
from backout.postgres import servers
from backout.postgres.connect import Session, open_session
from backout.postgres.marks import unmark
from backout.postgres.names import quoted
from backout.postgres.physical.carried import SERVING
from backout.postgres.physical.control import read_control
from backout.postgres.physical.instances import Instances, plain_name
from backout.postgres.physical.isolation import cut_off, write_private
from backout.postgres.physical.serving_plan import Drawn, draw_up, hba_text
from backout.postgres.scratch import PORT, Recorded, layout_of

_APPLICATION = "backout/serving/0"
_HOST = re.compile(r"[A-Za-z0-9.:*_-]+(,[A-Za-z0-9.:*_-]+)*\Z")
_HEAD = "# Written by backout when this restored instance began to serve. It is yours from now on.\n"
_SYNC_PATIENCE_SECONDS = 4 * 3600.0


def serve(instances: Instances, name: str, listening: Listening, source: ServingSource) -> Instance:
    """Make the instance serve; returned as it is when it does, and started when it does not run.

    Everything that can be refused is refused before it is stopped. A start that fails leaves it isolated.
    """
    _require_addresses(listening)
    record, _ = instances.whole(name)
    if record.listens:
        _serve_on(record, listening)
    else:
        _require_free(listening)
        servers.start(layout_of(record))
        drawn = draw_up(record, listening, source)
        switch(instances, record, drawn, release(layout_of(record)))
    return instances.whole(name)[1]


def retire(instances: Instances, name: str) -> None:
    """Isolate and mark a serving instance again, so that it may be destroyed. Idempotent."""
    with instances.lock():
        if (record := instances.serving(name)) is not None:
            _isolate_again(instances, record)


def _serve_on(record: Recorded, listening: Listening) -> None:
    """One that serves already: there or not at all."""
    if (record.listens, record.port) != (listening.host, listening.port):
        raise Refused(
            f"the instance serves already, on {record.listens} port {record.port}",
            where=record.data,
            intact="everything; it goes on serving",
            next="the same again with the address and port where it serves",
        )
    if not servers.is_running(layout_of(record)):
        _require_free(listening)
        servers.start(layout_of(record))
    _require_answer(layout_of(record))  # its settings are people's by now


def _require_addresses(listening: Listening) -> None:
    if not _HOST.match(listening.host) or not 0 < listening.port < 2**16:
        raise ConfigurationError(
            f"{listening.host!r}, port {listening.port}, is no place to listen at",
            where="where the restored instance is to serve",
            intact="everything; nothing was done",
            next="the same again with addresses of this machine and a port up to 65535",
        )


def _require_free(listening: Listening) -> None:
    """Raise `Refused` unless every address and the port can be had, tried as the server will."""
    for host in listening.host.split(","):
        try:
            flags = socket.AI_PASSIVE
            wanted = None if host == "*" else host
            found = socket.getaddrinfo(wanted, listening.port, type=socket.SOCK_STREAM, flags=flags)
            if not any([_can_bind(*one) for one in found]):  # all of them: one may be taken
                raise OSError(errno.EADDRNOTAVAIL, "this machine has no such address")
        except OSError as error:
            raise Refused(
                f"the instance cannot listen on {host} port {listening.port}: {error.strerror}",
                where="this machine",
                intact="everything; the instance is isolated as it was",
                next="end what listens there or choose another port, then the same command again",
            ) from None


def _can_bind(family: int, kind: int, protocol: int, _: str, address: tuple[object, ...]) -> bool:
    """Whether this machine has the address; raises OSError when it is taken.

    A name may stand for an address that is not here (IPv6): the server goes without it, too.
    """
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return False
        raise
    return True


def release(layout: servers.Layout) -> tuple[str, ...]:
    """Take the marker out of every database of a running instance and disable the subscriptions that came
    along; a sentence for each of these. Idempotent."""
    notes = list[str]()
    for database in _connectable(layout):
        with _session(layout, database) as session:
            unmark(session)
            notes += [
                f"subscription {quoted(n)} in {quoted(database)} is disabled" for n in _disable(session)
            ]
    if notes:
        notes.append("no subscription works before max_logical_replication_workers is raised, and a restart")
    return tuple(notes)


def _disable(session: Session) -> tuple[str, ...]:
    rows = session.execute(
        """SELECT subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
           WHERE d.datname = pg_catalog.current_database() ORDER BY subname"""
    ).fetchall()
    for (name,) in rows:
        with session.transaction():
            session.execute("SET TRANSACTION READ WRITE")  # a setting of the database may say otherwise
            session.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(sql.Identifier(name)))
    return tuple(row[0] for row in rows)


def _connectable(layout: servers.Layout) -> tuple[str, ...]:
    with _session(layout) as session:
        rows = session.execute(
            "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname"
        ).fetchall()
    return tuple(row[0] for row in rows)


def switch(instances: Instances, record: Recorded, drawn: Drawn, notes: tuple[str, ...]) -> None:
    """Restart a released instance so that it serves. The record comes before the network: a killed command
    leaves an isolated instance, or one that is known to serve."""
    with _session(layout_of(record)) as session:
        session.execute("CHECKPOINT")
    _sync(layout_of(record))
    with instances.lock():
        _stop(layout_of(record))
        _configure(Path(record.data), drawn)
        record = instances.serves(record, _serving(record, drawn, notes))
        try:
            servers.start(layout_of(record))
            look(layout_of(record))
        except BackoutError as error:
            _isolate_again(instances, record)
            raise Refused(
                f"the instance does not serve: {error.what}",
                where=record.data,
                intact="the source; the instance is isolated again, with everything in it",
                next="see server.log there, then the same command again",
            ) from error


def _sync(layout: servers.Layout) -> None:
    """Have every file on the disk: a clone was copied without, and a server syncs only what it writes."""
    program = [layout.binaries.program("initdb"), "--sync-only", f"-D{layout.data}"]
    done = servers.run_program(program, timeout=_SYNC_PATIENCE_SECONDS)
    if done.returncode != 0:
        raise Stopped(
            f"the files of the instance could not be synced: {done.stderr.strip()}",
            where=str(layout.data),
            intact="everything; the instance is isolated as it was",
            next="the same command again",
        )


def _serving(record: Recorded, drawn: Drawn, notes: tuple[str, ...]) -> Serving:
    layout = layout_of(replace(record, listens=drawn.listening.host, port=drawn.listening.port))
    about_log = f"its log is {servers.log_of(layout)}, which nobody rotates"
    return Serving(drawn.listening, (*drawn.notes, *notes, about_log), servers.start_command(layout))


def _configure(data: Path, drawn: Drawn) -> None:
    """The configuration of a stopped instance; what its recovery had set goes."""
    write_private(data / "postgresql.conf", _HEAD + servers.as_configuration(drawn.settings))
    write_private(data / "pg_hba.conf", hba_text(drawn.hba))
    write_private(data / "pg_ident.conf", drawn.ident)
    write_private(data / "postgresql.auto.conf", "")


def look(layout: servers.Layout) -> None:
    """Raise `NeighbourUnreachable` unless the instance answers over TCP, and says that it is durable, quiet
    and where it was told to be."""
    _require_answer(layout)
    expected = {**SERVING, "listen_addresses": layout.addresses, "port": str(layout.port)}
    with _session(layout) as session:
        rows = session.execute(
            """SELECT name, setting FROM pg_catalog.pg_settings
               WHERE name = ANY(%s) AND source NOT IN ('database', 'user', 'database user')""",
            (list(expected),),
        ).fetchall()
    wrong = [f"{name} is {value!r}" for name, value in rows if value != expected[name]]
    if wrong:
        raise _unreachable(layout, f"its settings are not the ones it was given: {', '.join(wrong)}")


_NEAR = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names of what it was told


def _require_answer(layout: servers.Layout) -> None:
    """Every address answers as a PostgreSQL server, whether or not it would let us in."""
    for host in layout.addresses.split(","):
        near = _NEAR.get(host, host)
        parts = {"host": near, "port": str(layout.port), "user": "backout", "dbname": "postgres"}
        asked = make_conninfo(**parts, connect_timeout=10, sslmode="disable")
        if pq.PGconn.ping(asked.encode()) != pq.Ping.OK:
            raise _unreachable(layout, f"nobody answers on {near} port {layout.port}")


def _unreachable(layout: servers.Layout, what: str) -> NeighbourUnreachable:
    return NeighbourUnreachable(
        what,
        where=str(layout.data),
        intact="the instance and everything in it",
        next="see server.log there, then the same command again",
    )


def _isolate_again(instances: Instances, record: Recorded) -> None:
    """Stop, cut off, start, mark; the record comes last, so that a killed command is repeated from the start.

    One that does not start needs no marker: `destroy` has to be able to take it.
    """
    layout = layout_of(record)
    _stop(layout)
    control = read_control(layout.binaries, layout.data)
    cut_off(layout.data, plain_name(record), control)
    isolated = replace(record, listens="", port=PORT)
    try:
        servers.start(layout_of(isolated))
    except NeighbourUnreachable:
        pass
    else:
        instances.mark(isolated, control.system_identifier)
    instances.is_isolated(record)


def _stop(layout: servers.Layout) -> None:
    servers.stop(layout, mode="fast")
    if servers.is_running(layout):  # its files must not change under it
        raise Stopped(
            "the instance does not stop",
            where=str(layout.data),
            intact="the instance; it goes on as it was",
            next="the same command again",
        )


def _session(layout: servers.Layout, database: str = "template1") -> Session:
    return open_session(layout.conninfo(database), _APPLICATION)
