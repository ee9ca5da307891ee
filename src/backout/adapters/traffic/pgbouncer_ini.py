"""One entry of a pgbouncer.ini: found, read, and led elsewhere, with every other byte left as it is."""

from __future__ import annotations

import re

from backout.errors import ConfigurationError
from backout.ports.traffic import Address

_SECTION = re.compile(r"^\s*\[(?P<name>[^\]]+)\]")
_PAIR = re.compile(r"(?P<key>\w+)\s*=\s*(?P<value>'(?:[^']|'')*'|[^\s']+)")


def led_to(text: str, entry: str, new: Address, remark: str) -> str:
    """The text with the entry leading to `new`; user, password and all else of it are kept.

    Raises `ConfigurationError` when the entry is not one plain line of this file.
    """
    lines = text.splitlines(keepends=True)
    at = _only_line(lines, entry)
    name, _, value = lines[at].rstrip("\r\n").partition("=")
    wanted = {"host": new.host, "port": str(new.port), "dbname": new.database}
    kept = [m.group(0) for m in _PAIR.finditer(value) if m["key"] not in wanted]
    told = [f"{key}={_quoted(word)}" for key, word in wanted.items()]
    lines[at] = f"{name.rstrip()} = {' '.join([*told, *kept])}\n"
    return f"; {remark}\n" + "".join(lines)


def leads_to(text: str, entry: str) -> Address:
    """Where the entry leads now."""
    lines = text.splitlines(keepends=True)
    value = lines[_only_line(lines, entry)].partition("=")[2]
    pairs = {m["key"]: _plain(m["value"]) for m in _PAIR.finditer(value)}
    if "," in pairs.get("host", ""):
        raise _not_plain(entry, "it leads to several hosts")
    return Address(pairs.get("host", ""), int(pairs.get("port", "5432")), pairs.get("dbname", entry))


def setting(text: str, key: str, default: str) -> str:
    """The value of a setting of the [pgbouncer] section, as a restart would read it."""
    section, value = "", default
    for line in text.splitlines():
        match = _SECTION.match(line)
        section = match["name"].strip().lower() if match else section
        name, is_pair, told = line.partition("=")
        if section == "pgbouncer" and is_pair and name.strip() == key:
            value = told.strip()
    return value


def _only_line(lines: list[str], entry: str) -> int:
    section = ""
    found = []
    for number, line in enumerate(lines):
        match = _SECTION.match(line)
        if match:
            section = match["name"].strip().lower()
        key = line.partition("=")[0].strip().strip('"')
        if section == "databases" and "=" in line and key == entry:
            found.append(number)
    if len(found) != 1:
        raise _not_plain(entry, f"it is there {len(found)} times (an include or `*` does not count)")
    return found[0]


def _not_plain(entry: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the entry {entry} of pgbouncer.ini cannot be led elsewhere: {why}",
        intact="everything; nothing was changed",
        next=f"give {entry} one line of its own in [databases], RELOAD, then the same command again",
        where="pgbouncer.ini",
    )


def _plain(value: str) -> str:
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w./-]+", word) else "'" + word.replace("'", "''") + "'"
