"""Who looks after this server, recognised by what it says itself, and what that does to a slot of ours."""

from __future__ import annotations

from dataclasses import dataclass

from backout.postgres.connect import Session


@dataclass(frozen=True, slots=True)
class Platform:
    """A controller or a managed service, and its habit with replication slots that are not its own."""

    name: str
    habit: str
    drops_slots: bool = False
    """It removes slots that it does not know: a person has to say that it leaves ours alone."""


# Recognised by roles, settings and the names of its own sessions; never by a host name or a version.
_SIGNS = """
SELECT (SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_catalog.pg_roles
        WHERE rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'supabase_admin',
                          'neon_superuser')),
       (SELECT coalesce(array_agg(DISTINCT pg_catalog.split_part(name, '.', 1)), '{}')
        FROM pg_catalog.pg_settings WHERE name ~ '^(cnpg)\\.'),
       EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity WHERE application_name ~ '^Patroni'),
       EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity
               WHERE application_name ~ '^(cnpg|streaming_replica)'),
       EXISTS (SELECT 1 FROM pg_catalog.pg_proc WHERE proname = 'aurora_version')
"""
PATRONI = Platform(
    "Patroni",
    "it drops every inactive slot that its configuration does not name, at its next restart, after a restart "
    "of PostgreSQL and at the end of a pause",
    drops_slots=True,
)
_CNPG = Platform(
    "CloudNativePG",
    "it leaves foreign logical slots on the primary; after a failover they are gone unless "
    "spec.replicationSlots.synchronizeReplicas or failover slots (17+) carry them",
)
_RDS = Platform(
    "Amazon RDS",
    "slots stay over restarts; after a Multi-AZ failover they are there only on the same storage; logical "
    "slots need rds.logical_replication = 1, a reboot, and GRANT rds_replication; a full disk stops it",
)
_AURORA = Platform(
    "Amazon Aurora",
    "slots live on the shared storage and survive a failover; they need rds.logical_replication = 1, a "
    "reboot, and GRANT rds_replication",
)
_CLOUD_SQL = Platform(
    "Google Cloud SQL",
    "slots need the flag cloudsql.logical_decoding, a restart, and ALTER ROLE ... REPLICATION; a maintenance "
    "may not begin while a slot holds WAL",
)
_AZURE = Platform("Azure Database", "logical slots need wal_level = logical and are lost at a failover")
_SUPABASE = Platform("Supabase", "slots stay; a pause or a restore of the project removes them")
_NEON = Platform("Neon", "inactive slots are removed after about 40 hours")


def recognise(session: Session) -> Platform | None:
    """The platform by its signs; None when there are none."""
    row = session.execute(_SIGNS.encode()).fetchone()
    assert row is not None
    roles, prefixes, patroni, cnpg, aurora = frozenset(row[0]), frozenset(row[1]), *row[2:]
    found = (
        (patroni, PATRONI),
        (cnpg or "cnpg" in prefixes, _CNPG),
        (aurora, _AURORA),
        ("rds_superuser" in roles, _RDS),
        ("cloudsqlsuperuser" in roles, _CLOUD_SQL),
        ("azure_pg_admin" in roles, _AZURE),
        ("neon_superuser" in roles, _NEON),
        ("supabase_admin" in roles, _SUPABASE),
    )
    return next((platform for sign, platform in found if sign), None)
