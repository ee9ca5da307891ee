"""The configuration with which an instance is to serve: the source's, as far as it can be had here."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from backout.errors import Refused
from backout.ports.backups import Listening, ServingSource
from backout.postgres import servers
from backout.postgres.connect import open_session
from backout.postgres.physical.carried import carried, forced, not_carried, tls_settings, wants_tls
from backout.postgres.physical.control import read_control
from backout.postgres.physical.hba import LOOPBACK, lines_of_file, refused_line
from backout.postgres.physical.instances import plain_name
from backout.postgres.physical.isolation import OF_SOURCE, write_private
from backout.postgres.scratch import HBA, Recorded, layout_of

_APPLICATION = "backout/serving/0"


@dataclass(frozen=True, slots=True)
class Drawn:
    """The configuration with which an instance is to serve; its programs have read it and take it."""

    listening: Listening
    settings: dict[str, str]
    hba: tuple[str, ...]
    ident: str
    notes: tuple[str, ...]


def draw_up(record: Recorded, listening: Listening, source: ServingSource) -> Drawn:
    """The configuration for a running isolated instance, without what its own programs refuse."""
    layout = layout_of(record)
    control = read_control(layout.binaries, layout.data)
    given, refused = _accepted(layout, carried(source))
    tls, without_tls = _tls(layout, source)
    hba, about_hba = _entrance(layout, source)
    ident = layout.data / f"pg_ident.conf{OF_SOURCE}"
    ours = {
        "data_directory": str(layout.data),
        "hba_file": str(layout.data / "pg_hba.conf"),
        "ident_file": str(layout.data / "pg_ident.conf"),
        "listen_addresses": listening.host,
        "port": str(listening.port),
        "unix_socket_directories": record.sockets,
        "unix_socket_permissions": "0700",
        "cluster_name": f"backout-{plain_name(record)}"[:60],
    }
    settings = {**given, **tls, **forced(source, control.needed), **ours}
    if not tls and any(line.startswith("hostssl") for line in hba):
        without_tls += ("clients that its pg_hba lets in over TLS only cannot come in",)
    if not ident.exists() and any("map=" in line for line in hba):
        about_hba += ("its pg_ident.conf is not in the backup: logins by a map cannot come in",)
    notes = (*about_hba, *without_tls, *not_carried(source), *refused)
    return Drawn(listening, settings, hba, ident.read_text() if ident.exists() else "", notes)


def _accepted(layout: servers.Layout, given: dict[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The settings that these programs take on this machine, and a sentence for each that they do not."""
    left, notes = dict(given), list[str]()
    while complaint := _complaint(layout, left):
        named = {name.lower() for name in re.findall(r'parameter "([^"]+)"', complaint)}
        out = [name for name in left if name.lower() in named]
        if not out:
            raise Refused(
                f"the settings of the source do not fit this PostgreSQL: {complaint.splitlines()[0]}",
                where=str(layout.data),
                intact="everything; the instance is isolated as it was",
                next="backout doctor",
            )
        for name in out:
            del left[name]
            notes.append(f"{name} is not carried over: this PostgreSQL does not take its value")
    return left, tuple(notes)


def _complaint(layout: servers.Layout, settings: dict[str, str]) -> str:
    """What the server program says against a configuration; empty when it would start with it."""
    file = layout.data / "postgresql.conf.part"
    write_private(file, servers.as_configuration(settings))
    program = layout.binaries.program("postgres")
    quiet = ["-clc_messages=C", "-Cport"]  # its complaints are read
    tried = servers.run_program([program, f"-D{layout.data}", f"-cconfig_file={file}", *quiet])
    file.unlink()
    return "" if tried.returncode == 0 else tried.stderr.strip() or "no reason given"


def _tls(layout: servers.Layout, source: ServingSource) -> tuple[dict[str, str], tuple[str, ...]]:
    """The settings of TLS, and why it is off where the source has it on."""
    if not wants_tls(source):
        return {}, ()
    settings = tls_settings(source)
    why = _unusable_file(layout, settings) or _unusable_pair(layout.data, settings)
    if not why and _complaint(layout, settings):
        why = "this PostgreSQL does not take its settings of TLS"
    return ({}, (f"TLS is off: {why}",)) if why else (settings, ())


_PAIR = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
_TLS_FILES = (*_PAIR, "ssl_ca_file", "ssl_crl_file", "ssl_crl_dir", "ssl_dh_params_file")


def _unusable_file(layout: servers.Layout, settings: dict[str, str]) -> str:
    for name in filter(None, ({**_PAIR, **settings}.get(key) for key in _TLS_FILES)):
        path = layout.data / name
        if servers.run_program(["/bin/sh", "-c", 'test -r "$1"', "sh", str(path)]).returncode:
            return f"{name} {'cannot be read here' if Path(name).is_absolute() else 'is not in the backup'}"
    return ""


def _unusable_pair(data: Path, settings: dict[str, str]) -> str:
    """Why the server would not start with its certificate and key; it asks nobody for a passphrase."""
    certificate, key = (data / {**_PAIR, **settings}[name] for name in _PAIR)
    seen = key.stat()
    if seen.st_mode & (0o027 if seen.st_uid == 0 else 0o077):
        return f"{key.name} can be read by others"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        return f"{certificate.name} and {key.name} cannot be used without a passphrase"
    return ""


def _entrance(layout: servers.Layout, source: ServingSource) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who gets in over a network, and what is to be said of it."""
    aside, notes = layout.data / f"pg_hba.conf{OF_SOURCE}", list[str]()
    if source.hba:
        lines = source.hba
    elif aside.exists() and (found := lines_of_file(aside.read_text())):
        lines = found
        notes.append("its pg_hba is the one of the backup: the server's could not be read")
    else:
        return LOOPBACK, ("its pg_hba could not be read: only this machine gets in",)
    kept = _readable(layout, lines)
    if len(kept) < len(lines):
        notes.append(f"its pg_hba ends before its network line {len(kept) + 1}, which cannot be read here")
    return kept or LOOPBACK, tuple(notes)


def _readable(layout: servers.Layout, lines: tuple[str, ...]) -> tuple[str, ...]:
    """The lines up to the first that this server cannot read; with a single one it would not start.

    Not the ones behind it: the first line that matches decides, and it may have turned somebody away. The
    file is written where it will be used, and not loaded: the instance has no network.
    """
    write_private(layout.data / "pg_hba.conf", hba_text(lines))
    with open_session(layout.conninfo("template1"), _APPLICATION) as session:
        bad = refused_line(session)
    return lines if bad is None else lines[: bad - 2]  # line 1 is for our own socket


def hba_text(lines: tuple[str, ...]) -> str:
    """The file: our own line for the private socket, then these."""
    return HBA + "".join(f"{line}\n" for line in lines)
