"""What a guard will cover, what the role can do, what remains without; and how an armed one stands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from backout.errors import Refused, UnknownName
from backout.model.check import Check, CheckState
from backout.model.guard import (
    CommandRun,
    Guard,
    GuardHealth,
    GuardLimits,
    GuardPlan,
    Identity,
    Needs,
    Part,
    Reach,
    TableCoverage,
    Wishes,
)
from backout.model.snapshot import Proof
from backout.phases.guard.facts import GuardFacts, Sight
from backout.postgres.capabilities import Right
from backout.postgres.capture.tables import TableFacts
from backout.postgres.names import guard_object
from backout.render.words import plural, size, when

_WARN_SHARE = 0.8
"""Of the cap: from here on it is said."""
_WHOLE, _INEXACT = (
    "what is written after the migration is in the slot, exactly",
    "writes after the migration are compared by state only: intermediate values, deletes and who wrote what "
    "cannot be told apart",
)


def plan(guard: str, target: str, facts: GuardFacts, wishes: Wishes, limits: GuardLimits) -> GuardPlan:
    """The whole plan. Raises `UnknownName` for a table that is not there, `Refused` where the platform would
    silently take the slot away."""
    families = _families(facts.tables, wishes)
    why_no_slot = _no_slot(facts, families)
    if not why_no_slot:
        _refuse_unsafe_platform(facts, wishes)
    asked = frozenset(_resolve(name, families) for name in wishes.full)
    full = frozenset(name for name in asked if not any(table.full_fails for table in families[name][1]))
    coverage = tuple(_coverage(family, full, bool(why_no_slot)) for family in families.values())
    name = guard_object(guard, 1)
    point = bool(facts.log_rights["named restore point"].held) and facts.wal_level != "minimal"
    identities = () if why_no_slot else tuple(_identities(families, full))
    head = facts.history.head
    return GuardPlan(
        guard=guard,
        target=target,
        identity=facts.identity,
        slot="" if why_no_slot else name,
        failover=facts.has_failover,
        publication="" if why_no_slot else name,
        inserts_only="" if why_no_slot else f"{name}_ins",
        restore_point=name if point else "",
        origin_prefix=name if wishes.origin and facts.owner_rights["replication origin"].held else "",
        coverage=coverage,
        identities=identities,
        parts=tuple(_parts(facts, coverage, identities, why_no_slot, wishes)),
        unseen=tuple(_unseen(facts)),
        warnings=(*_habit(facts), *(() if why_no_slot else _warnings(facts, coverage, limits))),
        remains=_remains(not why_no_slot, point),
        schema_digest=facts.schema_digest,
        history_table=facts.history.table,
        history_head=head.name if head else "",
        history_position=head.position if head else 0,
        wal_cap_bytes=limits.wal_cap_bytes,
        window_seconds=limits.window_seconds,
    )


# --- tables


Family = tuple[TableFacts, tuple[TableFacts, ...]]
"""A table as it is published, and those that hold its rows: itself, or its leaves."""


def _families(tables: Sequence[TableFacts], wishes: Wishes) -> Mapping[str, Family]:
    roots = {table.oid: table for table in tables if table.root == table.oid}
    leaves: dict[int, list[TableFacts]] = {oid: [] for oid in roots}
    for table in tables:
        if table.kind == "r" and table.root in leaves:
            leaves[table.root].append(table)
    found = {root.name: (root, tuple(leaves[oid])) for oid, root in roots.items()}
    if not wishes.tables:
        return found
    chosen = frozenset(_resolve(name, found) for name in wishes.tables)
    return {name: family for name, family in found.items() if name in chosen}


def _resolve(asked: str, families: Mapping[str, Family]) -> str:
    """The published table that a person means: qualified, in `public`, or the only one of that name."""
    for name in (asked, f"public.{asked}"):
        if name in families:
            return name
    same = [name for name in families if name.rpartition(".")[2] == asked]
    if len(same) == 1:
        return same[0]
    raise UnknownName(
        f"no table {asked!r} among those to be guarded" if not same else f"{asked!r} names several tables",
        where="--tables",
        intact="everything; it was only read",
        next=f"one of: {', '.join(same or list(families)[:5]) or 'none: the database has no tables'}",
    )


def _coverage(family: Family, full: frozenset[str], no_slot: bool) -> TableCoverage:
    root, holders = family
    approved = root.name in full
    reach, note = _reach(root, holders, approved)
    if no_slot:
        reach, note = Reach.NOTHING, note or "there is no slot"
    if approved and reach is Reach.EVERY:
        note = _price(holders)
    whole = reach is Reach.EVERY and (approved or (all(t.identity == "f" for t in holders) and bool(holders)))
    leaves = tuple(leaf.oid for leaf in holders) if root.kind == "p" else ()
    return TableCoverage(root.name, root.oid, root.kind == "p", reach, whole, note, leaves)


def _reach(root: TableFacts, holders: Sequence[TableFacts], approved: bool) -> tuple[Reach, str]:
    if not all(table.owned for table in (root, *holders)):
        return Reach.NOTHING, "it belongs to another role, which would have to publish it"
    if any(table.unlogged for table in (root, *holders)):
        return Reach.NOTHING, "unlogged: its rows are in no log"
    unfit = [table for table in holders if not table.usable]
    if not unfit or approved:
        return Reach.EVERY, ""
    return Reach.INSERTS, _mend(root, unfit[0])


def _mend(root: TableFacts, unfit: TableFacts) -> str:
    """Why updates are not published, and the least that would change it."""
    where = "" if unfit.oid == root.oid else f" (leaf {unfit.name})"
    if unfit.full_fails and unfit.identity == "f":
        return f"updates would fail under FULL{where}, it has generated columns: they are not captured"
    why = {
        "deferrable": "its primary key is DEFERRABLE",
        "": "it has no primary key",
        "immediate": "its replica identity is NOTHING",
    }[unfit.primary_key if unfit.identity != "i" else ""]
    if unfit.identity == "i":
        why = "the index of its replica identity is gone"
    if unfit.identity == "n":
        why = "its replica identity is NOTHING"
    index = f"ALTER TABLE {unfit.name} REPLICA IDENTITY USING INDEX {unfit.fit_index}"
    ways = [] if unfit.full_fails else [f"--full {root.name}"]
    ways += [index] if unfit.fit_index and unfit.identity != "n" else []
    way = f"{', or '.join(ways)} captures them" if ways else "nothing captures them beside generated columns"
    return f"{why}{where}: updates and deletes are not captured; {way}"


def _price(holders: Sequence[TableFacts]) -> str:
    """What FULL costs, from the planner's figures."""
    widest = max((table.row_bytes for table in holders), default=0)
    changes = sum(table.changes for table in holders)
    size = f"about {widest:,} bytes" if widest else "an unknown size (run ANALYZE)"
    text = f"FULL: each update or delete logs the old row too, {size}; {changes:,} of them so far"
    if any(table.toast_bytes for table in holders):
        text += "; with TOAST values: in a trial 35 times the WAL"
    return text


