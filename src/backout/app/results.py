"""What the verbs answer: one record a verb, the document of `--json`."""

from __future__ import annotations

from dataclasses import dataclass

from backout.model.check import Check
from backout.model.execution import Execution, KeptColumn, Verification, Watch
from backout.model.gate import Proposals
from backout.model.guard import CommandRun, Dropped, Guard, GuardHealth, GuardPlan
from backout.model.incident import Incident
from backout.model.people import Approval
from backout.model.plan import Rehearsal
from backout.model.readiness import Capability
from backout.model.repair import RepairDone
from backout.model.restore import RestoreDone, WayBackState, WentBack
from backout.model.restored import Choice, HandedOver, Restored, Smoked
from backout.model.snapshot import Proof, Snapshot
from backout.model.target import TargetIdentity
from backout.model.triage import Triage


@dataclass(frozen=True, slots=True)
class Opened:
    """`open`."""

    incident: Incident
    triage: Triage
    next: str
    also_open: tuple[str, ...] = ()
    """Incidents of the same target that were open before this one: somebody may be at it already."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """`propose`: exit 4, the gate waits."""

    incident: Incident
    triage: Triage
    snapshot: Snapshot
    proof: Proof
    rehearsals: tuple[Rehearsal, ...]
    proposals: Proposals
    digests: tuple[tuple[str, str], ...]
    """(strategy letter, hex digest) of every proposal."""
    next: str


@dataclass(frozen=True, slots=True)
class Approved:
    """`approve`, `reject`, `withdraw`."""

    incident: str
    digest: str
    approvals: tuple[Approval, ...]
    missing: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Ran:
    """`run` and `resume`."""

    incident: str
    outcome: str
    execution: Execution
    verification: Verification
    watch: Watch | None
    next: str
    repaired: RepairDone | None = None
    """Strategy D: what came back after the down."""
    anew: RestoreDone | None = None
    """Strategy B: where traffic is now, and what became of every write made since the migration."""
    again: bool = False
    """It had come to its end before: nothing was done now, and nobody watches."""


@dataclass(frozen=True, slots=True)
class WayBackAnswer:
    """`way-back status` and `way-back drop`."""

    incident: str
    state: WayBackState
    next: str


@dataclass(frozen=True, slots=True)
class WayBackUsed:
    """`way-back use`."""

    incident: str
    went: WentBack
    next: str


@dataclass(frozen=True, slots=True)
class Verified:
    """`verify`."""

    incident: str
    verification: Verification
    watch: Watch | None
    next: str


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """One row of `status`."""

    incident: str
    target: str
    environment: str
    now: str
    waits_for: str
    acts: str
    round: int
    update_due: str
    contained: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Told:
    """One status update that was sent."""

    incident: str
    text: str
    due: str
    """RFC 3339: when the next one is due."""


@dataclass(frozen=True, slots=True)
class Updates:
    """`update`."""

    told: tuple[Told, ...]
    next: str


@dataclass(frozen=True, slots=True)
class KeptAge:
    """Kept values of one back-out: since when they are kept, and until when they are wanted."""

    incident: str
    target: str
    values: int
    kept_at: str
    wanted_until: str
    """RFC 3339: `kept_at` and the retention; nobody drops them before, backout never by itself."""
    over: bool


@dataclass(frozen=True, slots=True)
class StatusList:
    """`status`."""

    incidents: tuple[IncidentLine, ...]
    warnings: tuple[str, ...]
    next: str
    kept: tuple[KeptAge, ...] = ()
    """Values that are still kept, of closed incidents too, the oldest first."""


@dataclass(frozen=True, slots=True)
class KeptList:
    """`kept list`."""

    incident: str
    columns: tuple[KeptColumn, ...]
    next: str
    age: KeptAge | None = None
    """None: nothing is kept."""


@dataclass(frozen=True, slots=True)
class KeptDrop:
    """`kept drop`: the forecast, and what was done."""

    incident: str
    target: str
    tables: int
    values: int
    reason: str
    age: KeptAge
    dropped: bool
    next: str


@dataclass(frozen=True, slots=True)
class PutBack:
    """`kept put-back`."""

    incident: str
    column: str
    into: str
    written: int
    row_gone: int
    already_there: int
    overwritten: int
    next: str


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """One row of `parked list`. Values are not in it: see `parked show`."""

    number: int
    family: int
    """Number of the root of its family: a parked parent parks its children."""
    fate: str
    """`parked` needs a person, `listed` is shown."""
    relation: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    reason: str
    detail: str
    as_of: str
    resolution: str
    """Empty = open."""


@dataclass(frozen=True, slots=True)
class ParkedList:
    """`parked list`."""

    incident: str
    rows: tuple[ParkedRow, ...]
    open: int
    """Parked rows that still need a person."""
    next: str


@dataclass(frozen=True, slots=True)
class ParkedShown:
    """`parked show`: one row in its three states. Without --reveal values are told by type and length."""

    incident: str
    row: ParkedRow
    before: dict[str, str] | None
    migrated: dict[str, str] | None
    now: dict[str, str] | None
    next: str


@dataclass(frozen=True, slots=True)
class ParkedDone:
    """`parked resolve` and `parked retry`."""

    incident: str
    applied: int
    """Rows written or closed by this command."""
    open: int
    next: str


@dataclass(frozen=True, slots=True)
class SnapshotAnswer:
    """`snapshot take|prove|record`."""

    snapshot: Snapshot
    proof: Proof | None
    next: str


@dataclass(frozen=True, slots=True)
class SnapshotList:
    """`snapshot list`."""

    snapshots: tuple[Snapshot, ...]
    proven: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Doctor:
    """`doctor`; with `--can` the table of capabilities and the SQL for an administrator instead of checks."""

    target: str
    checks: tuple[Check, ...]
    next: str
    environment: str = ""
    identity: TargetIdentity | None = None
    """None: nobody answered."""
    primary: bool | None = None
    role: str = ""
    error: str = ""
    """Why the server could not be looked at; the exit code is that of this error."""
    capabilities: tuple[Capability, ...] = ()
    sql: str = ""


@dataclass(frozen=True, slots=True)
class Todo:
    """A line of the written configuration that only a person can finish."""

    what: str
    line: int


@dataclass(frozen=True, slots=True)
class Initialised:
    """`init`."""

    path: str
    lines: int
    looked_at: str
    target: str
    environment: str
    tool: str
    """Name of the tool; empty when none was found."""
    history: str
    """Qualified name of the history table; empty when it was not seen."""
    dsn_env: str
    database: str
    """Version, size and role of the database; empty when none was asked."""
    checks: tuple[str, ...]
    """Names of the checks of the validation plan."""
    todo: tuple[Todo, ...]
    rough: tuple[str, ...]
    """One line each: what is rough in the project, or could not be looked at."""
    next: str


@dataclass(frozen=True, slots=True)
class Exercise:
    """`rehearse`."""

    id: str
    triage: Triage
    rehearsals: tuple[Rehearsal, ...]
    proposals: Proposals
    next: str
    snapshot: Snapshot | None = None
    environment: str = ""


@dataclass(frozen=True, slots=True)
class CopyLine:
    """One copy of ours on a scratch server."""

    database: str
    server: str
    of: str
    made_at: str
    lease_until: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One scratch server. Its copies are not to be seen while it is stopped."""

    name: str
    running: bool
    ours: bool
    """False: a server that the user named, which backout never stops."""
    copies: int
    held_until: str
    """RFC 3339: the end of the longest lease that lives; empty when nobody holds it."""
    directory: str
    """Where its files are; empty for a server that the user named."""


