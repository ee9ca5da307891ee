"""Relays in a process of their own: each port on an address leads to the same port on 127.0.0.1.

`python -m tests.cutover.relay ADDRESS PORT...` until it is killed; says `ready` when all listen.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

Relay = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def relay(port: int) -> Relay:
    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pump(reader, back), pump(there, writer))

    return both


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def serve(address: str, ports: list[int]) -> None:
    servers = [await asyncio.start_server(relay(port), address, port) for port in ports]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], [int(port) for port in sys.argv[2:]]))
