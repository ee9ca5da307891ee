"""Is everything beside the server ready: history and files, people, validation plan, room, scratch; pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from backout.model.check import Check, CheckState
from backout.model.people import Person
from backout.model.validation import CheckKind, ValidationPlan
from backout.phases.readiness.decide import some
from backout.phases.readiness.facts import Archive, HistoryFacts, PeopleFacts, Room
from backout.postgres.physical.archiving import grant_to_switch
from backout.render import words


def history_check(seen: HistoryFacts) -> Check:
    """The tool's history against its files."""
    name = "history"
    if not seen.table:
        detail = "the tool's history table is not there: nothing was applied, or it has another name"
        return Check(name, CheckState.WARN, detail, "set migrations.table or migrations.history")
    if seen.dirty:
        detail = f"{some(seen.dirty)} is marked dirty: it stopped half way"
        return Check(name, CheckState.FAIL, detail, f"backout open --migration {seen.dirty[0]}")
    if seen.missing:
        return _missing(name, seen)
    pending = f", {len(seen.pending)} pending" if seen.pending else ""
    where = f"{seen.applied} applied in {seen.table}, {seen.files} files"
    return Check(name, CheckState.PASS, f"{where}{pending}")


def _missing(name: str, seen: HistoryFacts) -> Check:
    """A file that some commit still has can be used; one that nobody has has no down."""
    nowhere = tuple(m.name for m in seen.missing if not m.origin)
    if nowhere:
        detail = f"applied, and no file here or in git: {some(nowhere)}"
        return Check(name, CheckState.FAIL, detail, "check out the revision that was deployed")
    found = tuple(f"{m.name} ({m.origin})" for m in seen.missing)
    detail = f"applied, and not in this checkout: {some(found)}"
    return Check(name, CheckState.WARN, detail, "check out the revision that was deployed")


def newest_wal_check(archive: Archive, role: str, *, may: bool) -> Check:
    """Whether the WAL of a migration is in the archive when a restore needs it; `may` it be asked for."""
    name = "newest WAL"
    if archive.mode in ("", "off"):
        detail = "archive_mode is off: no base backup reaches a migration"
        return Check(name, CheckState.FAIL, detail, "set archive_mode and archive_command, and restart")
    if may:
        return Check(name, CheckState.PASS, "is archived when it is needed")
    told, mend = f"{role} may not switch the WAL", grant_to_switch(role)
    if archive.expected:
        detail = f"archived every {archive.expected:.0f} s, not when it is needed: {told}"
        return Check(name, CheckState.WARN, detail, mend)
    return Check(name, CheckState.FAIL, f"a migration may be archived hours later: {told}", mend)


def summaries_check(size_bytes: int, *, on: bool) -> Check:
    """Whether `backup take` can copy only what changed; `size_bytes` is what it copies otherwise."""
    name = "incremental"
    if on:
        return Check(name, CheckState.PASS, "the server knows what changed: backups are incremental")
    whole = f"copies all {words.size(size_bytes)} or more each time"
    detail = f"summarize_wal is off: `backup take` {whole}, with it only what changed since the one before"
    mend = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"
    return Check(name, CheckState.WARN, detail, mend)


def command_check(target: str) -> Check:
    """Said every time, so that nobody takes a readable configuration for a proved command."""
    detail = "whether the tool's command reverts what it should is proved on a copy only"
    return Check("command", CheckState.SKIPPED, detail, f"backout rehearse --last 1 --target {target}")


def people_check(seen: PeopleFacts) -> Check:
    """Can the policy be met, one distinct person a slot."""
    if seen.error:
        return Check("people", CheckState.FAIL, seen.error, seen.mend)
    able = tuple(person for person in seen.people if person.keys)
    if "solo" in seen.approvals:
        return _solo(seen.solo, able)
    if _filled(seen.approvals, able):
        who = ", ".join(f"{p.name} ({_roles(p)})" for p in able)
        return Check("people", CheckState.PASS, f"policy {' + '.join(seen.approvals)}: {who}")
    keyless = [person.name for person in seen.people if not person.keys]
    there = ", ".join(f"{p.name} ({_roles(p)})" for p in able) or "nobody"
    detail = f"the policy demands {' + '.join(seen.approvals)}, enrolled with a key: {there}"
    if keyless:
        detail += f"; without a key that may sign now: {', '.join(keyless)}"
    return Check("people", CheckState.FAIL, detail, "enrol them as [people] of backout.toml says")


def _roles(person: Person) -> str:
    return ", ".join(role.value for role in person.roles) or "no role"


def _filled(slots: Sequence[str], people: Sequence[Person]) -> bool:
    return any(
        all(slot == "any" or slot in p.roles for slot, p in zip(slots, chosen, strict=True))
        for chosen in permutations(people[:12], len(slots))
    )


def _solo(name: str, people: Sequence[Person]) -> Check:
    if any(person.name == name for person in people):
        return Check("people", CheckState.WARN, f"{name} alone decides; every notice says so")
    detail = f"policy solo names {name or 'nobody'}, who is not enrolled with a key"
    return Check("people", CheckState.FAIL, detail, "enrol them as [people] of backout.toml says")


def validation_check(plan: ValidationPlan) -> Check:
    """An empty plan closes the gate."""
    if not plan.checks:
        mend = "write [target.NAME.checks.X] tables; how is shown by: backout init"
        return Check("validation", CheckState.FAIL, "the validation plan is empty: the gate stays shut", mend)
    http = any(check.kind is CheckKind.HTTP for check in plan.checks)
    rest = "" if http else ", none of them asks the application (http)"
    return Check("validation", CheckState.PASS, f"{words.plural(len(plan.checks), 'check')}{rest}")


def room_check(seen: Room) -> Check:
    """Space in the store."""
    detail = f"store has {words.size(seen.free)} free, a proof needs {words.size(seen.need)}"
    if seen.free >= seen.need:
        return Check("disk", CheckState.PASS, detail)
    mend = f"free {words.size(seen.need - seen.free)} in {seen.directory}"
    if not seen.whole:
        detail += " for the whole database, less for what a down can reach"
        return Check("disk", CheckState.WARN, detail, mend)
    return Check("disk", CheckState.FAIL, detail, mend)


def gathered(name: str, checks: Sequence[Check]) -> tuple[Check, ...]:
    """Many checks of one thing: those that pass on one line, the others each on its own.

    Each of the others keeps its name behind `name`, unless it has it already.
    """
    good = [check for check in checks if check.state is CheckState.PASS]
    rest = [check for check in checks if check.state is not CheckState.PASS]
    kept = tuple(Check(_named(name, c.name), c.state, c.detail, c.mend) for c in rest)
    if not good:
        return kept
    detail = good[0].detail if len(good) == 1 else f"{good[0].detail}; also {_others(name, good[1:])}"
    return (Check(name, CheckState.PASS, detail), *kept)


def _named(name: str, own: str) -> str:
    return own if own.startswith(name) else f"{name} {own}"


def _others(name: str, checks: Sequence[Check]) -> str:
    return ", ".join(check.name.removeprefix(f"{name} ") for check in checks)