@dataclass(frozen=True, slots=True)
class RestoreAnswer:
    """`restore`."""

    id: str
    """Empty with `--plan`: nothing was begun."""
    target: str
    outcome: str
    """`planned`, `handed over`, `failed` (smoke tests, or a setting that was read back), `explained`."""
    choice: Choice
    restored: Restored | None
    smoked: Smoked | None
    handed: HandedOver | None
    reason: str
    """Why it failed, as a person recorded it."""
    next: str


@dataclass(frozen=True, slots=True)
class InstanceLine:
    """One cluster restored from a base backup and the WAL, or from a dump."""

    name: str
    backup: str
    """Empty for one that a killed command left half made."""
    target: str
    """Where its recovery ended, in words."""
    serves: str
    """host:port on which it serves the application: it is the production, or about to be."""
    directory: str
    lease_until: str = ""
    """RFC 3339: until when it is kept for whoever made it."""


@dataclass(frozen=True, slots=True)
class CopyList:
    """`copies`."""

    copies: tuple[CopyLine, ...]
    next: str
    servers: tuple[ServerLine, ...] = ()
    stopped: tuple[str, ...] = ()
    """Servers that `--stop` ended: no process and no file of them was found afterwards."""
    instances: tuple[InstanceLine, ...] = ()
    """Restored clusters. Those of an incident go when it is closed, others by name or after their lease."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that a verb wrote."""

    paths: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Contained:
    """`contain` and `release`."""

    incident: str
    name: str
    state: str
    detail: str
    next: str


