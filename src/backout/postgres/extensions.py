"""Which extensions, in which versions, an installation or a server can create; what brings the others."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from backout.postgres.binaries import Binaries
from backout.postgres.connect import Session

# Debian's names (apt.postgresql.org): what does not follow the rule postgresql-MAJOR-NAME.
_PACKAGES: Mapping[str, str] = {
    "postgis": "postgis-3",
    "postgis_topology": "postgis-3",
    "postgis_raster": "postgis-3",
    "postgis_tiger_geocoder": "postgis-3",
    "address_standardizer": "postgis-3",
    "vector": "pgvector",
    "pg_cron": "cron",
    "pg_partman": "partman",
    "pg_repack": "repack",
    "pgaudit": "pgaudit",
    "hypopg": "hypopg",
    "hll": "hll",
    "ip4r": "ip4r",
    "periods": "periods",
    "pglogical": "pglogical",
    "pgrouting": "pgrouting",
    "pgtap": "pgtap",
    "plpgsql_check": "plpgsql-check",
    "prefix": "prefix",
    "rum": "rum",
    "semver": "semver",
    "wal2json": "wal2json",
    "pg_hint_plan": "pg-hint-plan",
    "http": "http",
}
_CONTRIB_NAMES = """
    adminpack amcheck autoinc bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn
    earthdistance file_fdw fuzzystrmatch hstore insert_username intagg intarray isn lo ltree moddatetime
    pageinspect pg_buffercache pg_freespacemap pg_prewarm pg_stat_statements pg_surgery pg_trgm pg_visibility
    pg_walinspect pgcrypto pgrowlocks pgstattuple postgres_fdw refint seg sslinfo tablefunc tcn
    tsm_system_rows tsm_system_time unaccent uuid-ossp xml2
"""
_CONTRIB = frozenset(_CONTRIB_NAMES.split())
NEEDS_PRELOAD = frozenset({"citus", "pg_cron", "timescaledb"})
"""Cannot be created without shared_preload_libraries, which a scratch server of ours does not have."""


def on_disk(binaries: Binaries) -> dict[str, frozenset[str]]:
    """Name -> versions that CREATE EXTENSION can reach, read from the installation's control files."""
    directory = _share_directory(binaries) / "extension"
    names = [path.stem for path in directory.glob("*.control") if "--" not in path.name]
    return {name: _reachable_versions(name, directory) for name in names}


def on_server(session: Session) -> dict[str, frozenset[str]]:
    """Name -> versions that this server says it can install."""
    rows = session.execute(
        """SELECT name, pg_catalog.array_agg(version)
           FROM pg_catalog.pg_available_extension_versions GROUP BY name"""
    ).fetchall()
    return {str(name): frozenset(versions) for name, versions in rows}


def for_superusers(session: Session) -> frozenset[str]:
    """Extensions that nobody but a superuser may create on this server."""
    rows = session.execute(
        """SELECT name FROM pg_catalog.pg_available_extension_versions
           GROUP BY name HAVING bool_and(superuser AND NOT trusted)"""
    ).fetchall()
    return frozenset(str(name) for (name,) in rows)


def _share_directory(binaries: Binaries) -> Path:
    config = Path(binaries.program("pg_config"))
    if config.exists():
        shown = subprocess.run(  # noqa: S603 - a program of the installation, no shell
            [str(config), "--sharedir"], capture_output=True, text=True, check=False, timeout=20
        )
        if shown.returncode == 0:
            return Path(shown.stdout.strip())
    share = binaries.directory.parent / "share"
    return share / "postgresql" if (share / "postgresql").exists() else share


def _reachable_versions(name: str, directory: Path) -> frozenset[str]:
    """Base scripts `name--V.sql`, then every update script `name--A--B.sql` that leads on from there."""
    parts = [path.name.removesuffix(".sql").split("--")[1:] for path in directory.glob(f"{name}--*.sql")]
    reached = {part[0] for part in parts if len(part) == 1}
    steps = {(part[0], part[1]) for part in parts if len(part) == 2}
    while found := {to for start, to in steps if start in reached} - reached:
        reached |= found
    return frozenset(reached)


def install_command(name: str, major: int) -> str:
    """The command that brings an extension on Debian and Ubuntu, else a sentence."""
    if name in _CONTRIB:
        return f"apt-get install postgresql-{major}"
    if name in _PACKAGES:
        return f"apt-get install postgresql-{major}-{_PACKAGES[name]}"
    return f"install {name} for PostgreSQL {major}"
