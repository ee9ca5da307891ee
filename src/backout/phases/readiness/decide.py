"""From what was seen of a server to named checks, each with what mends it; pure."""

from __future__ import annotations

from backout.model.check import Check, CheckState
from backout.phases.readiness.facts import Archive, Encryption, OurSchemas, Ownership, ServerFacts

_OLDEST = 13
"""The oldest major version that the catalog queries were written for."""


def server_checks(seen: ServerFacts, demanded_connections: int) -> tuple[Check, ...]:
    """What can be said of the server and of the role's rights on it."""
    return (
        _identity(seen),
        _privileges(seen.ownership, seen.identity.role),
        _our_schemas(seen.ours, seen.identity.role),
        _forced(seen.forced, seen.identity.role),
        _publications(seen.publications),
        _checksums(seen.checksums),
        _archive(seen.archive),
        _log(seen),
        _connections(seen.connections, demanded_connections),
        _indexes(seen.invalid_indexes),
        _leftovers(seen),
    )


def connection_check(seen: Encryption, roles: tuple[str, ...]) -> Check:
    """How the server is reached, said plainly."""
    who = f"as {', '.join(dict.fromkeys(roles))}"
    if not seen.protocol:
        if seen.local:
            return Check("connection", CheckState.PASS, f"this machine, not encrypted, {who}")
        detail = f"not encrypted: data and queries can be read on the way, {who}"
        return Check("connection", CheckState.WARN, detail, "add sslmode=verify-full to the DSN")
    shown = seen.protocol.replace("TLSv", "TLS ")
    if seen.verified:
        return Check("connection", CheckState.PASS, f"{shown}, certificate verified, {who}")
    detail = f"{shown}, certificate not verified (sslmode={seen.sslmode or 'prefer'}), {who}"
    mend = "add sslmode=verify-full and sslrootcert=FILE to the DSN"
    return Check("connection", CheckState.PASS if seen.local else CheckState.WARN, detail, mend)


def version_check(seen: ServerFacts, dump: Check, program: str) -> Check:
    """Server and client program; `dump` is the judgement about pg_dump."""
    if seen.identity.server_version // 10000 < _OLDEST:
        detail = f"server {seen.version} is older than any version that backout knows"
        return Check("versions", CheckState.FAIL, detail, f"use a server of version {_OLDEST} or newer")
    if dump.state is not CheckState.PASS:
        return Check("versions", dump.state, dump.detail, dump.mend)
    return Check("versions", CheckState.PASS, f"server {seen.version}, pg_dump {program}")


def _identity(seen: ServerFacts) -> Check:
    target = seen.identity.target
    if seen.is_copy:
        detail = "this database carries the marker of a copy made by backout: it is no production"
        return Check("identity", CheckState.FAIL, detail, "correct the DSN of the target")
    if seen.identity.in_recovery:
        detail = "this server is a standby: a down cannot run there"
        return Check("identity", CheckState.FAIL, detail, "point the DSN at the primary")
    return Check(
        "identity", CheckState.PASS, f"system {target.system_identifier}, timeline {target.timeline}, primary"
    )


def _privileges(seen: Ownership, role: str) -> Check:
    owned = seen.tables - len(seen.of_others)
    if seen.tables and not owned:
        detail = f"{role} owns none of {seen.tables} tables: no down could run"
        return Check("privileges", CheckState.FAIL, detail, f"GRANT owner_of_the_tables TO {role}")
    problems = []
    if seen.of_others:
        problems.append(f"{some(seen.of_others)} belong to other roles: their downs would stop")
    if seen.closed_schemas:
        problems.append(
            f"may not create in {some(seen.closed_schemas)}: a down that makes a table would stop"
        )
    if seen.large_objects:
        problems.append(f"{seen.large_objects} large objects belong to other roles: a dump would stop")
    if problems:
        mend = "the grants are printed by: backout doctor --can"
        return Check("privileges", CheckState.WARN, f"{role}: {'; '.join(problems)}", mend)
    return Check("privileges", CheckState.PASS, f"{role} may change all of {seen.tables} tables")


