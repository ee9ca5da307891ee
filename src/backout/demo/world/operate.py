"""What the demo's team types: `etl pause|continue|state CONTROL`, `deploy VERSION CONTROL`.

Apart from the programs that it speaks to, so that it starts without a database driver, in a moment.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from backout.demo.world import control

VERSIONS = ("v41", "v42", "v43", "v44")
_PATIENCE_SECONDS = 20.0


def deploy(version: str, directory: Path) -> int:
    """Switch the version; 0 when every client runs it, the write in hand of the old one finished first."""
    asked = time.time()
    control.write(directory / "deployed.json", {"version": version})

    def switched() -> bool:
        said = control.read(directory / "application.json")
        return bool(said.get("runs") == [version] and float(said["at"]) > asked)

    if not control.wait_until(switched, _PATIENCE_SECONDS):
        print(f"application: not every client runs {version}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"application: every client runs {version}")  # noqa: T201
    return 0


def command_etl(word: str, directory: Path) -> int:
    """Tell the ETL to pause or to continue, and wait until it says that it does; 1 when it does not."""
    asked = time.time()
    path = directory / "etl-wanted.json"
    paused = word == "pause"
    control.write(path, {**control.read(path), "state": "paused" if paused else "running"})

    def obeyed() -> bool:
        said = control.read(directory / "etl.json")
        return bool(said) and float(said["at"]) > asked and (said["state"] == "paused") is paused

    if not control.wait_until(obeyed, _PATIENCE_SECONDS):
        print(f"etl: no worker answers, wanted is {word}", file=sys.stderr)  # noqa: T201
        return 1
    return etl_state(directory)


def etl_state(directory: Path) -> int:
    """Print what the ETL last said."""
    said = control.read(directory / "etl.json")
    if not said or time.time() - float(said["at"]) > _PATIENCE_SECONDS:
        print("etl: no worker answers", file=sys.stderr)  # noqa: T201
        return 1
    errors = ", ".join(f"{count} x {name}" for name, count in said["errors"].items()) or "none"
    print(f"{said['state']}, {said['processed']} processed, errors: {errors}")  # noqa: T201
    return 0


def main(arguments: list[str]) -> int:
    """The command line of the scripts `./etl` and `./deploy` of the demo's project."""
    match arguments:
        case ["etl", "pause" | "continue" as word, directory]:
            return command_etl(word, Path(directory))
        case ["etl", "state", directory]:
            return etl_state(Path(directory))
        case ["deploy", version, directory] if version in VERSIONS:
            return deploy(version, Path(directory))
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
