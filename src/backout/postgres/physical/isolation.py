"""Cut a copied data directory off from the world before its first start, or do not start it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from backout.errors import Refused
from backout.postgres import servers
from backout.postgres.physical.control import Control
from backout.postgres.scratch import HBA

# The configuration of the source is set aside and ours is written from nothing. Its own lines can name
# production's data directory, files that are not here, an archive, a primary, a scheduler to preload: what
# is not carried over needs no switching off.
_SET_ASIDE = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
OF_SOURCE = ".of_source"
# The log of the source lies in its data directory when pg_ctl started it: an old line in it would be taken
# for evidence of this recovery.
_DROPPED = (
    "postmaster.pid",
    "postmaster.opts",
    "standby.signal",
    "recovery.signal",
    "server.log",
    "current_logfiles",
)
_ISOLATED: Mapping[str, str] = {
    **servers.ISOLATION,
    "archive_command": "",
    "primary_slot_name": "",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "log_destination": "stderr",
    "logging_collector": "off",
    "lc_messages": "C",  # its log is read
    "autovacuum": "off",  # rows keep their place, and nothing is frozen that is still to be compared
    "hot_standby": "on",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
}


def isolate(data: Path, name: str, control: Control, *, set_aside: bool = True) -> None:
    """Make a fresh copy of a data directory safe to start; once more for a clone of it.

    `set_aside` is False for a clone: the files of the source lie aside already, and what would be put over
    them is ours. Raises `Refused` for a copy that still points into its source: a tablespace outside of it.
    """
    _refuse_foreign_tablespaces(data)
    for file in _DROPPED:
        (data / file).unlink(missing_ok=True)
    for file in _SET_ASIDE if set_aside else ():
        if (data / file).exists():
            (data / file).replace(data / (file + OF_SOURCE))
    cut_off(data, name, control)
    data.chmod(0o700)


def cut_off(data: Path, name: str, control: Control) -> None:
    """Make a stopped copy reach nobody and let only us in, whatever its configuration and slots were."""
    for slot in (data / "pg_replslot").iterdir():
        shutil.rmtree(slot)
    settings = {**_ISOLATED, **control.needed, "cluster_name": f"backout-{name}"[:60]}
    settings |= {"hba_file": str(data / "pg_hba.conf"), "ident_file": str(data / "pg_ident.conf")}
    write_private(data / "postgresql.conf", servers.as_configuration(settings))
    write_private(data / "pg_hba.conf", HBA)
    write_private(data / "pg_ident.conf", "")
    write_private(data / "postgresql.auto.conf", "")


def _refuse_foreign_tablespaces(data: Path) -> None:
    for link in sorted((data / "pg_tblspc").iterdir()):
        if link.is_symlink() and not link.resolve().is_relative_to(data.parent.resolve()):
            raise Refused(
                f"the copy has tablespace {link.name} in {link.resolve()}, outside of it: its files may be "
                "production's",
                where=str(data),
                intact="everything; the copy was not started",
                next="restore with a tool that maps tablespaces (pgBackRest)",
            )


def write_private(path: Path, text: str) -> None:
    """Write a file that only the account that runs servers may read."""
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(0o600)
    servers.give(path)
