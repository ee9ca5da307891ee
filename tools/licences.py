"""Checks that every locked package has a licence that a tool under Apache-2.0 may depend on.

Packages come from uv.lock and tools/node/package-lock.json, licences from the metadata installed in this
environment, the rules from tools/licences.toml. A package about which nothing is known is a failure.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Rules:
    """What tools/licences.toml says."""

    allowed: frozenset[str]
    exceptions: dict[str, str]
    synonyms: dict[str, str]
    by_hand: dict[str, str]


def read_rules(path: Path) -> Rules:
    """The rules; every exception has to say why."""
    data = tomllib.loads(path.read_text())
    unexplained = [name for name, entry in data["exceptions"].items() if not entry.get("why")]
    if unexplained:
        raise ValueError(f"an exception without a reason: {', '.join(unexplained)}")
    exceptions = {name: entry["licence"] for name, entry in data["exceptions"].items()}
    return Rules(frozenset(data["allowed"]), exceptions, data["synonyms"], data["by_hand"])


def locked_python(path: Path) -> set[str]:
    """Names of the packages in uv.lock, our own left out."""
    packages = tomllib.loads(path.read_text())["package"]
    return {package["name"] for package in packages if "editable" not in package["source"]}


def locked_node(path: Path) -> dict[str, str]:
    """Licence per package of a package-lock.json, which carries them."""
    packages = json.loads(path.read_text())["packages"]
    return {where: entry.get("license", "") for where, entry in packages.items() if where}


def installed() -> dict[str, str]:
    """What each installed package says of its licence: expression, else short text, else classifiers."""
    return {
        re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower(): stated(dist.metadata)
        for dist in metadata.distributions()
    }


def stated(meta: metadata.PackageMetadata) -> str:
    """The licence in a package's own words; some put the whole text into the field, which says nothing."""
    for field in ("License-Expression", "License"):
        text = str(meta[field]) if field in meta else ""
        if text and "\n" not in text and len(text) < 80:
            return text
    classifiers = [line for line in meta.get_all("Classifier") or [] if line.startswith("License :: ")]
    return " AND ".join(line.rpartition(" :: ")[2] for line in classifiers)


def acceptable(licence: str, rules: Rules) -> bool:
    """Does an SPDX expression (any of an OR, all of an AND) lead to licences on the list?"""
    licence = rules.synonyms.get(licence, licence)
    return any(
        all(rules.synonyms.get(part, part) in rules.allowed for part in choice.split(" AND "))
        for choice in licence.split(" OR ")
    )


def problems(licences: dict[str, str], rules: Rules) -> Iterator[str]:
    """A line for each package whose licence is unknown or not allowed."""
    for name, licence in sorted(licences.items()):
        if not licence:
            yield f"{name}: no licence is stated; read it and write it under [by_hand]"
        elif not acceptable(licence, rules) and rules.exceptions.get(name) != licence:
            yield f"{name}: {licence} is not on the list"


def main() -> int:
    """0 when every licence is on the list, else 1 with a line for each that is not."""
    rules = read_rules(ROOT / "tools" / "licences.toml")
    said = installed()
    names = locked_python(ROOT / "uv.lock")
    licences = {name: rules.by_hand.get(name) or said.get(name, "") for name in names}
    licences |= locked_node(ROOT / "tools" / "node" / "package-lock.json")
    found = list(problems(licences, rules))
    for line in found:
        print(line)
    print(f"{len(licences)} packages, {len(found)} with a licence that is not fine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
