"""The HTTP API of the demo's application: health, and one profile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg

from backout.demo.world.entering import enter

_PROFILE = "SELECT user_id, snapshots, total_power FROM profile_summaries WHERE user_id = %s"


def serve_api(port: int, url: str, counts: Callable[[], Mapping[str, int]]) -> ThreadingHTTPServer:
    """Serve on 127.0.0.1 in a thread; `shutdown` of what is returned ends it."""

    class Handler(BaseHTTPRequestHandler):
        """Every request asks the database, so that health means something."""

        def do_GET(self) -> None:
            try:
                self._answer(*_route(self.path, url, counts))
            except psycopg.Error as error:
                self._answer(503, {"status": "down", "sqlstate": error.sqlstate or ""})

        def _answer(self, status: int, document: Mapping[str, object]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not logged; there are hundreds."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), name="api", daemon=True).start()
    return server


def _route(path: str, url: str, counts: Callable[[], Mapping[str, int]]) -> tuple[int, Mapping[str, object]]:
    match path.strip("/").split("/"):
        case ["api", "health"]:
            _ask(url, "SELECT 1", ())
            return 200, {"status": "ok", **counts()}
        case ["api", "profile", number] if number.isdigit():
            row = _ask(url, _PROFILE, (int(number),))
            if row is None:
                return 404, {"status": "no such profile"}
            return 200, {"user_id": row[0], "snapshots": row[1], "total_power": row[2]}
        case _:
            return 404, {"status": "no such page"}


def _ask(url: str, text: str, values: tuple[object, ...]) -> tuple[object, ...] | None:
    with enter(url, "heroes-api") as session:
        return session.execute(text.encode(), values).fetchone()
