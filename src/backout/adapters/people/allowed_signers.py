"""The `allowed_signers` file of OpenSSH (ssh-keygen(1), ALLOWED SIGNERS): who is enrolled with which key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backout.adapters.people.public_keys import KINDS, PublicKey, parse_line
from backout.adapters.people.wire import Malformed
from backout.errors import ConfigurationError

_LARGEST = 1 << 20
"""Bytes; a file of 5,000 people is smaller."""
_FIELD = re.compile(r'((?:"[^"]*"|[^\s"])+)(?:\s+|$)')
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?(?:,(?!$)|$)')
_TIME_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True)
class Signer:
    """One line of the file: a person, a key, and where and when it counts."""

    line: int
    names: tuple[str, ...]
    """The principals; several on one line are several spellings of one person."""
    key: PublicKey
    namespaces: tuple[str, ...] | None = None
    """Patterns; None = every namespace."""
    valid_after: datetime | None = None
    valid_before: datetime | None = None
    """Both ends count as valid, as with ssh-keygen."""

    def why_not(self, namespace: str, now: datetime) -> str:
        """Why a signature in `namespace`, looked at `now`, does not count; empty when it does."""
        if self.namespaces is not None and not _matches(namespace, self.namespaces):
            return f"line {self.line} allows its key for {','.join(self.namespaces)} only"
        if self.valid_after is not None and now < self.valid_after:
            return f"line {self.line} allows its key from {self.valid_after:%Y-%m-%d %H:%M %Z} on"
        if self.valid_before is not None and now > self.valid_before:
            return f"line {self.line} allowed its key until {self.valid_before:%Y-%m-%d %H:%M %Z}"
        return ""


def load(path: Path) -> bytes:
    """The bytes of the file; ConfigurationError when it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as problem:
        why = (problem.strerror or "it cannot be opened").lower()
        raise ConfigurationError(
            f"the file of enrolled people cannot be read: {why}",
            where=str(path),
            intact="everything; nothing was signed or approved",
            next="name it as allowed_signers in [people] of backout.toml; `backout init` prints how to enrol",
        ) from None
    if len(content) > _LARGEST:
        raise ConfigurationError(
            "the file of enrolled people is larger than 1 MiB",
            where=str(path),
            intact="everything; nothing was signed or approved",
            next="name the right file as allowed_signers in [people] of backout.toml",
        )
    return content


def parse(content: bytes, where: str) -> tuple[Signer, ...]:
    """The signers in the order of the file; ConfigurationError names `where` and the line.

    OpenSSH skips a line that it does not understand. Here it is an error, because it is found on a calm
    day and not by the person whose signature is missing.
    """
    signers = []
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            text = raw.decode("utf-8").strip(" \t\r")
            if text and not text.startswith("#"):
                signers.append(_signer(number, text))
        except UnicodeDecodeError:
            raise _wrong(where, number, "the line is not UTF-8") from None
        except Malformed as problem:
            raise _wrong(where, number, str(problem)) from None
    return tuple(signers)


def _wrong(where: str, line: int, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"line {line} of the file of enrolled people: {what}",
        where=f"{where}:{line}",
        intact="everything; nothing was signed or approved",
        next='write it as `NAME namespaces="backout" KIND KEY`, with kind and key from the .pub file',
    )


def _signer(line: int, text: str) -> Signer:
    fields = _fields(text)
    names = _names(fields[0] if fields else "")
    rest = fields[1:]
    options = _options(rest.pop(0)) if rest and rest[0] not in KINDS and not _is_kind(rest[0]) else {}
    if len(rest) < 2:
        raise Malformed("it holds no key (NAME, options, kind and key are expected, in this order)")
    after, before = (
        _time(options[name]) if name in options else None for name in ("valid-after", "valid-before")
    )
    if after is not None and before is not None and before <= after:
        raise Malformed("valid-before is not later than valid-after")
    namespaces = tuple(options["namespaces"].split(",")) if "namespaces" in options else None
    return Signer(line, names, parse_line(rest[0], rest[1]), namespaces, after, before)


def _fields(text: str) -> list[str]:
    """The first four fields (more are a comment), fewer when a quotation mark is not closed."""
    fields: list[str] = []
    position = 0
    while len(fields) < 4 and (found := _FIELD.match(text, position)):
        fields.append(found[1])
        position = found.end()
    return fields


def _names(field: str) -> tuple[str, ...]:
    if field in KINDS:
        raise Malformed("it begins with a key, as a .pub file does; the name of the person belongs before it")
    names = tuple(field.strip('"').split(","))
    for name in names:
        if not name or not name.isprintable():
            raise Malformed(f"{name!a} is no name of a person")
        if any(character in name for character in '*?!"'):
            raise Malformed(f"{name!a} is a pattern; a person is enrolled by name")
    return names


def _is_kind(field: str) -> bool:
    """Whether a field is the name of some kind of key, also of one that cannot approve."""
    return re.fullmatch(r"(sk-|webauthn-sk-)?(ssh|ecdsa)-[a-z0-9.@-]+", field) is not None


def _options(field: str) -> dict[str, str]:
    options: dict[str, str] = {}
    position = 0
    while position < len(field):
        found = _OPTION.match(field, position)
        if found is None:
            raise Malformed(f"the options {field[:60]!a} cannot be read")
        position = found.end()
        name, value = found[1].lower(), found[2]
        if name == "cert-authority":
            raise Malformed("cert-authority is not accepted; whoever holds it could approve as anybody")
        if name not in ("namespaces", "valid-after", "valid-before") or name in options or not value:
            raise Malformed(f"the option {name!a} is unknown, given twice or without a value in quotes")
        options[name] = value
    return options


def _time(text: str) -> datetime:
    """A time as OpenSSH writes it: YYYYMMDD[HHMM[SS]], on the clock of this machine, with Z in UTC."""
    digits = text.removesuffix("Z")
    form = _TIME_FORMATS.get(len(digits))
    if form is None or not (digits.isascii() and digits.isdigit()):
        raise Malformed(f"{text[:30]!a} is no time (YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, Z for UTC)")
    try:
        parsed = datetime.strptime(digits, form)  # noqa: DTZ007 - the zone is set in the next line
        return parsed.replace(tzinfo=UTC) if digits != text else parsed.astimezone()
    except (ValueError, OverflowError):
        raise Malformed(f"{text[:30]!a} is no time of the calendar") from None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """The pattern list of ssh_config(5): `*`, `?`, and a `!` in front that outweighs every other match."""
    matched = False
    for pattern in patterns:
        expression = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(expression, name, re.DOTALL):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched
