"""The destructive night: a reviewed TRUNCATE … CASCADE, a dropped column, a repair beside the writers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backout.app.results import Demo, DemoDestructive
from backout.demo import ending, place, returned
from backout.demo.ending import Ending, Line
from backout.demo.place import Place
from backout.demo.returned import Returned
from backout.demo.scenes import Stage, carry_out, migrate
from backout.demo.scenes import contain as contain_etl
from backout.demo.world import control
from backout.demo.world.control import wait_until
from backout.demo.world.project import OWNER
from backout.demo.world.seasons import EMPTIED
from backout.errors import NeighbourUnreachable
from backout.model.fates import Fate, Fates
from backout.postgres import parked
from backout.postgres.connect import Session

WRITES_BEFORE_THE_ALERT = 60


def where() -> Place:
    """Beside the first demo, with a server of its own."""
    return place.find("destructive", "destructive")


def backup(stage: Stage) -> None:
    """A base backup on the calm day; from then on the archived WAL tells every state."""
    stage.screen.chapter("Still calm: a base backup. PostgreSQL archives its WAL by itself")
    stage.typist.verb("backup", "take", "--target", stage.team.target)
    stage.screen.remark("No guard is armed: both sides of a migration can be restored from these two.")


def deploy(stage: Stage, migrate: Callable[[Stage], None] = migrate) -> None:
    """First the version that needs neither of what goes, as one does it; then the migration."""
    stage.screen.chapter(f"A deploy: v44, then the migration {stage.team.bad}, reviewed")
    stage.typist.script("./deploy", stage.team.safe_version)
    _tell_rows(stage, "before")
    migrate(stage)


def alarm(stage: Stage) -> None:
    """Nothing failed: somebody has to notice that the tables are empty."""

    def said() -> int:
        return int(control.read(stage.place.control / "application.json").get("acknowledged", 0))

    begun = said()
    if not wait_until(lambda: said() >= begun + WRITES_BEFORE_THE_ALERT, 60):
        raise NeighbourUnreachable(
            "the demo's application does not write on",
            where=str(stage.processes.log("application")),
            intact="everything",
            next=stage.place.command("--fresh"),
        )
    stage.screen.chapter(f"The alert: {stage.team.symptom}. No statement has failed, everybody writes on")
    _tell_rows(stage, "now")
    stage.tell_ledger()


def _tell_rows(stage: Stage, when: str) -> None:
    with stage.session() as session:
        counts = ", ".join(f"{table} {_count(session, table):,}" for table in EMPTIED)
    stage.screen.remark(f"rows {when}: {counts}")


def _count(session: Session, table: str) -> int:
    row = session.execute(f"SELECT count(*) FROM public.{table}".encode()).fetchone()  # noqa: S608 - ours
    return int(row[0]) if row else 0


def contain(stage: Stage) -> None:
    """The ETL makes rows anew under keys that the migration has freed; each of them will need a person."""
    contain_etl(stage)
    stage.screen.remark("It was making records anew from what is left: those will be for a person to decide.")


def run(stage: Stage) -> None:
    """The down, then what the migration destroyed comes back beside the running application."""
    stage.screen.chapter("The way back: the down, then every destroyed row and value, while all go on")
    carry_out(stage)


def parked_rows(stage: Stage) -> None:
    """What no rule can decide: here, a record that the ETL made again. A person takes the better one."""
    stage.screen.chapter("What a person has to decide: records that the ETL had made again meanwhile")
    incident = stage.progress.incident
    stage.typist.verb("parked", "list", incident)
    for entry in _open(stage):
        before, now = entry.before or {}, entry.now or {}
        better = "before" if int(before.get("power") or 0) > int(now.get("power") or 0) else "now"
        stage.screen.remark(
            f"user {entry.key[0]}: {before.get('power')} before, {now.get('power')} now; the better one stays"
        )
        signed = ("--as", OWNER, "--key", f"../people/{OWNER}", "--confirm", stage.team.target)
        words = ("parked", "resolve", incident, str(entry.number), "--take", better)
        stage.typist.verb(*words, *signed, actor=OWNER)


def _open(stage: Stage) -> tuple[parked.Entry, ...]:
    with stage.session() as session:
        found = parked.entries(session, stage.progress.incident, fate=Fate.PARKED)
    return tuple(entry for entry in found if not entry.resolution)


def end(stage: Stage) -> Ending:
    """What came back, counted against the formula of the seed; what was written since, against the ledger."""
    repaired = stage.evidence.repaired()
    # way_back_used is of a cutover: a repair in place moves no traffic.
    return tell(stage, count(stage, repaired.fates.archived if repaired else 0), Told())


@dataclass(frozen=True, slots=True)
class Counted:
    """The figures of the night, on the server to which the application's writes go now."""

    numbers: Demo
    back: Returned
    fates: Fates

    def plain(self) -> dict[str, object]:
        """As JSON keeps it."""
        return {"numbers": asdict(self.numbers), "back": asdict(self.back), "fates": asdict(self.fates)}