def _identities(families: Mapping[str, Family], full: frozenset[str]) -> Iterator[Identity]:
    """Identity is a matter of each leaf: what is set on the root reaches none of them."""
    for name in sorted(full):
        _, holders = families[name]
        for table in holders:
            if table.identity != "f" and table.owned and not table.unlogged:
                yield Identity(table.name, table.oid, table.identity, table.identity_index)


# --- what the role can do


def _refuse_unsafe_platform(facts: GuardFacts, wishes: Wishes) -> None:
    platform = facts.platform
    if platform is None or not platform.drops_slots or wishes.slot_is_kept:
        return
    raise Refused(
        f"{platform.name} looks after this server: {platform.habit}",
        where=str(facts.identity),
        intact="everything; nothing was armed",
        next="add to its configuration `ignore_slots: [{type: logical, plugin: pgoutput, "
        f"database: {facts.identity.database}}}]` and reload it, then: backout guard arm --slot-is-kept",
    )


def _no_slot(facts: GuardFacts, families: Mapping[str, Family]) -> str:
    """Why there can be no slot; empty when there can."""
    slot, publication = facts.log_rights["replication slot"], facts.owner_rights["publication"]
    if facts.wal_level != "logical":
        return f"wal_level is {facts.wal_level}: ALTER SYSTEM SET wal_level = logical, and a restart"
    if not slot.held:
        return f"the role may not make a slot: {slot.said}"
    if not publication.held:
        return f"the role may not make a publication: {publication.said}"
    if not any(_reach(root, holders, False)[0] is not Reach.NOTHING for root, holders in families.values()):
        return "no table of this role can be published"
    return ""


