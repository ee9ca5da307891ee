"""Does a scratch server fit a source: one named check each, a red one with the command that mends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backout.model.check import Check, CheckState
from backout.ports.servers import SourceFacts
from backout.postgres import extensions
from backout.postgres.binaries import Binaries
from backout.postgres.reserve import reserve_bytes

NAME_A_SERVER = (
    "name a scratch server in backout.toml, under [target.NAME.snapshot]:"
    ' scratch = { env = "SCRATCH_DATABASE_URL" }'
)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where extensions have to be. `where` stands before a command that installs one, `otherwise` is the
    other way out; `refused` names those that are there and that our role there may not create."""

    available: Mapping[str, frozenset[str]]
    preloads: bool = False
    where: str = ""
    otherwise: str = NAME_A_SERVER
    refused: frozenset[str] = frozenset()
    allow: str = ""
    """What lets the role create the `refused` ones."""


def extension_checks(source: SourceFacts, ground: Ground) -> tuple[Check, ...]:
    """One check for each extension of the source."""
    major = source.server_version // 10000
    return tuple(_extension(name, version, ground, major) for name, version in source.extensions)


def _extension(name: str, version: str, ground: Ground, major: int) -> Check:
    title = f"extension {name}"
    if name not in ground.available:
        mend = f"{ground.where}{extensions.install_command(name, major)}; or {ground.otherwise}"
        return Check(title, CheckState.FAIL, f"{name} {version} is not available on the scratch server", mend)
    if name in extensions.NEEDS_PRELOAD and not ground.preloads:
        detail = f"{name} works only when it is preloaded, and a scratch server of ours preloads nothing"
        return Check(title, CheckState.FAIL, detail, NAME_A_SERVER)
    if name in ground.refused:
        return Check(title, CheckState.FAIL, f"only a superuser may create {name} there", ground.allow)
    if version not in ground.available[name]:
        there = ", ".join(sorted(ground.available[name])) or "unknown"
        detail = f"the source has {version}, the scratch server {there}: the copy gets its default version"
        mend = f"{ground.where}install {name} {version} for PostgreSQL {major}"
        return Check(title, CheckState.WARN, detail, mend)
    return Check(title, CheckState.PASS, f"{name} {version}")


def locale_checks(source: SourceFacts, binaries: Binaries) -> tuple[Check, ...]:
    """Can a database with the locale of the source be made by these programs, and does it sort alike."""
    if source.locale_provider == "i":
        return (_icu(source, binaries),)
    if source.locale_provider == "b" or source.collate in ("C", "POSIX"):
        return (Check("locale", CheckState.PASS, f"{source.locale or source.collate}, {source.encoding}"),)
    return (_libc_locale(source), _libc_version(source))


def _icu(source: SourceFacts, binaries: Binaries) -> Check:
    if has_icu(binaries):
        return Check("locale", CheckState.PASS, f"ICU {source.locale}, {source.encoding}")
    major = source.server_version // 10000
    detail = f"the source uses ICU ({source.locale}), these server programs are built without it"
    return Check("locale", CheckState.FAIL, detail, f"apt-get install postgresql-{major}; or {NAME_A_SERVER}")


def _libc_locale(source: SourceFacts) -> Check:
    missing = [name for name in {source.collate, source.ctype} if not has_locale(name)]
    if not missing:
        return Check("locale", CheckState.PASS, f"{source.collate}, {source.encoding}")
    name = missing[0]
    charset = name.split(".")[1] if "." in name else "UTF-8"
    return Check(
        "locale",
        CheckState.WARN,
        f"{name} is not on this machine: the copy sorts text by bytes, its contents are the same",
        f"localedef -i {name.split('.')[0]} -f {charset} {name}   (from the package locales)",
    )


def _libc_version(source: SourceFacts) -> Check:
    here = libc_version()
    if not source.collation_version or not here or source.collation_version == here:
        return Check("collation version", CheckState.PASS, source.collation_version or "not versioned")
    detail = f"source {source.collation_version}, this machine {here}: the copy's indexes are built anew"
    return Check("collation version", CheckState.WARN, detail)


@cache
def installed_locales() -> frozenset[str]:
    """Locales of this machine in the spelling of `_normal`; empty when the system cannot tell."""
    program = shutil.which("locale")
    if program is None:
        return frozenset()
    shown = subprocess.run([program, "-a"], capture_output=True, check=False, timeout=20)  # noqa: S603
    return frozenset(_normal(line) for line in shown.stdout.decode("latin-1").splitlines())


def has_locale(name: str) -> bool:
    """Whether libc of this machine knows the locale."""
    return name in ("C", "POSIX", "") or _normal(name) in installed_locales()


def _normal(name: str) -> str:
    """`en_US.UTF-8` and `en_US.utf8` are one locale."""
    base, _, charset = name.partition(".")
    return f"{base}.{charset.lower().replace('-', '')}" if charset else base


def libc_version() -> str:
    """Version of glibc as PostgreSQL records it for collations; empty elsewhere."""
    try:
        shown = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""
    return shown.removeprefix("glibc ").strip()


def has_icu(binaries: Binaries) -> bool:
    """Whether the server programs were built with ICU."""
    config = Path(binaries.program("pg_config"))
    if not config.exists():
        return False
    shown = subprocess.run(  # noqa: S603 - a program of the installation, no shell
        [str(config), "--configure"], capture_output=True, text=True, check=False, timeout=20
    )
    return "--with-icu" in shown.stdout or (binaries.major >= 16 and "--without-icu" not in shown.stdout)


def disk_check(directory: Path, need_bytes: int, source: SourceFacts, reserve: int | None = None) -> Check:
    """Room for the copy; beside a production on this machine a reserve is left alone: `reserve` bytes,
    or what `reserve_bytes` says."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    usage = shutil.disk_usage(place)
    keep = reserve_bytes(place, source) if reserve is None else reserve
    detail = f"needs {size(need_bytes)}, {size(usage.free)} free in {place}"
    if keep:
        detail += f", of which {size(keep)} stay free for the production on this disk"
    if usage.free - keep >= need_bytes:
        return Check("disk", CheckState.PASS, detail)
    return Check(
        "disk", CheckState.FAIL, detail, f"free some space; or BACKOUT_STATE=/other/disk; or {NAME_A_SERVER}"
    )


def size(count: int) -> str:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
