"""A command of the user's with its way to the database led to our proxy, nothing else changed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from types import FrameType

from backout.adapters.migrator import child
from backout.errors import ConfigurationError
from backout.ports.migrator import Endpoint, ToolEnvironment, ToolResult, Verb

_SCHEME = re.compile(r"\s*[\"']?(postgres(?:ql)?(?:\+\w+)?)://", re.IGNORECASE)
_SIGNAL_BASE = 128
_STDERR = 2


def launcher(command: tuple[str, ...], named: str | None, *, quiet_stdout: bool) -> Verb:
    """Starts `command` where its connection leads to the endpoint. `named` is the variable that the
    configuration reads the connection string from; `quiet_stdout` sends its output to stderr."""

    def launch(tool: ToolEnvironment) -> ToolResult:
        assert tool.endpoint is not None, "made by redirect()"
        environment = environment_for(os.environ, tool, tool.endpoint, named)
        begun = time.monotonic()
        code = _run(command, environment, quiet_stdout)
        return ToolResult(code, "", time.monotonic() - begun)

    return launch


def environment_for(
    theirs: Mapping[str, str], tool: ToolEnvironment, endpoint: Endpoint, named: str | None
) -> dict[str, str]:
    """All that the user has, with every variable that leads to a PostgreSQL led to the endpoint instead.

    A variable that holds a URL keeps its scheme (it chooses the driver). What the adapter of the configured
    tool says beats the general rule; what it wants removed and nothing replaces is removed.
    """
    made = dict(theirs)
    for name in tool.remove:
        made.pop(name, None)
    urls = {name for name in child.connection_names(theirs) if _SCHEME.match(theirs[name])}
    for name in {*urls, "DATABASE_URL", *([named] if named else [])}:
        made[name] = _url(endpoint, theirs.get(name, ""))
    for name in ("PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR", "PGPASSFILE", "PGOPTIONS"):
        made.pop(name, None)
    if "PGOPTIONS" in theirs:
        made["PGOPTIONS"] = theirs["PGOPTIONS"]
    return made | child.libpq_variables(endpoint) | dict(tool.variables)


def _url(endpoint: Endpoint, instead_of: str) -> str:
    found = _SCHEME.match(instead_of)
    driver = found.group(1) if found else "postgresql"
    # A driver of SQLAlchemy takes what is said of TLS from PG*, and may know no `sslmode` in its URL.
    return child.url(endpoint, driver, sslmode="+" not in driver)


def _run(command: tuple[str, ...], environment: Mapping[str, str], quiet_stdout: bool) -> int:
    """Run to the end; Ctrl-C is the command's to answer. A death by signal is 128 + its number."""
    with _interrupts_go_to_the_child():
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command, argv without a shell
                list(command), env=dict(environment), stdout=_STDERR if quiet_stdout else None
            )
        except OSError as error:
            raise ConfigurationError(
                f"{command[0]} cannot be started: {error.strerror or error}",
                where=command[0],
                intact="everything; the command did not run, and the guard is dropped again",
                next="correct the command, then the same again",
            ) from None
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return code if code >= 0 else _SIGNAL_BASE - code


@contextlib.contextmanager
def _interrupts_go_to_the_child() -> Iterator[None]:
    """The terminal signals the whole group; we wait for what the command makes of it."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        return None

    try:
        before = signal.signal(signal.SIGINT, ignore)
    except ValueError:  # not in the main thread: nothing reaches us
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
