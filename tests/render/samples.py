"""The records of one invented incident, `inc-3k9d`: strategy A, with figures whose sums agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from backout.model.check import Check, CheckState
from backout.model.execution import Diagnostics, Execution, KeptColumn, Outcome, Verification
from backout.model.gate import Policy, Proposals
from backout.model.incident import Incident
from backout.model.loss import DestroyedBy, Figure, Loss, LossKind
from backout.model.migration import DownKind, FoundIn, History, HistoryRow, MigrationFile
from backout.model.people import Approval, Role
from backout.model.plan import (
    Budgets,
    Keep,
    KeepHow,
    LockSeen,
    Option,
    PlannedMigration,
    Proposal,
    Rehearsal,
    SnapshotRef,
    Strategy,
    Verdict,
)
from backout.model.snapshot import Proof, Scope, Snapshot, SnapshotKind, TableContents
from backout.model.statement import Statement, StatementClass
from backout.model.target import SessionIdentity, TargetIdentity
from backout.model.triage import (
    Applied,
    Blocker,
    Candidate,
    Committed,
    EffectSeen,
    InvalidIndex,
    Touched,
    Triage,
)

NAME = "1795314660000_hero-snapshots-v2"
DIGEST = "9f3c61ad07e2b85d" + "4e" * 24
SECRET = "correct-horse"

TARGET = TargetIdentity("7440000000000000001", 1, "heroes", 16390, "db-1", 5432)
SESSION = SessionIdentity(TARGET, "10.0.0.5", "2026-11-01T00:00:00Z", 160014, False, "rb_observe")


def at(clock: str) -> datetime:
    """That time of the day of the incident."""
    return datetime.fromisoformat(f"2026-11-22T{clock}").replace(tzinfo=UTC)


INCIDENT = Incident(
    id="inc-3k9d",
    target="heroes-production",
    environment="production",
    opened_at="2026-11-22T03:04:12Z",
    opened_by="mara.okafor",
    symptom="ETL fails with 23514",
    migrations=(),
    last=1,
    channel="#incident-db-migration-20261122T030412Z",
    ticket="https://tickets.example/OPS-418",
)


def ddl(text: str, summary: str) -> Statement:
    return Statement(text, StatementClass.DDL, "ALTER TABLE", ("hero_snapshots",), summary)


DROP_CHECK = "ALTER TABLE hero_snapshots DROP CONSTRAINT confidence_present"
DROP_COLUMNS = "ALTER TABLE hero_snapshots DROP COLUMN source, DROP COLUMN confidence"
RENAME_BACK = "ALTER TABLE hero_snapshots RENAME COLUMN strength TO power"
DOWN = (
    ddl(DROP_CHECK, "hero_snapshots: DROP CONSTRAINT confidence_present"),
    ddl(DROP_COLUMNS, "hero_snapshots: DROP COLUMN source, DROP COLUMN confidence"),
    ddl(RENAME_BACK, "hero_snapshots: RENAME strength"),
)
UP = (
    ddl("ALTER TABLE hero_snapshots RENAME COLUMN power TO strength", "hero_snapshots: RENAME power"),
    ddl("ALTER TABLE hero_snapshots ADD COLUMN source text", "hero_snapshots: ADD source"),
    ddl("ALTER TABLE hero_snapshots ADD COLUMN confidence real", "hero_snapshots: ADD confidence"),
    ddl(
        "ALTER TABLE hero_snapshots ADD CHECK (confidence IS NOT NULL) NOT VALID",
        "hero_snapshots: ADD CHECK (confidence IS NOT NULL) NOT VALID",
    ),
)

FILE = MigrationFile(
    NAME, (f"migrations/{NAME}.js",), "ab" * 32, DownKind.PRESENT, True, author="priya.raman"
)
HISTORY = History(
    "public.pgmigrations",
    (
        *(HistoryRow(n, f"{1795000000000 + n}_earlier", "2026-10-01T00:00:00Z", None) for n in range(1, 41)),
        HistoryRow(41, NAME, "2026-11-22T02:44:59Z", "48201177"),
    ),
    "node-pg-migrate 9.0.0",
)
TRIAGE = Triage(
    identity=SESSION,
    database_bytes=18_400_000_000,
    history=HISTORY,
    offending=(NAME,),
    candidates=(Candidate(NAME, Applied.APPLIED, "last row of public.pgmigrations"),),
    files=(FILE,),
    committed=Committed("2026-11-22T02:45:00Z", "48201177", "5/3A0148F8", "commit timestamp"),
    applied_by="",
    up=UP,
    down=DOWN,
    captured="captured on a schema-only copy",
    touched=(Touched("public.hero_snapshots", 3_204_771, 1_200_000_000, 1, 0, 2, 0, Figure.exact(1_229)),),
    blockers=(),
    invalid_indexes=(),
    affected=(),
    affected_note="cannot know: pg_stat_statements is not installed",
    tables=16,
    migrations_applied=41,
    writes_per_second=1.1,
)

UNIQUE_INDEX = "1795316100000_unique-email"
HALF_APPLIED = replace(
    TRIAGE,
    offending=(UNIQUE_INDEX,),
    candidates=(
        Candidate(
            UNIQUE_INDEX,
            Applied.PARTLY,
            "no row in public.pgmigrations, and 1 of 2 effects is in the catalog",
            (
                EffectSeen("users_email_key", "CREATE UNIQUE INDEX CONCURRENTLY", True, "invalid, ready"),
                EffectSeen("users.email", "SET NOT NULL", False),
            ),
        ),
        Candidate(NAME, Applied.APPLIED, "last row of public.pgmigrations; every effect is in the catalog"),
    ),
    files=(replace(FILE, name=UNIQUE_INDEX, transactional=False, down=DownKind.PRESENT),),
    committed=Committed(None, None, None, "unknown"),
    up=(
        Statement(
            "CREATE UNIQUE INDEX CONCURRENTLY users_email_key ON users (email)",
            StatementClass.NON_TRANSACTIONAL,
            "CREATE INDEX",
            ("users",),
            "users: CREATE UNIQUE INDEX CONCURRENTLY users_email_key",
        ),
    ),
    down=(),
    touched=(Touched("public.users", 184_203, 41_000_000, 3, 2, 1, 1, Figure.at_most(51)),),
    invalid_indexes=(InvalidIndex("users_email_key", "public.users", ready=True, unique=True),),
    blockers=(
        Blocker(4127, "etl", "idle in transaction", 480.0, "holds RowExclusiveLock on users"),
        Blocker(0, "prepared transaction nightly-7", "prepared", 86_400.0, "holds AccessShareLock on users"),
    ),
    partly_applied=True,
)
BADGES = "1795316100000_add-badges"
COLLATERAL = replace(
    TRIAGE,
    offending=(BADGES, NAME),
    collateral=(BADGES,),
    files=(replace(FILE, name=BADGES, found_in=FoundIn.GIT_HISTORY, origin="commit 41f0aa2"), FILE),
    committed=Committed("2026-11-21T22:45:00Z", None, None, "history row"),
)


def loss(column: str, values: int, *, migration: str = NAME, written: int | None = None) -> Loss:
    return Loss(
        "public.hero_snapshots",
        column,
        LossKind.COLUMN_GONE,
        DestroyedBy.DOWN,
        Figure.exact(values),
        Figure.exact(values),
        written_since=Figure.exact(values if written is None else written),
        kept=True,
        migration=migration,
    )


LOSSES = (loss("source", 1_780), loss("confidence", 1_771))
KEEPS = (Keep("public.hero_snapshots", 16402, KeepHow.COLUMNS, ("id",), ("source", "confidence")),)
BADGE_LOSS = replace(
    loss("badge", 40, migration=BADGES, written=12), object="public.badges", equal_to_default=7
)
REHEARSAL = Rehearsal(
    strategy=Strategy.A,
    copy="backout_inc_3k9d_1",
    tool="node-pg-migrate 9.0.0",
    environment_digest="cd" * 32,
    succeeded=True,
    failure="",
    statements=DOWN,
    transactions=1,
    losses=LOSSES,
    keeps=KEEPS,
    schema_after="ef" * 32,
    schema_before_up="ef" * 32,
    schema_differences=(),
    differences_basis="before the up",
    locks=(LockSeen("public.hero_snapshots", "ACCESS EXCLUSIVE", 0.240),),
    rewrites=(),
    non_transactional=(),
    seconds=1.1,
    locked_seconds=0.240,
    wal_bytes=412_000,
    kept_values=3_551,
    kept_bytes=1_540_096,
    kept_equals_destroyed=True,
    not_measured=("replication lag on standbys",),
    touched=("public.hero_snapshots",),
)
OPTIONS = (
    Option(
        Strategy.A,
        Verdict.RECOMMENDED,
        "",
        0,
        3_551,
        0.240,
        118.0,
        would_change="A would be refused if the down failed, or held its lock longer than 1 s.",
    ),
    Option(Strategy.B, Verdict.NOT_EXECUTABLE, "", None, None, None, None, "no copy"),
    Option(
        Strategy.C,
        Verdict.NOT_EXECUTABLE,
        "",
        None,
        None,
        None,
        35.0,
        "backout cannot deploy; confirm the version with --application",
    ),
    Option(Strategy.D, Verdict.NOT_EXECUTABLE, "", None, None, None, None, "nothing to repair"),
)
PROPOSAL = Proposal(
    schema_version=1,
    incident="inc-3k9d",
    round=1,
    target=TARGET,
    target_name="heroes-production",
    environment="production",
    migrations=(PlannedMigration(NAME, "ab" * 32, 41),),
    strategy=Strategy.A,
    statements=tuple(statement.text for statement in DOWN),
    schema_fingerprint="12" * 32,
    expected_schema="ef" * 32,
    loss=LOSSES,
    keeps=KEEPS,
    accept_by_name=(),
    snapshot=SnapshotRef("snap-5h2w", "34" * 32, "5/3A9F0020", "whole"),
    rehearsal_copy="backout_inc_3k9d_1",
    tool="node-pg-migrate 9.0.0",
    environment_digest="cd" * 32,
    validation_digest="56" * 32,
    allowed_signers_digest="78" * 32,
    budgets=Budgets(),
    window="",
    expires_at="2026-11-22T07:13:30Z",
    requested_by="mara.okafor",
)
PROPOSALS = Proposals(OPTIONS, (PROPOSAL,), "A")
DIGESTS = {"A": DIGEST}

NAMES_LOST = Loss(
    "public.users",
    "full_name",
    LossKind.COLUMN_GONE,
    DestroyedBy.UP,
    Figure.exact(1_000),
    Figure.exact(1_000),
    migration="1795400000000_split-name",
)
FIRST_NAMES = replace(
    loss("first_name", 1_001, migration="1795400000000_split-name", written=51), object="public.users"
)
ADVISED_AGAINST = Option(
    Strategy.A,
    Verdict.ADVISED_AGAINST,
    "A does not give back users.full_name, 1,000 values",
    1_000,
    1_001,
    0.1,
    5.0,
)
STAGING = replace(
    PROPOSAL,
    incident="inc-5f7n",
    target=TargetIdentity("7440000000000000002", 1, "heroes", 16390, "db-9", 5432),
    target_name="heroes-staging",
    environment="staging",
    migrations=(PlannedMigration("1795400000000_split-name", "ab" * 32, 42),),
    loss=(NAMES_LOST, FIRST_NAMES),
    accept_by_name=("users.full_name",),
    statements=("ALTER TABLE users DROP COLUMN first_name", "ALTER TABLE users ADD COLUMN full_name text"),
)

SNAPSHOT = Snapshot(
    id="snap-5h2w",
    kind=SnapshotKind.DUMP,
    scope=Scope.WHOLE,
    target="heroes-production",
    database="heroes",
    taken_at="2026-11-22T03:08:52Z",
    begun_at="2026-11-22T03:07:00Z",
    lsn="5/3A9F0020",
    server_version=160014,
    directory="/var/lib/backout/store/snap-5h2w",
    size_bytes=4_600_000_000,
    manifest_sha256="34" * 32,
    tables=(TableContents("public.hero_snapshots", 3_204_771, "9a" * 32),),
    seconds=112.0,
)
FRESH = replace(
    SNAPSHOT, id="snap-6p0c", begun_at="2026-11-22T03:18:12Z", taken_at="2026-11-22T03:20:02Z", seconds=110.0
)
PROOF = Proof(
    snapshot="snap-5h2w",
    copy="backout_inc_3k9d_0",
    proven_at="2026-11-22T03:11:52Z",
    tables_equal=16,
    tables_total=16,
    rows=3_612_904,
    checks=(Check("isolated", CheckState.PASS, "own socket, no archiving, no workers, marker read"),),
    restore_seconds=116.0,
    read_seconds=64.0,
    bytes_per_second=159_000_000.0,
)


def approval(person: str, role: Role) -> Approval:
    return Approval(person, role, DIGEST, "A", (), "-----BEGIN SSH SIGNATURE-----", "SHA256:Vq3kB8x", 1)


SRE = approval("jonas.lind", Role.SRE)
OWNER = approval("priya.raman", Role.OWNER)
POLICY = Policy("production")


def kept(column: str, values: int) -> KeptColumn:
    return KeptColumn(
        "public.hero_snapshots",
        column,
        values,
        values,
        ("id",),
        "5/3B0F22A8",
        "backout_kept.k_inc_3k9d_16402_1",
        "none",
    )


KEPT = (kept("source", 2_269), kept("confidence", 2_258))
EXECUTION = Execution(
    strategy="A",
    outcome=Outcome.BACKED_OUT,
    tool="node-pg-migrate 9.0.0",
    tool_exit=0,
    transactions=1,
    xids=("48211903",),
    locked_seconds=0.238,
    waited_seconds=21.0,
    seconds=0.9,
    kept=KEPT,
    values_destroyed=4_527,
    values_kept=4_527,
    statements=tuple(statement.text for statement in DOWN),
    committed_at="2026-11-22T03:20:27Z",
    how="executed",
)
DIAGNOSTICS = Diagnostics(
    tool_output=f"connecting to postgres://rb:{SECRET}@db-1/heroes\nerror: cannot drop column source",
    sqlstate="2BP01",
    message="cannot drop column source of table hero_snapshots because other objects depend on it",
    statement=DROP_COLUMNS,
    sessions=("pid 4127 etl: idle in transaction 8 s",),
    reproduced=True,
)
VERIFIED = Verification(
    checks=(
        Check("migration", CheckState.PASS, "reverted in pgmigrations"),
        Check("schema", CheckState.PASS, "0 differences to the schema before"),
        Check("regclass", CheckState.PASS, "public.hero_snapshots present"),
        Check("untouched", CheckState.PASS, "15 tables: not written by the down, same files"),
        Check("users", CheckState.PASS, "184,241 rows, at least 184,203"),
        Check("kept", CheckState.PASS, "4,527 of 4,527"),
        Check("health", CheckState.PASS, "GET /api/health 200, 3 of 3, 31 ms"),
        Check("etl", CheckState.UNKNOWN, "no run since the down, next at 03:25:00 UTC", "wait for the ETL"),
    ),
    at="2026-11-22T03:21:30Z",
    seconds=3.8,
)
GREEN = replace(VERIFIED, checks=VERIFIED.checks[:-1])
DOCTOR = (
    Check("connection", CheckState.PASS, "TLS 1.3, certificate verified"),
    Check("versions", CheckState.PASS, "server 16.14, pg_dump 16.14"),
    Check("direct", CheckState.PASS, "no pooler in between"),
    Check("privileges", CheckState.PASS, "rb_observe, rb_operate"),
    Check("checksums", CheckState.WARN, "off: a damaged page would be copied as it is"),
    Check(
        "disk",
        CheckState.FAIL,
        "store has 9.1 GB free, a proof needs 37.2 GB",
        "free 28.1 GB in /var/lib/backout",
    ),
    Check("archive", CheckState.UNKNOWN, "last segment 41 min old, expected 5"),
)
