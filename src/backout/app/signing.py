"""The words of people: approve, reject, withdraw; bundles for people without the database."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backout.app.desk import Desk
from backout.app.results import Approved
from backout.errors import ConfigurationError, Refused, UnknownName, Waiting
from backout.model.cutover import Warrant
from backout.model.gate import Proposals
from backout.model.incident import Incident
from backout.model.people import Approval, Person, Role
from backout.model.plan import Proposal
from backout.phases.gate.approvals import SOLO_PAUSE_SECONDS, missing_slots, second_reading_due
from backout.phases.gate.decide import nothing_to_choose
from backout.ports.people import People
from backout.ports.run import Standing
from backout.records import codec
from backout.render.screens.approve import signing_message


@dataclass(frozen=True, slots=True)
class ToSign:
    """What a person is shown and signs; `message` is exactly what was printed."""

    incident: str
    proposal: Proposal
    digest: str
    person: str
    role: Role
    accepts: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class How:
    """How a person signs: a private key file, a signature made elsewhere, or (neither) the ssh-agent."""

    key: Path | None = None
    signature: Path | None = None


def prepare(
    desk: Desk, incident_id: str, person: str, strategy: str | None, accepts: tuple[str, ...]
) -> ToSign:
    """The text for one person. Raises `ConfigurationError` when the list of names is not complete."""
    incident = desk.incident(incident_id)
    proposal = choose(desk, incident, strategy)
    people = desk.app.people()
    return _to_sign(incident.id, proposal, enrolled(people, person), given(desk, incident.id), accepts)


def choose(desk: Desk, incident: Incident, strategy: str | None) -> Proposal:
    """The proposal of this strategy, or the recommended one."""
    proposals = desk.result(incident.id, "strategy.propose", Proposals)
    if proposals is None:
        raise Refused(
            "there is nothing to approve yet",
            where=incident.target,
            intact="everything; nothing was signed",
            next=f"backout propose {incident.id}",
        )
    letter = strategy or _signed_already(desk, incident.id) or proposals.recommended
    for proposal in proposals.proposals:
        if proposal.strategy.value == letter:
            return proposal
    raise _cannot_choose(incident.id, incident.target, letter, proposals)


def _signed_already(desk: Desk, incident_id: str) -> str:
    found = given(desk, incident_id)
    return found[0].strategy if found else ""


def _cannot_choose(
    incident_id: str, target: str, letter: str, proposals: Proposals
) -> Refused | ConfigurationError:
    for row in proposals.options:
        if row.strategy.value == letter:
            return Refused(
                f"strategy {letter} is {row.verdict.value}: {row.reason or row.missing}",
                where=target,
                intact="everything",
                next=f"backout show {incident_id}",
            )
    if not proposals.proposals:
        return nothing_to_choose(incident_id, target, proposals)
    return ConfigurationError(
        "no strategy is recommended; choose one by name" if not letter else f"no strategy {letter!r}",
        where=target,
        intact="everything; nothing was signed",
        next=f"backout approve {incident_id} --strategy {proposals.proposals[0].strategy.value}",
    )


def enrolled(people: People, name: str) -> Person:
    for person in people.enrolled():
        if person.name == name:
            return person
    known = ", ".join(p.name for p in people.enrolled()) or "nobody"
    raise UnknownName(
        f"{name} is not enrolled in allowed_signers",
        where="allowed_signers, and [people] of backout.toml",
        intact="everything; nothing was signed",
        next=f"enrolled are: {known}",
    )


def _to_sign(
    incident: str, proposal: Proposal, person: Person, given: tuple[Approval, ...], accepts: tuple[str, ...]
) -> ToSign:
    missing = sorted(set(proposal.accept_by_name) - set(accepts))
    if missing:
        raise ConfigurationError(
            f"accept by name what {proposal.strategy.value} does not give back: {', '.join(missing)}",
            where=proposal.target_name,
            intact="everything; nothing was signed",
            next=f"backout approve {incident} --strategy {proposal.strategy.value} --as {person.name} "
            f"--accept {shlex.quote(','.join(proposal.accept_by_name))}",
        )
    role = _role_for(person, given)
    digest = codec.digest(proposal)
    message = signing_message(proposal, digest, role, person.name, proposal.accept_by_name)
    return ToSign(incident, proposal, digest, person.name, role, proposal.accept_by_name, message)


def _role_for(person: Person, given: tuple[Approval, ...]) -> Role:
    """The role this person signs in: one of theirs that nobody has taken yet, if there is one."""
    taken = {approval.role for approval in given if approval.person != person.name}
    if not person.roles:
        raise Refused(
            f"{person.name} is enrolled without a role",
            where="[people] of backout.toml",
            intact="everything; nothing was signed",
            next=f'[people] "{person.name}" = {{ roles = [...] }}',
        )
    return next((role for role in person.roles if role not in taken), person.roles[0])


def sign(desk: Desk, asked: ToSign, how: How) -> Approved:
    """Obtain the signature, check it, and record the approval. Runs nothing."""
    _second_reading(desk, asked)
    people = desk.app.people()
    approval = _signed(people, asked, how)
    return record(desk, asked.incident, asked.proposal, approval)


def _second_reading(desk: Desk, asked: ToSign) -> None:
    """Who approves alone reads twice, two minutes apart; the first reading signs nothing."""
    readings = [
        datetime.fromisoformat(e.at)
        for e in desk.signals(asked.incident, "reading")
        if e.body.get("person") == asked.person and e.body.get("digest") == asked.digest
    ]
    policy = desk.app.world(asked.proposal.target_name).policy
    due = second_reading_due(policy, min(readings, default=None), datetime.now(UTC))
    if due is None:
        desk.signal(asked.incident, "reading", {"person": asked.person, "digest": asked.digest})
        due = SOLO_PAUSE_SECONDS
    if due > 0:
        raise Waiting(
            f"one person approves here: read it again, and sign in {due:.0f} s",
            where=asked.proposal.target_name,
            intact="everything; nothing was signed",
            next=f"backout approve {asked.incident} --as {asked.person}",
        )


def _signed(people: People, asked: ToSign, how: How) -> Approval:
    message = asked.message.encode()
    if how.signature is not None:
        armoured = _read(how.signature)
    elif how.key is not None:
        armoured = people.sign_with_key(asked.person, message, how.key)
    else:
        found = people.sign_with_agent(asked.person, message)
        if found is None:
            raise _three_ways(asked)
        armoured = found
    key = people.verify(asked.person, message, armoured)
    return Approval(
        *(asked.person, asked.role, asked.digest, asked.proposal.strategy.value),
        *(asked.accepts, armoured, key, asked.proposal.round),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {type(error).__name__}",
            where=str(path),
            intact="everything; nothing was signed",
            next=f"mend it: {path}",
        ) from None


def _three_ways(asked: ToSign) -> Waiting:
    base = f"backout approve {asked.incident} --as {asked.person}"
    return Waiting(
        f"no signature of {asked.person}: no key of theirs is in a running ssh-agent",
        where=asked.proposal.target_name,
        intact="everything; nothing was signed",
        next=f"ssh-add, then {base}; or {base} --key FILE; or {base} --message FILE, "
        f"ssh-keygen -Y sign -n backout -f KEY FILE, and {base} --signature FILE.sig",
    )


def record(desk: Desk, incident_id: str, proposal: Proposal, approval: Approval) -> Approved:
    """Record a checked approval; a second one of the same person replaces nothing and changes nothing."""
    found = given(desk, incident_id)
    if any(a.person == approval.person and a.digest == approval.digest for a in found):
        return _answer(desk, incident_id, proposal)
    if found and found[0].digest != approval.digest:
        raise Refused(
            f"the other approvals are for strategy {found[0].strategy}; withdraw them first",
            where=proposal.target_name,
            intact="the other approvals; this one was not recorded",
            next=f"backout withdraw {incident_id}",
        )
    desk.signal(incident_id, "approval", codec.dump(approval))
    return _answer(desk, incident_id, proposal)


def given(desk: Desk, incident_id: str) -> tuple[Approval, ...]:
    """Approvals of the newest round that were not withdrawn."""
    withdrawn = {e.body["person"] for e in desk.signals(incident_id, "withdrawal")}
    approvals = [codec.load(Approval, e.body) for e in desk.signals(incident_id, "approval")]
    return tuple(a for a in approvals if a.person not in withdrawn)


def _answer(desk: Desk, incident_id: str, proposal: Proposal) -> Approved:
    found = given(desk, incident_id)
    world = desk.app.world(proposal.target_name)
    missing = missing_slots(world.policy, found, proposal.requested_by)
    if missing:
        wanted = " and ".join({"sre": "SRE", "owner": "migration owner"}.get(slot, slot) for slot in missing)
        command = f"backout approve {incident_id}"
        if proposal.accept_by_name:
            command += f" --strategy {proposal.strategy.value}"
        following = f"another person, as {wanted}: {command}"
    else:
        following = f"backout run {incident_id}"
    return Approved(incident_id, codec.digest(proposal), found, missing, following)


def reject(desk: Desk, incident_id: str, person: str, reason: str) -> Approved:
    """A no ends the round: nothing of it can be run any more."""
    incident = desk.incident(incident_id)
    proposal = (
        choose(desk, incident, None) if desk.result(incident.id, "strategy.propose", Proposals) else None
    )
    _refuse_once_held(desk, incident)
    desk.signal(incident.id, "rejection", {"person": person, "reason": reason})
    desk.begin_round(incident.id, f"rejected by {person}: {reason}")
    digest = codec.digest(proposal) if proposal else ""
    return Approved(incident.id, digest, (), (), f"backout propose {incident.id}")


def withdraw(desk: Desk, incident_id: str, person: str) -> Approved:
    """Take one's approval back; only before the run."""
    incident = desk.incident(incident_id)
    if desk.story(incident.id).standing("execution.down") is not Standing.NEW:
        raise Refused(
            "the run has begun; an approval can no longer be withdrawn",
            where=incident.target,
            intact="the approval",
            next=f"backout status {incident.id}",
        )
    _refuse_once_held(desk, incident)
    if person not in {a.person for a in given(desk, incident.id)}:
        raise Refused(
            f"{person} has not approved this round",
            where=incident.target,
            intact="everything; nothing was withdrawn",
            next=f"backout show {incident.id}",
        )
    desk.signal(incident.id, "withdrawal", {"person": person})
    desk.begin_round(incident.id, f"{person} withdrew")
    return Approved(incident.id, "", (), (), f"backout propose {incident.id}")


