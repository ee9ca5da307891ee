"""Which settings of a production go over to an instance that takes its place, and which must not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backout.ports.backups import ServingSource

# Names in lower case; each group has its reason.
_IDENTITY = """
    bonjour bonjour_name client_encoding cluster_name config_file data_directory event_source
    external_pid_file hba_file ident_file listen_addresses port unix_socket_directories unix_socket_group
    unix_socket_permissions
"""
"""Where the production is and what it is called: true of it alone."""
_OUTSIDE = """
    archive_cleanup_command archive_command archive_library archive_mode archive_timeout hot_standby_feedback
    local_preload_libraries max_logical_replication_workers oauth_validator_libraries primary_conninfo
    primary_slot_name promote_trigger_file restore_command session_preload_libraries shared_preload_libraries
    standby_slot_names sync_replication_slots synchronized_standby_slots synchronous_standby_names
"""
"""What acts on others, waits for others, or loads code that may: an archive, standbys, a scheduler."""
_OF_MACHINE = """
    dynamic_library_path dynamic_shared_memory_type extension_control_path huge_page_size huge_pages
    krb_server_keyfile log_destination log_directory log_file_mode log_filename logging_collector
    shared_memory_type stats_temp_directory
"""
"""Directories and memory that this machine need not have: the server would not start."""
_DENIED = frozenset(f"{_IDENTITY} {_OUTSIDE} {_OF_MACHINE}".split())
_DENIED_GROUPS = ("recovery_", "ssl", "syslog_")
"""Of a recovery that is over; of TLS, which is decided by the files that are there; of a log elsewhere."""
_MAY_HOLD_SECRETS = """
    archive_cleanup_command archive_command primary_conninfo recovery_end_command restore_command
    ssl_passphrase_command
"""
NOT_READ = frozenset(_MAY_HOLD_SECRETS.split())
"""Never carried, and not even read: they may hold passwords."""
_DURABLE: Mapping[str, str] = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "logical",  # a way back, and whatever follows the production, decode its WAL
    "autovacuum": "on",
}
_AT_LEAST: Mapping[str, int] = {"max_wal_senders": 10, "max_replication_slots": 10}
_QUIET: Mapping[str, str] = {
    "archive_mode": "off",
    "max_logical_replication_workers": "0",  # a subscription that came along would take over its slot
    "shared_preload_libraries": "",
    "synchronous_standby_names": "",
}
SERVING: Mapping[str, str] = {**_DURABLE, **_QUIET}
"""What a serving instance has to answer: a server that forgets commits, or acts on others, must not pass."""
_LOG: Mapping[str, str] = {"log_destination": "stderr", "logging_collector": "off"}


def carried(source: ServingSource) -> dict[str, str]:
    """The settings of the source that an instance in its place takes over as they are."""
    return {name: value for name, value in source.settings if not _denied(name.lower())}


def _denied(name: str) -> bool:
    return name in _DENIED or name.startswith(_DENIED_GROUPS)


def forced(source: ServingSource, needed: Mapping[str, str]) -> dict[str, str]:
    """The settings that are ours to say: durable, quiet towards others, limits at least as `needed`."""
    given = _lowered(source)
    limits = {name: int(value) for name, value in needed.items()}
    for name, least in _AT_LEAST.items():
        limits[name] = max(limits.get(name, 0), least)
    widened = {name: str(max(least, int(given.get(name, "0")))) for name, least in limits.items()}
    return {**SERVING, **_LOG, **widened}


def wants_tls(source: ServingSource) -> bool:
    """Whether the source speaks TLS."""
    return _lowered(source).get("ssl") == "on"


def tls_settings(source: ServingSource) -> dict[str, str]:
    """Its settings of TLS."""
    return {name: value for name, value in source.settings if name.lower().startswith("ssl")}


def not_carried(source: ServingSource) -> tuple[str, ...]:
    """What people miss in an instance that took the settings over, one sentence each."""
    return tuple(_missing(source, _lowered(source)))


def _missing(source: ServingSource, given: Mapping[str, str]) -> Iterator[str]:
    if given.get("archive_mode", "off") != "off":
        yield "archiving is off: give it an archive of its own, then archive_mode and a restart"
    for setting in ("shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"):
        for library in filter(None, (part.strip(' "') for part in given.get(setting, "").split(","))):
            yield f"{library} is not loaded ({setting})"
    if not source.all_seen:
        yield "settings that only superusers see were not read; libraries that were preloaded are not loaded"
    if given.get("synchronous_standby_names"):
        yield "commits wait for no standby: synchronous_standby_names is empty"
    if given.get("huge_pages") == "on":
        yield "huge_pages is not carried over: this machine may have none set aside"
    for name in source.covered:
        yield f"{name} is at its default: a setting of the reading role or its database hid the server's"


def _lowered(source: ServingSource) -> dict[str, str]:
    return {name.lower(): value for name, value in source.settings}
