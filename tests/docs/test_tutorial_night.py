"""The destructive night's commands, typed in their order on a server that archives through pgBackRest, with
four writers and their ledger; and every line of output that the page shows was really said."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from backout.adapters.servers.local import LocalServers
from backout.postgres import servers
from backout.testing.servers import available_majors
from tests.docs.texts import DOCS
from tests.physical.world import Production, production

PAGE = (DOCS / "tutorial" / "destructive-night.md").read_text("utf-8")
SECONDS = 500

pytestmark = [
    pytest.mark.soak,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="pgbackrest: apt-get install pgbackrest"),
    pytest.mark.skipif(15 not in available_majors(), reason="needs PostgreSQL 15 (Debian's pgBackRest)"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen"),
    pytest.mark.skipif(shutil.which("psql") is None, reason="needs psql"),
]


def blocks(language: str) -> tuple[str, ...]:
    """The page's blocks in this language."""
    return tuple(re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


@dataclass(frozen=True)
class Shop:
    """Where the page is typed: a server of its own that archives to a stanza."""

    source: Production
    place: Path
    root: Path

    @property
    def config(self) -> Path:
        return self.place / "pgbackrest.conf"

    def write_config(self) -> None:
        """The configuration that the page shows, with this server's places."""
        (text,) = blocks("ini")
        layout = self.source.server.layout
        text = _one(text, "/var/lib/pgbackrest", f"{self.place}/repo")
        text = _one(text, "/var/lib/postgresql/15/main", str(layout.data))
        logs = "\n".join(f"{name}-path={self.place}/{name}" for name in ("lock", "spool"))
        text = _one(text, "[global]", f"[global]\n{logs}\nlog-level-file=off\ncompress-level=1")
        socket = f"pg1-port={layout.port}\npg1-socket-path={layout.socket_directory}\npg1-user=postgres\n"
        self.config.write_text(text + socket)
        servers.give(self.config)

    def script(self) -> str:
        """What is typed, with this server's address and pgBackRest's configuration named where it lies."""
        text = "\n".join(blocks("sh"))
        text = _one(
            text, "postgresql://shop:x@127.0.0.1:5432/shop", self.source.server.dsn("shop", "shop", "x")
        )
        text = _one(text, 'stanza = "main"', f'stanza = "main"\nconfig = "{self.config}"')
        user = servers.service_user()
        become = f"setpriv --reuid={user} --regid={user} --clear-groups " if user else ""
        assert text.count("sudo -u postgres pgbackrest") == 2
        return text.replace("sudo -u postgres pgbackrest", f"{become}pgbackrest --config={self.config}")


def _one(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"the page says {old!r} once"
    return text.replace(old, new)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    place = servers.private_directory("bknight")
    command = f"pgbackrest --config={place}/pgbackrest.conf --stanza=main archive-push %p"
    try:
        with production(15, {"archive_command": command}) as source:
            made = Shop(source, place, tmp_path)
            made.write_config()
            source.run("CREATE ROLE shop LOGIN PASSWORD 'x'", "CREATE DATABASE shop OWNER shop")
            yield made
            local = LocalServers(tmp_path / "shop" / "state")
            for scratch in (*local.running(), *local.stopped()):
                local.destroy(scratch)
    finally:
        shutil.rmtree(place)


def typed(shop: Shop) -> tuple[int, str]:
    """Exit code and everything that was said. Ends every writer, also after a command that failed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = shop.root / "said"
    with said.open("w") as out:  # a pipe would stay open as long as a writer lives
        process = subprocess.Popen(
            ("sh", "-eu", "-c", shop.script()),
            cwd=shop.root,
            env={**os.environ, "PATH": path},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = process.wait(timeout=SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return code, said.read_text()


def plain(text: str) -> str:
    """A line without what differs from run to run: figures, times, widths."""
    text = re.sub(r"\d{8}-\d{6}F\S*", "BACKUP", text)
    text = re.sub(r"\d+(?:[.,:/]\w+)*( ms| s| kB| MB)?", "N", text)
    return re.sub(r"\s+", " ", text).strip()


def test_the_night_ends_with_nothing_lost_and_every_shown_line_was_said(shop: Shop):
    code, said = typed(shop)
    assert code == 0, said
    lines = {plain(line) for line in said.splitlines()}
    shown = [plain(line) for block in blocks("text") for line in block.splitlines()]
    assert [line for line in shown if line not in lines] == [], said
    acknowledged = (shop.root / "shop" / "acknowledged").read_text().splitlines()
    assert {line.split()[2] for line in acknowledged} == {"1,", "2,", "3,", "4,"}, "each client wrote"
    assert len(acknowledged) == len(set(acknowledged))
    taken = sorted(one.name for one in (shop.place / "repo/backup/main").glob("[0-9]*-*"))
    assert len(taken) == 3, "the second backup is a new one, and the third is newer than the migration"
    assert set(re.findall(r"from (\S+) and the WAL", said)) == {taken[1]}, "the newest that is older"
    assert list((shop.root / "shop" / "postmortem").glob("*.html"))