def counted(plain: Mapping[str, Any]) -> Counted:
    """What `Counted.plain` has kept."""
    return Counted(Demo(**plain["numbers"]), Returned(**plain["back"]), Fates(**plain["fates"]))


@dataclass(frozen=True, slots=True)
class Told:
    """What neither ledger nor formula can know of an end."""

    way_back_used: bool = False
    errors: int = 0
    """How many errors the clients may have seen."""
    errors_remark: str = "from the first write to the last"


def count(stage: Stage, archived: int) -> Counted:
    """Read ledger and database while nobody writes. `archived`: writes that the old schema has no place
    for."""
    written, found = ending.read(stage)
    with stage.session() as session:
        entries = parked.entries(session, stage.progress.incident)
        back = returned.look(session, written, entries, stage.progress.migrated_at)
    fates = returned.fates(written, found, entries, stage.progress.migrated_at, archived)
    return Counted(ending.reckon(stage, written, found), back, fates)


def tell(stage: Stage, counted: Counted, told: Told) -> Ending:
    """The last screen and the document of what was counted."""
    numbers, back, fates = counted.numbers, counted.back, counted.fates
    good = ending.good(numbers, errors=told.errors) and back.good and fates.total == back.writes_since
    done = stage.evidence.execution()
    document = DemoDestructive(
        **asdict(numbers),
        **asdict(back),
        **asdict(fates),
        way_back_used=told.way_back_used,
        strategy=done.strategy if done else "",
    )
    wrote = ending.written_lines(stage, numbers, told.errors_remark)
    rows = (*wrote, *_lines(back, fates), *ending.last_lines(numbers))
    return Ending(rows, asdict(document), good, numbers.postmortem, "nothing")


def _lines(back: Returned, fates: Fates) -> tuple[Line, ...]:
    return (
        ("rows back", f"{back.rows_back:,}", f"{back.rows_missing:,} missing; by formula and ledger"),
        ("mottos back", f"{back.values_back:,}", f"{back.values_missing:,} missing"),
        ("profiles, records", f"{back.sums_wrong:,}", "other than their snapshots say"),
        ("rows not found", f"{back.not_found:,}", "by clients, while the tables were empty"),
        ("rows parked", f"{back.rows_parked:,}", f"made again by the ETL; {back.rows_waiting:,} undecided"),
        ("writes since", f"{back.writes_since:,}", "since the migration began; of these:"),
        ("carried", f"{fates.carried:,}", "there as acknowledged, and on no list"),
        ("archived", f"{fates.archived:,}", "the old schema has no place for them"),
        ("parked", f"{fates.parked:,}", "a person decides"),
        ("listed", f"{fates.listed:,}", "there, by a rule; `parked list` shows them"),
    )