def _refuse_once_held(desk: Desk, incident: Incident) -> None:
    """A word alone cannot tell whether writes are still held, or have moved."""
    if desk.result(incident.id, "cutover.warrant.1", Warrant) is not None:
        raise Refused(
            "a move of traffic has begun in this round",
            where=incident.target,
            intact="everything; the round goes on",
            next=f"backout propose {incident.id}",
        )


def write_bundle(desk: Desk, incident_id: str, file: Path) -> None:
    """One file that `approve FILE` shows in full on any machine, without the database."""
    incident = desk.incident(incident_id)
    proposals = desk.need(incident.id, "strategy.propose", Proposals)
    body = {"incident": incident.id, "proposals": codec.dump(proposals)}
    file.write_bytes(codec.canonical({**body, "digest": codec.digest(body)}))


def read_bundle(file: Path) -> tuple[str, Proposals]:
    """Incident and proposals of a bundle; raises `Refused` when it was changed on its way."""
    try:
        document = json.loads(file.read_text("utf-8"))
        body = {"incident": document["incident"], "proposals": document["proposals"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{file} is not a bundle of backout",
            where=str(file),
            intact="everything; nothing was signed",
            next="ask for the bundle again: backout propose --bundle FILE",
        ) from None
    if codec.digest(body) != document.get("digest"):
        raise Refused(
            f"{file} was changed: its digest does not match",
            where=str(file),
            intact="everything; nothing was signed",
            next="ask for the bundle again",
        )
    return str(body["incident"]), codec.load(Proposals, body["proposals"])


def line_of(approval: Approval) -> str:
    """An approval as one line to paste into `approve --add`."""
    return "backout1." + base64.urlsafe_b64encode(codec.canonical(codec.dump(approval))).decode().rstrip("=")


def add_line(desk: Desk, incident_id: str, line: str) -> Approved:
    """Record an approval that was given on another machine; its signature is checked here."""
    incident = desk.incident(incident_id)
    approval = _of_line(line)
    proposal = choose(desk, incident, approval.strategy)
    people = desk.app.people()
    person = enrolled(people, approval.person)
    if approval.role not in person.roles or approval.digest != codec.digest(proposal):
        raise Refused(
            "this line approves another proposal, or in a role that is not theirs",
            where=incident.target,
            intact="everything",
            next=f"backout show {incident.id}",
        )
    message = signing_message(
        proposal, approval.digest, approval.role, approval.person, proposal.accept_by_name
    )
    people.verify(approval.person, message.encode(), approval.signature)
    return record(desk, incident.id, proposal, approval)


def _of_line(line: str) -> Approval:
    text = line.strip().removeprefix("backout1.")
    try:
        document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return codec.load(Approval, document)
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            "this is not a line of `backout approve FILE`",
            where="the command line",
            intact="everything; nothing was recorded",
            next="ask for the line again: backout approve FILE",
        ) from None