def _our_schemas(seen: OurSchemas, role: str) -> Check:
    print_it = "let an administrator run once what this prints: backout doctor --print-schema-sql"
    if seen.unusable:
        detail = f"{role} may not create in {' and '.join(seen.unusable)}"
        return Check("our schemas", CheckState.FAIL, detail, print_it)
    if not seen.missing:
        return Check("our schemas", CheckState.PASS, "backout and backout_kept are there")
    missing = " and ".join(seen.missing)
    if seen.may_create:
        return Check("our schemas", CheckState.PASS, f"run makes {missing} after the permit")
    return Check("our schemas", CheckState.FAIL, f"no {missing}, and {role} may not create them", print_it)


def _forced(tables: tuple[str, ...], role: str) -> Check:
    if not tables:
        return Check("forced policies", CheckState.PASS, "no policy binds this role")
    detail = f"FORCE ROW LEVEL SECURITY hides rows of {some(tables)} from {role}: they cannot be kept whole"
    mend = f"ALTER ROLE {role} BYPASSRLS, or ALTER TABLE ... NO FORCE ROW LEVEL SECURITY"
    return Check("forced policies", CheckState.FAIL, detail, mend)


def _publications(names: tuple[str, ...]) -> Check:
    if not names:
        return Check("publications", CheckState.PASS, "none is FOR ALL TABLES")
    detail = f"{some(names)} FOR ALL TABLES would publish the tables of kept values to every subscriber"
    mend = "publish by table or schema instead (CREATE PUBLICATION ... FOR TABLES IN SCHEMA ...)"
    return Check("publications", CheckState.FAIL, detail, mend)


def _checksums(on: bool) -> Check:
    if on:
        return Check("checksums", CheckState.PASS, "on")
    mend = "pg_checksums --enable, with the server stopped"
    return Check("checksums", CheckState.WARN, "off: a damaged page would be copied as it is", mend)


def _archive(seen: Archive) -> Check:
    if seen.mode in ("", "off"):
        return Check("archive", CheckState.SKIPPED, "off: the provider's or no recovery to a point in time")
    if seen.failing:
        last = "never succeeded" if seen.age is None else f"last success {_age(seen.age)} ago"
        return Check("archive", CheckState.FAIL, f"archiving fails, {last}", "read the server's log")
    if seen.age is None:
        return Check("archive", CheckState.UNKNOWN, "no segment was archived yet", "SELECT pg_switch_wal()")
    if seen.expected and seen.age > 2 * seen.expected:
        detail = f"last segment {_age(seen.age)} old, expected {_age(seen.expected)}"
        return Check("archive", CheckState.UNKNOWN, detail, "look whether the archive receives segments")
    return Check("archive", CheckState.PASS, f"last segment {_age(seen.age)} old")


def _age(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _log(seen: ServerFacts) -> Check:
    """Nothing that strategy A needs: what is on is said, for the day when B or D are wanted."""
    capture = "can be captured" if seen.wal_level == "logical" else "no capture of later writes"
    times = "on" if seen.commit_times else "off: the moment of a commit is not known exactly"
    return Check(
        "log", CheckState.PASS, f"wal_level {seen.wal_level} ({capture}), track_commit_timestamp {times}"
    )


def _connections(seen: tuple[int, int], demanded: int) -> Check:
    free, most = seen
    detail = f"{free} of {most} free, a run needs up to {demanded}"
    if free >= demanded:
        return Check("connections", CheckState.PASS, detail)
    mend = "free some, or GRANT pg_use_reserved_connections (16 and newer)"
    return Check("connections", CheckState.WARN, detail, mend)


def _indexes(names: tuple[str, ...]) -> Check:
    if not names:
        return Check("indexes", CheckState.PASS, "all valid")
    detail = f"{some(names)} invalid: a migration stopped half way, or a build is going on"
    return Check("indexes", CheckState.WARN, detail, "what it belongs to is shown by: backout open")


def _leftovers(seen: ServerFacts) -> Check:
    kept = f"{seen.leftovers.kept_tables} tables of kept values"
    if seen.leftovers.others:
        detail = f"{some(seen.leftovers.others)}; {kept}"
        return Check("leftovers", CheckState.WARN, detail, "backout status; end what no incident needs")
    return Check("leftovers", CheckState.PASS, f"none of ours; {kept}")


def some(names: tuple[str, ...], most: int = 3) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
