"""`python -m tests.doubles.arangodb`: serve until a signal; the first line printed is the address."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.server import Settings


def main() -> None:
    """Read the arguments and serve. The password of root is read from the environment, never from an argument."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.arangodb", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--data", type=Path, help="the file that keeps the data; in memory without it")
    parser.add_argument("--version", default=Settings().version, help="what it says it is: 3.11.x or 3.12.x")
    parser.add_argument("--cluster", action="store_true", help="answer as a coordinator")
    parser.add_argument("--no-authentication", action="store_true", help="let in everybody")
    parser.add_argument("--limit-bytes", type=int, default=Settings().limit_bytes, help="the licence's dataset limit")
    given = parser.parse_args()
    settings = Settings(
        version=given.version,
        cluster=given.cluster,
        authentication=not given.no_authentication,
        password=os.environ.get("ARANGO_ROOT_PASSWORD", ""),
        path=given.data,
        limit_bytes=given.limit_bytes,
    )
    asyncio.run(_serve(settings, given.port))


async def _serve(settings: Settings, port: int) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    async with ArangoDouble(settings, port=port) as double:
        print(double.url, flush=True)
        await done.wait()


if __name__ == "__main__":
    main()
