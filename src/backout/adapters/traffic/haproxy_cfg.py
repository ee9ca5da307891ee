"""One server line of a haproxy.cfg: found, read, and led elsewhere, with every other byte left as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backout.errors import ConfigurationError
from backout.ports.traffic import Address

_SECTION = re.compile(
    r"^(?P<kind>global|defaults|frontend|backend|listen|resolvers|peers|userlist|cache|program|http-errors|"
    r"ring|mailers|fcgi-app|log-forward)\b\s*(?P<name>\S*)"
)
_SERVER = re.compile(r"^(?P<before>\s*server\s+(?P<name>\S+)\s+)(?P<place>\S+)(?P<after>.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ServerLine:
    """Which server of which backend (or listen section)."""

    backend: str
    server: str

    def __str__(self) -> str:
        return f"{self.backend}/{self.server}"


def led_to(text: str, line: ServerLine, new: Address, remark: str) -> str:
    """The text with the server at `new`; its checks, limits and all else are kept.

    Raises `ConfigurationError` when the server is not one plain line of this file.
    """
    lines = text.splitlines(keepends=True)
    at, found = _only_line(lines, line)
    host = f"[{new.host}]" if ":" in new.host else new.host
    lines[at] = f"{found['before']}{host}:{new.port}{found['after']}"
    return f"# {remark}\n" + "".join(lines)


def leads_to(text: str, line: ServerLine) -> tuple[str, int]:
    """Host and port of the server as the file says it; port 0 when it says none."""
    place = _only_line(text.splitlines(keepends=True), line)[1]["place"]
    host, _, port = place.rpartition(":")
    if not port.isdigit():
        return place.strip("[]"), 0
    return host.strip("[]"), int(port)


def remembers_states(text: str) -> bool:
    """Whether a reload would take addresses from a file of states instead of from this one."""
    return re.search(r"^\s*load-server-state-from-file\s+(global|local)", text, re.MULTILINE) is not None


def _only_line(lines: list[str], line: ServerLine) -> tuple[int, re.Match[str]]:
    inside = False
    found: list[tuple[int, re.Match[str]]] = []
    in_backend = 0
    for number, text in enumerate(lines):
        section = _SECTION.match(text)
        if section:
            inside = section["kind"] in ("backend", "listen") and section["name"] == line.backend
        server = _SERVER.match(text) if inside else None
        in_backend += server is not None
        if server is not None and server["name"] == line.server:
            found.append((number, server))
    if len(found) != 1:
        raise _not_plain(line, f"it is there {len(found)} times")
    if in_backend != 1:
        raise _not_plain(line, f"{line.backend} has {in_backend} servers, and writes go to one")
    return found[0]


def _not_plain(line: ServerLine, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the server {line} of haproxy.cfg cannot be led elsewhere: {why}",
        where="haproxy.cfg",
        intact="everything; nothing was changed",
        next=f"give {line.backend} one server line of its own, reload, then: backout doctor",
    )
