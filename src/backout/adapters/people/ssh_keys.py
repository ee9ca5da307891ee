"""People as OpenSSH keys: who is enrolled, whose signature it is, and signing with an agent or a key file."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backout.adapters.people import agent, sshsig
from backout.adapters.people.allowed_signers import load, parse
from backout.adapters.people.enrolment import NAMESPACE, Enrolment, enrol
from backout.adapters.people.keys import AskPassphrase, read_private_key
from backout.adapters.people.wire import string
from backout.model.people import Person, Role


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SshPeople:
    """The port `people` over an `allowed_signers` file under review.

    The file is read again for every answer: whoever is taken out of it cannot approve from then on.
    Every method raises ConfigurationError when it cannot be read or understood.
    """

    allowed_signers: Path
    roles: Mapping[str, tuple[Role, ...]]
    ask_passphrase: AskPassphrase | None = None
    """For encrypted key files; without it they are refused."""
    clock: Callable[[], datetime] = _now
    """Decides about valid-after and valid-before; gives aware times."""

    def enrolled(self) -> tuple[Person, ...]:
        """Everybody in the file or in the configuration, by name, with the keys that may sign now."""
        enrolment, now = self._enrolment(), self.clock()
        return tuple(
            Person(
                name,
                self.roles.get(name, ()),
                tuple(key.fingerprint for key in enrolment.keys_now(name, now)),
            )
            for name in sorted({*enrolment.people, *self.roles})
        )

    def digest(self) -> str:
        """Hex SHA-256 of the bytes of the file and of the roles; any change of either changes it."""
        parts = [load(self.allowed_signers)]
        for name in sorted(self.roles):
            parts += [name.encode(), ",".join(sorted(set(self.roles[name]))).encode()]
        return hashlib.sha256(b"".join(map(string, parts))).hexdigest()

    def verify(self, person: str, message: bytes, armoured: str) -> str:
        """The fingerprint of the key of `person` that signed exactly `message`; else Refused."""
        enrolment = self._enrolment()
        enrolment.know(person)
        key = sshsig.verify(armoured, message, NAMESPACE)
        enrolment.admit(person, key, self.clock())
        return key.fingerprint

    def sign_with_agent(self, person: str, message: bytes) -> str | None:
        """A signature by a key of `person` in the running ssh-agent; None without agent or key.

        Refused when the agent has the key and does not sign, NeighbourUnreachable when it does not answer.
        """
        enrolment = self._enrolment()
        enrolment.know(person)
        blobs = [key.blob for key in enrolment.keys_now(person, self.clock())]
        signed = agent.sign(blobs, sshsig.to_sign(message, NAMESPACE))
        if signed is None:
            return None
        armoured = sshsig.armour(signed.blob, signed.signature, NAMESPACE)
        sshsig.verify(armoured, message, NAMESPACE)  # some agents know only the SHA-1 signatures of RSA keys
        return armoured

    def sign_with_key(self, person: str, message: bytes, key_file: Path) -> str:
        """A signature by the private key in `key_file`; Refused unless it is an enrolled key of `person`."""
        enrolment = self._enrolment()
        enrolment.know(person)
        private_key = read_private_key(key_file, self.ask_passphrase)
        enrolment.admit(person, sshsig.public_key_of(private_key), self.clock())
        return sshsig.sign(private_key, message, NAMESPACE)

    def _enrolment(self) -> Enrolment:
        where = str(self.allowed_signers)
        return enrol(parse(load(self.allowed_signers), where), self.roles, where)


def ssh_keygen_line(message_file: Path, key_hint: str = "~/.ssh/id_ed25519") -> str:
    """The command for somebody who signs elsewhere; the signature appears beside the file, as FILE.sig."""
    # the shell expands a tilde only outside of quotes
    key = "~/" + shlex.quote(key_hint[2:]) if key_hint.startswith("~/") else shlex.quote(key_hint)
    file = str(message_file)
    shown = shlex.quote(f"./{file}" if file.startswith("-") else file)
    return f"ssh-keygen -Y sign -n {NAMESPACE} -f {key} {shown}"
