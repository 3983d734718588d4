"""The test exchange as a child of a command: it ends when its owner does, however that ends.

Its standard input is a pipe that the owner holds open and never writes to.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamforge.cli.command_errors import CliError

READY_S = 20.0
ENDS_S = 3.0
PORT_FILE = "test-exchange.port"
"""In the data directory: the port that the test exchange of its last manager had."""


class _Ready(msgspec.Struct):
    url: str


class RunningExchange(msgspec.Struct, frozen=True):
    """A running test exchange. lost: raises CliError if it ends unexpectedly."""

    url: str
    lost: asyncio.Future[None]


@asynccontextmanager
async def running_exchange(arguments: Sequence[str] = (), data: Path | None = None) -> AsyncIterator[RunningExchange]:
    """A test exchange that lives as long as the block. arguments: of `streamforge exchange`.

    data: the folder of the manager that owns it; workers that outlive that one find the next one's at the same port.
    """
    async with AsyncExitStack() as stack:
        if data is None:
            process, url = await stack.enter_async_context(_started(*arguments))
        else:
            port = await asyncio.to_thread(_port_before, data / PORT_FILE)
            try:
                process, url = await stack.enter_async_context(_started(*arguments, "--port", str(port)))
            except CliError:
                if not port or _is_free(port):
                    raise
                # Another program has taken it since it was looked at.
                process, url = await stack.enter_async_context(_started(*arguments, "--port", "0"))
            (data / PORT_FILE).write_text(f"{urlsplit(url).port}\n")
        lost = asyncio.create_task(_lost(process))
        try:
            yield RunningExchange(url, lost)
        finally:
            if not lost.cancel() and not lost.cancelled():
                lost.exception()  # the one who waited was told; nobody else has to be


@asynccontextmanager
async def _started(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The process of a test exchange, and its address. Raises CliError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "streamforge.cli.exchange_child", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for its owner, who still needs it to stop in order
    )
    assert process.stdout is not None  # noqa: S101 - asked for above
    try:
        try:
            async with asyncio.timeout(READY_S):
                line = await process.stdout.readline()
            url = msgspec.json.decode(line, type=_Ready).url
        except (TimeoutError, msgspec.MsgspecError) as error:
            raise CliError(f"the test exchange did not start: {await _last_words(process)}") from error
        yield process, url
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(ENDS_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _port_before(note: Path) -> int:
    """The port that `note` has, once who had it has ended; 0, any, where that takes too long or it has none."""
    with suppress(OSError, ValueError):
        port = int(note.read_text())
        until = time.monotonic() + ENDS_S
        while time.monotonic() < until:
            if _is_free(port):
                return port
            time.sleep(0.05)
    return 0


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError):
        return False
    return True


async def _lost(process: asyncio.subprocess.Process) -> None:
    code = await process.wait()
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    raise CliError(
        f"the test exchange of this command has ended ({how}): run the command again; what was stored stays, and "
        "workflows under way go on"
    )


async def _last_words(process: asyncio.subprocess.Process) -> str:
    if process.returncode is None:
        process.kill()
    _, said = await process.communicate()
    return said.decode("utf-8", "replace").strip()[-500:] or "it said nothing"