def _parts(
    facts: GuardFacts,
    coverage: Sequence[TableCoverage],
    identities: Sequence[Identity],
    why_no_slot: str,
    wishes: Wishes,
) -> Iterator[Part]:
    slot = not why_no_slot
    if wishes.full:
        what = (
            f"{len(identities)} tables and leaves get REPLICA IDENTITY FULL (ACCESS EXCLUSIVE, a moment each)"
        )
        yield Part("full rows", Needs.OWNER, slot, what, why_no_slot)
    counts = {reach: sum(t.reach is reach for t in coverage) for reach in Reach}
    what = (
        f"{plural(counts[Reach.EVERY], 'table')} with every write, {counts[Reach.INSERTS]} with inserts only"
    )
    yield Part("publication", Needs.OWNER, slot, what, why_no_slot)
    kept = "kept over a failover where the standby synchronises it" if facts.has_failover else ""
    what = f"pgoutput, made after the publication{', ' + kept if kept else ''}"
    yield Part("slot", Needs.REPLICATION, slot, what, why_no_slot)
    place = facts.log_rights["named restore point"]
    if facts.wal_level == "minimal":
        place = Right(place.name, False, "looked up", "wal_level is minimal: the log cannot be restored from")
    yield _granted("restore point", place, "a named place in the WAL")
    yield _granted("WAL switch", facts.log_rights["switch the log"], "its segment goes to the archive now")
    yield Part("migration files", Needs.FILES, True, "stored under their SHA-256, with schema and history")
    yield Part(
        "marker", Needs.OWNER, True, "with `guard -- COMMAND`: first in each transaction of the command"
    )
    if wishes.origin:
        right = facts.owner_rights["replication origin"]
        yield _granted("origin", right, "each session of the command has a replication origin of ours")


def _granted(name: str, right: Right, what: str) -> Part:
    said = "" if right.held else f"the role may not: {right.said or 'EXECUTE was not granted'}"
    return Part(name, Needs.SUPERUSER, bool(right.held), what, said)


def _unseen(facts: GuardFacts) -> Iterator[str]:
    for kind, count, one in facts.unseen:
        yield plural(count, kind) + (f" ({one}{', ...' if count > 1 else ''})" if one else "")
    yield "DDL, and every write to a table that the migration itself makes"


def _habit(facts: GuardFacts) -> Iterator[str]:
    if facts.platform is not None:
        yield f"{facts.platform.name}: {facts.platform.habit}"


def _warnings(facts: GuardFacts, coverage: Sequence[TableCoverage], limits: GuardLimits) -> Iterator[str]:
    if 0 <= facts.keep_limit_bytes < limits.wal_cap_bytes:
        limit = size(facts.keep_limit_bytes)
        yield f"max_slot_wal_keep_size is {limit}: the server takes the slot before the cap"
    yield (
        "while it is armed the slot holds back WAL, up to the cap, and the cleaning of the system catalogs: "
        "a database that makes many temporary tables will feel it"
    )
    if facts.standbys and not facts.has_failover:
        yield "a slot of this version is not on the standbys: a failover loses it"
    if any(table.reach is Reach.EVERY and not table.full for table in coverage):
        yield (
            "without --full old values are not logged: a migration that rewrites a column (ALTER TYPE) "
            "can be told from the application's writes only with a copy from before it"
        )
        yield (
            "a migration that drops a primary key makes updates of that table fail while it is published; "
            "one that sets a table UNLOGGED is refused by the server"
        )


def _remains(slot: bool, point: bool) -> str:
    base = "a restore to exactly before the migration (needs a base backup and the archive); "
    none = "no restore to an exact place: prove a snapshot first (backout snapshot prove); "
    return (base if point else none) + (_WHOLE if slot else _INEXACT)


# --- an armed guard


def health(guard: Guard, sight: Sight, now: datetime) -> GuardHealth:
    """How it stands; every check is good while it can still do what it was armed for."""
    slot = sight.slot
    retained = slot.retained_bytes if slot is not None else 0
    checks = (_capture(guard, sight), *_held(guard, sight), *_tables(guard, sight), _expiry(guard, now))
    over = bool(guard.slot) and retained >= guard.wal_cap_bytes
    return GuardHealth(checks, retained, slot.lag_bytes if slot is not None else 0, over)