def prepare_bundle(
    desk: Desk, file: Path, person: str, strategy: str | None, accepts: tuple[str, ...]
) -> ToSign:
    """The text for one person, from a bundle: no database and no journal is needed."""
    incident, proposals = read_bundle(file)
    letter = strategy or proposals.recommended
    for proposal in proposals.proposals:
        if proposal.strategy.value == letter:
            return _to_sign(incident, proposal, enrolled(desk.app.people(), person), (), accepts)
    raise _cannot_choose(incident, str(file), letter, proposals)


def sign_for_elsewhere(desk: Desk, asked: ToSign, how: How) -> str:
    """Sign on this machine; the line to add on the incident's."""
    return line_of(_signed(desk.app.people(), asked, how))


def one_signature(desk: Desk, incident: Incident, message: str, person: str, how: How, *, again: str) -> str:
    """One person's signature over what was printed, for a write beside the approved plan; the key's name.

    Raises `Waiting` with the command to type `again` when no key of theirs is at hand.
    """
    people = desk.app.people()
    text = message.encode()
    if how.signature is not None:
        armoured: str | None = _read(how.signature)
    elif how.key is not None:
        armoured = people.sign_with_key(person, text, how.key)
    else:
        armoured = people.sign_with_agent(person, text)
    if armoured is None:
        raise Waiting(
            f"no signature of {person}: no key of theirs is in a running ssh-agent",
            where=incident.target,
            intact="everything; nothing was written",
            next=again,
        )
    return people.verify(person, text, armoured)
