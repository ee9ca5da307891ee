"""Who owns which enrolled key, and whether it counts now; one key is one person, never two."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from backout.adapters.people.allowed_signers import Signer
from backout.adapters.people.public_keys import PublicKey
from backout.errors import ConfigurationError, Refused

NAMESPACE = "backout"
"""Of every signature that approves; a signature made for mail or for git never does."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the file said when it was read."""

    where: str
    signers: tuple[tuple[str, Signer], ...]
    """Person and line, in the order of the file."""

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(sorted({person for person, _signer in self.signers}))

    def keys_now(self, person: str, now: datetime) -> tuple[PublicKey, ...]:
        """The keys of `person` that may sign at `now`, each once; none for a stranger."""
        keys = (s.key for owner, s in self.signers if owner == person and not s.why_not(NAMESPACE, now))
        return tuple(dict.fromkeys(keys))

    def know(self, person: str) -> None:
        """Refused when nobody of this name is enrolled."""
        if person not in self.people:
            raise Refused(
                f"nobody is enrolled as {person!a}; enrolled: {', '.join(self.people) or 'nobody'}",
                where=self.where,
                intact="nothing was signed or approved",
                next="enrol by a reviewed change of this file; it voids the approvals given so far",
            )

    def admit(self, person: str, key: PublicKey, now: datetime) -> None:
        """Refused, with the reason, unless `key` is one with which `person` may sign at `now`."""
        self.know(person)
        if key not in self.keys_now(person, now):
            raise Refused(
                f"{key.fingerprint} {self._why_not(person, key, now)}",
                where=self.where,
                intact="nothing was signed or approved",
                next="sign with a key that is enrolled; how to enrol one is printed by: backout init",
            )

    def _why_not(self, person: str, key: PublicKey, now: datetime) -> str:
        found = [(owner, signer) for owner, signer in self.signers if signer.key == key]
        if not found:
            return "is not enrolled, neither for this person nor for anybody else"
        owner = found[0][0]
        if owner != person:
            return f"is the key of {owner}, not of {person}"
        return f"does not count for {person}: {'; '.join(s.why_not(NAMESPACE, now) for _, s in found)}"


def enrol(signers: Collection[Signer], known: Collection[str], where: str) -> Enrolment:
    """Give each line of the file to one person: to its name that the configuration knows, else its first.

    ConfigurationError when a key would belong to two people: its holder could approve twice.
    """
    owners: dict[PublicKey, tuple[str, int]] = {}
    pairs = []
    for signer in signers:
        person = _person_of(signer, known, where)
        owner, line = owners.setdefault(signer.key, (person, signer.line))
        if owner != person:
            raise _two_people(f"lines {line} and {signer.line}", (owner, person), f"{where}:{signer.line}")
        pairs.append((person, signer))
    return Enrolment(where, tuple(pairs))


def _person_of(signer: Signer, known: Collection[str], where: str) -> str:
    named = [name for name in dict.fromkeys(signer.names) if name in known]
    if len(named) > 1:
        raise _two_people(f"line {signer.line}", named, f"{where}:{signer.line}")
    return named[0] if named else signer.names[0]


def _two_people(lines: str, names: Collection[str], where: str) -> ConfigurationError:
    return ConfigurationError(
        f"one key is enrolled as {' and as '.join(names)} ({lines}); a key is one person",
        where=where,
        intact="everything; nothing was signed or approved",
        next="give each of them a line with a key of their own",
    )
