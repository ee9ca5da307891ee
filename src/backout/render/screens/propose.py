"""The screen of `propose`: loss before price before plan, so that people can decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from backout.model.gate import Proposals
from backout.model.incident import Incident
from backout.model.plan import LockForecast, Option, Proposal, Rehearsal, Strategy, Verdict, disk_need
from backout.model.snapshot import Scope, Snapshot
from backout.model.triage import Triage
from backout.render import losses, words
from backout.render.layout import NARROW, Place, Style, hanging, page
from backout.render.tables import Column, table

_LOCKS = 8
"""So many are told one by one."""
_ALIKE = 3
"""So many names stand for those whose locks were held equally long."""
_NOT_CHOOSABLE = (Verdict.REFUSED, Verdict.NOT_EXECUTABLE)


def screen(
    incident: Incident,
    triage: Triage,
    proposals: Proposals,
    rehearsals: Sequence[Rehearsal],
    digests: Mapping[str, str],
    *,
    style: Style,
    now: datetime,
    snapshot: Snapshot | None = None,
    next: str = "",
) -> str:
    """The evidence and the choice. `digests` are the hex SHA-256 of `proposals.proposals` by letter;
    `snapshot` is the proven one that the rehearsals stand on."""
    chosen = shown_proposal(proposals)
    place = Place(
        incident.target, incident.environment, triage.identity.target, not triage.identity.in_recovery
    )
    lines = hanging("", str(place), style)
    rehearsal = _rehearsal(chosen.strategy if chosen else Strategy.A, rehearsals)
    lines += [*evidence(rehearsal, triage, snapshot, style, now), ""] if rehearsal else []
    lines += strategies(proposals, style)
    lines += _scope(chosen, triage, style) if chosen else []
    for proposal in proposals.proposals:
        lines += _signature(proposal, digests[proposal.strategy.value], style, now)
    return page(lines, next or next_command(incident.id, proposals), style)


def shown_proposal(proposals: Proposals) -> Proposal | None:
    """The recommended proposal, else one that is possible, else the first that can be chosen at all."""
    by_letter = {proposal.strategy.value: proposal for proposal in proposals.proposals}
    possible = [o.strategy.value for o in proposals.options if o.verdict is Verdict.POSSIBLE]
    letters = [proposals.recommended, *possible, *by_letter]
    return next((by_letter[letter] for letter in letters if letter in by_letter), None)


def _rehearsal(strategy: Strategy, rehearsals: Sequence[Rehearsal]) -> Rehearsal | None:
    of_strategy = [rehearsal for rehearsal in rehearsals if rehearsal.strategy is strategy]
    return of_strategy[-1] if of_strategy else None


def evidence(
    rehearsal: Rehearsal, triage: Triage, snapshot: Snapshot | None, style: Style, now: datetime
) -> list[str]:
    """The LOSS block of one rehearsal, what it did to the schema, and what it did not measure."""
    upto = f", writes up to {words.when(snapshot.begun_at, now)}" if snapshot else ""
    lines = hanging("LOSS  ", f"measured on the proven copy{upto}", style)
    if not rehearsal.succeeded:
        lines += hanging("  the rehearsal failed: ", rehearsal.failure, style)
    migration = triage.offending[-1] if triage.offending else ""
    lines += losses.block(rehearsal.losses, triage.committed.at, migration, style)
    lines += hanging("  ", f"{losses.other(rehearsal.losses)}, {schema_words(rehearsal)}", style)
    for difference in rehearsal.schema_differences:
        detail = f": {difference.detail}" if difference.detail else ""
        lines += hanging("    ", f"{words.plain_table(difference.object)} {difference.change}{detail}", style)
    lines += hanging("  locks ", _locks(rehearsal), style) if rehearsal.locks else []
    for told in _ways(rehearsal.lock_forecast):
        lines += hanging("  keeps ", told, style)
    if rehearsal.kept_bytes:
        told = f"{words.size(disk_need(rehearsal.kept_bytes))} on the target for kept values, WAL included"
        lines += hanging("  disk  ", told, style)
    if rehearsal.non_transactional:
        lines += hanging("  outside a transaction: ", "; ".join(rehearsal.non_transactional), style)
    if rehearsal.not_measured:
        lines += hanging("  not measured: ", "; ".join(rehearsal.not_measured), style)
    return lines


def schema_words(rehearsal: Rehearsal) -> str:
    """Whether the schema came back, and what it was compared with."""
    if rehearsal.differences_basis == "unknown":
        return "schema equals before: unknown"
    if rehearsal.schema_differences:
        told = f"schema differs: {words.plural(len(rehearsal.schema_differences), 'difference')}"
        return told + _basis(rehearsal)
    return "schema equals before: yes" + _basis(rehearsal)


def _basis(rehearsal: Rehearsal) -> str:
    return "" if rehearsal.differences_basis == "before the up" else f" (by {rehearsal.differences_basis})"


def _locks(rehearsal: Rehearsal) -> str:
    """Each lock, or where there are many those that were held equally long together."""
    found = [
        (words.plain_table(lock.table), f"{lock.mode} {words.duration(lock.seconds)}")
        for lock in rehearsal.locks
    ]
    if len(found) <= _LOCKS:
        return ", ".join(f"{name} {held}" for name, held in found)
    alike: dict[str, list[str]] = {}
    for name, held in found:
        alike.setdefault(held, []).append(name)
    return ", ".join(f"{words.few(names, _ALIKE)} {held}" for held, names in alike.items())


def _ways(forecast: LockForecast | None) -> Iterator[str]:
    """Where a copy under the lock would be over the budget: both ways, table by table and in all."""
    if forecast is None or forecast.pre_copy_seconds is None:
        return
    for row in forecast.tables:
        under, left = words.duration(row.under_lock_seconds), row.pre_copy_seconds
        beside = f"by pre-copy {words.duration(left)}" if left is not None else row.reason or "not asked for"
        yield f"{words.plain_table(row.table)} {row.way.value}: copied under the lock {under}, {beside}"
    both = words.duration(forecast.under_lock_seconds), words.duration(forecast.pre_copy_seconds)
    yield f"locks held, doubled as production is not quiet: {both[0]}, by pre-copy {both[1]}"


_HEADS = (
    Column("  STRATEGY"),
    Column("LOST", right=True),
    Column("KEPT", right=True),
    Column("PAUSE", right=True),
    Column("TIME", right=True),
    Column(""),
)


def strategies(proposals: Proposals, style: Style) -> list[str]:
    """The table of all ways; a reason that does not fit beside its verdict stands below the table."""
    drawn = table(_HEADS, [_row(option, proposals.recommended) for option in proposals.options], style)
    if style.width < NARROW:
        reasons = [line for option in proposals.options for line in _reason(option, style)]
        return drawn + reasons + _would_change(proposals, style)
    lines, below = drawn[:1], list[str]()
    for option, line in zip(proposals.options, drawn[1:], strict=True):
        why = option.missing or option.reason
        whole = style.text(f"{line}: {why}" if why else line)
        fits = words.columns(whole) <= style.width
        lines.append(whole if fits else line)
        below += [] if fits else _reason(option, style)
    return lines + below + _would_change(proposals, style)


def _reason(option: Option, style: Style) -> list[str]:
    why = option.missing or option.reason
    return hanging(f"  {option.strategy.value}: ", why, style) if why else []


def _row(option: Option, recommended: str) -> tuple[str, ...]:
    arrow = "> " if option.strategy.value == recommended else "  "
    choosable = option.verdict not in _NOT_CHOOSABLE
    name = f"{arrow}{option.strategy.value} {option.strategy.words}"
    lost, kept = (words.count(v) if choosable else "-" for v in (option.lost, option.kept))
    pause, total = (
        words.duration(v) if choosable and v is not None else "?" if choosable else "-"
        for v in (option.pause_seconds, option.total_seconds)
    )
    return (name, lost, kept, pause, total, option.verdict.value)


def _would_change(proposals: Proposals, style: Style) -> list[str]:
    lines: list[str] = []
    for option in proposals.options:
        if option.strategy.value == proposals.recommended and option.would_change:
            lines += hanging("", option.would_change, style)
    return lines


def _scope(proposal: Proposal, triage: Triage, style: Style) -> list[str]:
    if proposal.snapshot.scope == Scope.WHOLE.value:
        return []
    told = f"snapshot {proposal.snapshot.id} covers: {proposal.snapshot.scope}"
    return hanging("", f"{told}, of {words.size(triage.database_bytes)}", style)


def _signature(proposal: Proposal, digest: str, style: Style, now: datetime) -> list[str]:
    lines = hanging(
        "",
        f"{proposal.strategy.value}  round {proposal.round}  digest {words.short_digest(digest)}  "
        f"void after {words.when(proposal.expires_at, now)}",
        style,
    )
    if proposal.accept_by_name:
        named = ", ".join(proposal.accept_by_name)
        lines += hanging(f"{proposal.strategy.value}  only by naming: ", named, style)
    return lines


def next_command(incident_id: str, proposals: Proposals) -> str:
    """Approve what is shown, by name where it is not recommended; by hand where nothing can be chosen."""
    chosen = shown_proposal(proposals)
    if chosen is None:
        return f"backout sheet {incident_id}"
    if chosen.strategy.value == proposals.recommended and not chosen.accept_by_name:
        return f"backout approve {incident_id}"
    return f"backout approve {incident_id} --strategy {chosen.strategy.value}"
