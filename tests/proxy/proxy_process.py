"""A proxy in a process of its own, to be killed: prints its endpoint as JSON, then waits."""

from __future__ import annotations

import json
import os
import sys
import time

from backout.postgres.proxy.server import Proxy
from backout.postgres.proxy.upstream import Upstream
from tests.proxy.test_kept_under_fire import KEEPING


def main() -> None:
    with Proxy(KEEPING, Upstream(os.environ["PROXY_DSN"], "backout/fire/9")) as proxy:
        place = proxy.endpoint
        parts = {"host": place.host, "port": place.port, "dbname": place.database}
        print(json.dumps({**parts, "user": place.user, "password": place.password}))
        sys.stdout.flush()
        time.sleep(120)


if __name__ == "__main__":
    main()