def _capture(guard: Guard, sight: Sight) -> Check:
    name = "capture"
    if not sight.same_server:
        return Check(name, CheckState.UNKNOWN, "the target's name leads to another database by now")
    if not guard.slot:
        return Check(name, CheckState.WARN, f"no slot; what remains: {guard.remains}")
    if sight.slot is None:
        return Check(
            name,
            CheckState.FAIL,
            "the slot is gone: Patroni, a provider, a failover or an administrator dropped it; "
            "later writes are not captured any more",
        )
    if sight.slot.wal_status == "lost" or sight.slot.invalidation:
        why = sight.slot.invalidation or "its WAL was removed"
        return Check(
            name, CheckState.FAIL, f"the slot is lost ({why}): later writes are not captured any more"
        )
    covered = guard.covered(Reach.EVERY) + guard.covered(Reach.INSERTS)
    state = CheckState.PASS if sight.slot.wal_status in ("reserved", "extended") else CheckState.FAIL
    return Check(name, state, f"{covered} of {len(guard.coverage)} tables, slot {sight.slot.wal_status}")


def _held(guard: Guard, sight: Sight) -> Iterator[Check]:
    if sight.slot is None:
        return
    retained, cap = sight.slot.retained_bytes, guard.wal_cap_bytes
    text = f"{size(retained)} of {size(cap)}; at the cap it drops itself and alarms"
    if sight.slot.safe_bytes is not None and sight.slot.safe_bytes < cap - retained:
        text += f"; the server takes it after {size(sight.slot.safe_bytes)} more"
    state = CheckState.FAIL if retained >= cap else CheckState.PASS
    state = CheckState.WARN if cap > retained >= cap * _WARN_SHARE else state
    yield Check("WAL held", state, text)
    if sight.standbys:
        failover = sight.slot.failover
        said = (
            "ask the standby: synced AND NOT temporary in pg_replication_slots"
            if failover
            else "a failover loses it"
        )
        yield Check("failover", CheckState.WARN, said)


def _tables(guard: Guard, sight: Sight) -> Iterator[Check]:
    if not guard.slot or not sight.same_server:
        return
    published = {table.oid for table in guard.coverage if table.reach is not Reach.NOTHING}
    lost = published & sight.tables - sight.members
    gone = published - sight.tables
    if sight.publications < len(guard.publications) or lost:
        yield Check(
            "publication", CheckState.FAIL, f"{len(lost)} tables left the publication: not captured any more"
        )
    elif gone:
        yield Check(
            "publication", CheckState.PASS, f"{len(gone)} tables were dropped since; the rest is there"
        )
    if sight.detached:
        names = ", ".join(sight.detached[:3])
        yield Check(
            "partitions", CheckState.FAIL, f"{names} was detached: its writes are not captured any more"
        )
    for table in guard.coverage:
        if table.demoted:
            yield Check("identity", CheckState.WARN, f"{table.table}: {table.note}")
    for _, name in sight.broken:
        yield Check(
            "identity",
            CheckState.FAIL,
            f"{name} lost its replica identity: updates and deletes of the application fail there (55000)",
            f"ALTER TABLE {name} REPLICA IDENTITY FULL",
        )


def _expiry(guard: Guard, now: datetime) -> Check:
    if expired(guard, now):
        return Check("window", CheckState.WARN, "over; it stays while an incident of this target is open")
    return Check("window", CheckState.PASS, f"until {when(guard.expires_at)}")


def expired(guard: Guard, now: datetime) -> bool:
    """Whether its window is over."""
    return now >= datetime.fromisoformat(guard.expires_at)


def expiry(armed_at: datetime, seconds: float) -> datetime:
    """The end of the window."""
    return armed_at + timedelta(seconds=seconds)


# --- a command under the guard


def drop_reason(ran: CommandRun) -> str:
    """Why the guard goes after this command; empty = it stays. An exit code alone says nothing: a command
    that failed after a part of it had committed is what a guard is for."""
    if ran.exit_code == 0 or ran.changed:
        return ""
    return f"{ran.program} failed (exit {ran.exit_code}) and nothing of it was committed"


def proven_lately(proofs: Iterable[Proof], now: datetime, within: float) -> bool:
    """Whether one of these proofs holds and is young enough."""
    return any(
        proof.holds and (now - datetime.fromisoformat(proof.proven_at)).total_seconds() <= within
        for proof in proofs
    )
