"""Run a migration tool as a child process: a minimal environment, no secret in argv, a deadline."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

from backout.errors import NeighbourUnreachable
from backout.ports.migrator import Endpoint, ToolEnvironment, ToolResult

# What any child may see. Everything else of the operator's environment stays away from it: the
# connection string of production is the first thing that would be found there.
PASSED = ("PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")
_NEVER = frozenset({"NODE_TLS_REJECT_UNAUTHORIZED"})
_OUTPUT_LIMIT = 256 * 1024
_CONNECTION = re.compile(r"\s*[\"']?postgres(ql)?(\+\w+)?://", re.IGNORECASE)
_CREDENTIAL_NAME = re.compile(r"^PG(?!APPNAME$|TZ$)[A-Z]+$|^(DATABASE|POSTGRES(QL)?|PG|DB)_(URL|URI|DSN)$")


def is_connection(name: str, value: str) -> bool:
    """Whether an environment variable says how to reach a PostgreSQL server."""
    return bool(_CONNECTION.match(value)) or bool(_CREDENTIAL_NAME.match(name))


def connection_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the variables that must not reach a child as they are, sorted."""
    return tuple(sorted(name for name, value in environment.items() if is_connection(name, value)))


def environment_of(tool: ToolEnvironment, passed: Iterable[str]) -> dict[str, str]:
    """The whole environment of the child: what is passed on, less what is removed, plus what we set."""
    patterns = (*PASSED, *passed)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _NEVER
        and not is_connection(name, value)
        and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
    for name in tool.remove:
        kept.pop(name, None)
    return kept | dict(tool.variables)


def url(endpoint: Endpoint, scheme: str = "postgresql", *, sslmode: bool = True) -> str:
    """The endpoint as a URL; for the child's environment and private files only."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    login = f"{quote(endpoint.user, safe='')}:{quote(endpoint.password, safe='')}"
    base = f"{scheme}://{login}@{host}:{endpoint.port}/{quote(endpoint.database, safe='')}"
    return f"{base}?sslmode={sslmode_of(endpoint)}" if sslmode else base


def sslmode_of(endpoint: Endpoint) -> str:
    """verify-full with the run's own CA, else plain text on loopback; never the half-way modes."""
    return "verify-full" if endpoint.ca_file else "disable"


def libpq_variables(endpoint: Endpoint) -> dict[str, str]:
    """The PG* variables that lead any libpq-like client to the endpoint."""
    variables = {
        "PGHOST": endpoint.host,
        "PGPORT": str(endpoint.port),
        "PGUSER": endpoint.user,
        "PGPASSWORD": endpoint.password,
        "PGDATABASE": endpoint.database,
        "PGSSLMODE": sslmode_of(endpoint),
    }
    if endpoint.ca_file:
        variables["PGSSLROOTCERT"] = str(endpoint.ca_file)
    if endpoint.crl_file:
        # else the user's own ~/.postgresql/root.crl is looked at, which says nothing about our authority
        variables["PGSSLCRL"] = str(endpoint.crl_file)
    return variables


def run(
    arguments: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    deadline: float,
    secrets: Sequence[str] = (),
) -> ToolResult:
    """Run to the end or for `deadline` seconds, then end its whole process group.

    The output (both streams, in order, its last 256 KiB) never shows one of `secrets`. Raises
    `NeighbourUnreachable` when the program cannot be started.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = _start(arguments, directory, environment, output)
        try:
            exit_code, timed_out = child.wait(timeout=deadline), False
        except subprocess.TimeoutExpired:
            exit_code, timed_out = _end(child), True
        except BaseException:
            _end(child)
            raise
        shown = _read_end(output, secrets)
    return ToolResult(exit_code, shown, time.monotonic() - began, timed_out)


def _start(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - the user's own tool, argv without a shell
            list(arguments),
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise NeighbourUnreachable(
            f"{arguments[0]} cannot be started: {error.strerror or error}",
            where=str(directory),
            intact="everything; the tool did not run",
            next="install it or correct `command` in backout.toml, then: backout doctor",
        ) from None


def _end(child: subprocess.Popen[bytes]) -> int:
    """End the child and what it started: first politely, then for certain."""
    for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=patience)
    return child.wait()


def _read_end(output: IO[bytes], secrets: Sequence[str]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _OUTPUT_LIMIT))
    shown = output.read().decode("utf-8", "replace")
    for secret in (form for word in secrets if word for form in (word, quote(word, safe=""))):
        shown = shown.replace(secret, "***")
    return shown


def private_file(directory: Path, name: str, content: str) -> Path:
    """Write a file that only we may read; never opened with wider rights even for a moment."""
    path = directory / name
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    return path
