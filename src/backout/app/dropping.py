"""The end of kept values: only after the incident, with a reason and the signature of an owner."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from backout.app import lock
from backout.app.containment import next_prefix
from backout.app.desk import Desk
from backout.app.keeping import age
from backout.app.kept import NAME
from backout.app.results import KeptDrop
from backout.app.signing import How, enrolled, one_signature
from backout.errors import ConfigurationError, Refused
from backout.model.incident import Incident
from backout.model.people import Role
from backout.phases.kept.act import KeptDropped
from backout.postgres import kept
from backout.runbooks.drop_kept import drop_kept


@dataclass(frozen=True, slots=True)
class DropAsked:
    """What would go for good, and the text to sign."""

    incident: Incident
    forecast: KeptDrop
    message: str


def ask_drop(desk: Desk, incident_id: str, reason: str, *, early: bool) -> DropAsked:
    """The forecast of a drop; only reads. Refused while an incident of this target is open, and before the
    retention is over unless `early`."""
    incident = desk.incident(incident_id)
    again = f"backout kept drop {incident.id} --reason {shlex.quote(reason) if reason else 'TEXT'}"
    if not reason.strip():
        raise ConfigurationError(
            "a reason is needed: it is all that remains of these values",
            where=incident.id,
            intact="the kept values",
            next=again,
        )
    seen = age(desk, incident.id)
    if seen is None:
        raise Refused(
            f"{incident.id} keeps nothing",
            where=incident.target,
            intact="everything; nothing was dropped",
            next="backout status",
        )
    _refuse_while_open(desk, incident)
    if not seen.over and not early:
        raise Refused(
            f"the values of {incident.id} are wanted until {seen.wanted_until}",
            where=incident.target,
            intact="the kept values",
            next=f"wait until then, or say that it is early: {again} --early",
        )
    with desk.app.world(incident.target).databases.operate(NAME) as session:
        tables = kept.tables(session, incident.id)
    following = f"{again}{' --early' if early else ''} --as NAME"
    values = sum(table.values for table in tables)
    forecast = KeptDrop(
        incident.id, incident.target, len(tables), values, reason, seen, dropped=False, next=following
    )
    return DropAsked(incident, forecast, _message(forecast))


def _refuse_while_open(desk: Desk, incident: Incident) -> None:
    """Never while an incident is open: what is kept may be what it needs."""
    still = [i for i in desk.open_incidents() if desk.incident(i).target == incident.target]
    if still:
        raise Refused(
            f"{still[0]} is open on {incident.target}; kept values stay until it is closed",
            where=incident.target,
            intact="the kept values",
            next=f"backout close {still[0]}",
        )


def _message(forecast: KeptDrop) -> str:
    """What a person signs: these values, for good, and why."""
    return (
        f"You sign the end of kept values\n  incident {forecast.incident}\n  on {forecast.target}\n"
        f"  {forecast.values:,} values in {forecast.tables} tables, kept since {forecast.age.kept_at}\n"
        f"  they are dropped for good\n  reason: {forecast.reason}\n"
    )


def drop(desk: Desk, asked: DropAsked, person: str, how: How) -> KeptDrop:
    """Drop them after the signature of an owner."""
    incident, forecast = asked.incident, asked.forecast
    if Role.OWNER not in enrolled(desk.app.people(), person).roles:
        raise Refused(
            f"{person} is not enrolled as owner; only an owner may end kept values",
            where=incident.target,
            intact="the kept values",
            next=forecast.next,
        )
    again = f"{forecast.next.replace('NAME', person)} --key FILE"
    key = one_signature(desk, incident, asked.message, person, how, again=again)
    with lock.worker(desk.app.state, "kept drop", desk.actor):
        run = desk.story(incident.id, next_prefix(desk, incident.id, "drop"))
        run.decide("signed", {"person": person, "key": key, "reason": forecast.reason})
        what = KeptDropped(forecast.tables, forecast.values, forecast.reason)
        drop_kept(run, desk.app.world(incident.target), what)
    return replace(forecast, dropped=True, next="nothing")