@dataclass(frozen=True, slots=True)
class GuardPlanned:
    """`guard plan`."""

    plan: GuardPlan
    next: str


@dataclass(frozen=True, slots=True)
class Guarded:
    """`guard arm`."""

    plan: GuardPlan
    guard: Guard
    next: str


@dataclass(frozen=True, slots=True)
class GuardAnswer:
    """`guard run` and `guard -- COMMAND`; the exit code is the command's."""

    guard: Guard
    command: CommandRun
    dropped: Dropped | None
    """The guard is gone: nothing came of the command."""
    next: str


@dataclass(frozen=True, slots=True)
class GuardLine:
    """One row of `guard list`."""

    id: str
    target: str
    state: str
    armed_at: str
    expires_at: str
    slot: str
    transactions: int
    """Transactions of the migration that the proxy saw commit."""
    command: str


@dataclass(frozen=True, slots=True)
class GuardList:
    """`guard list`."""

    guards: tuple[GuardLine, ...]
    next: str


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """`guard status` and `guard watch`; exit 1 when a check is not good."""

    guard: Guard
    health: GuardHealth
    dropped: Dropped | None
    """It was over its cap, or at the end of its window, and dropped itself."""
    next: str


@dataclass(frozen=True, slots=True)
class GuardDropped:
    """`guard drop`."""

    dropped: Dropped
    next: str


@dataclass(frozen=True, slots=True)
class Closed:
    """`close`."""

    incident: str
    reason: str
    destroyed: tuple[str, ...]
    """Copies on scratch servers, and restored instances."""
    next: str
    serves: str = ""
    """host:port/database of the restored instance that traffic was moved to: it stays."""


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Some rows of one kept table; values only when they were asked for."""

    table: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class KeptShow:
    """`kept show`."""

    incident: str
    tables: tuple[KeptRows, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Demo:
    """`demo`. Words as in the reference; spans in the unit of their name."""

    seconds: float
    acknowledged_writes: int
    lost_writes: int
    doubled_writes: int
    values_destroyed_predicted: int
    values_destroyed: int
    values_kept: int
    values_lost: int
    write_pause_ms: int
    client_errors: int
    postmortem: str
    incident: str
    contained_after_seconds: float
    verified: bool


@dataclass(frozen=True, slots=True)
class DemoDestructive(Demo):
    """`demo destructive`. `values_destroyed` and its like speak of the down; the four fates, `carried`,
    `archived`, `parked` and `listed`, add up to `writes_since`."""

    rows_back: int
    """Of seasons, hero_snapshots and cheers: of the calm day, and acknowledged before the migration."""
    rows_missing: int
    values_back: int
    """Mottos."""
    values_missing: int
    sums_wrong: int
    """Users whose profile or record is not what their processed snapshots say."""
    not_found: int
    """Writes to a row that was gone: nothing was written, nothing acknowledged."""
    writes_since: int
    """Acknowledged since the migration began."""
    rows_parked: int
    """On the work list, also those of the ETL."""
    rows_waiting: int
    """Of these, undecided."""
    carried: int
    archived: int
    parked: int
    listed: int
    way_back_used: bool
    strategy: str


@dataclass(frozen=True, slots=True)
class DemoSecond:
    """`demo --second`."""

    seconds: float
    rows: int
    values_kept: int
    names_without_backout: int
    """Rows with a name right after the down: what a tool that keeps nothing leaves."""
    names_back: int
    """Rows whose name is again exactly what the application last wrote."""
    incident: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Any verb that ends with an error: the same four parts that people read."""

    error: str
    """The class of the error, or `usage` for a mistake on the command line."""
    what: str
    where: str
    intact: str
    next: str
