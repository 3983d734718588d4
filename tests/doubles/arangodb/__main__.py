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
    parser.add_argument("--certificate", type=Path, help="PEM with its key, to speak TLS")
    given = parser.parse_args()
    password = os.environ.get("ARANGO_ROOT_PASSWORD", "")
    settings = Settings(version=given.version, password=password, path=given.data)
    asyncio.run(_serve(ArangoDouble(settings, port=given.port, certificate=given.certificate)))


async def _serve(double: ArangoDouble) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    async with double:
        print(double.url, flush=True)
        await done.wait()


if __name__ == "__main__":
    main()
