"""The test exchange as a child of a command: it ends when its owner does, however that ends.

Its standard input is a pipe that the owner holds open and never writes to.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from streamforge.cli.command_errors import CliError

READY_S = 20.0
ENDS_S = 3.0


class _Ready(msgspec.Struct):
    url: str


class RunningExchange(msgspec.Struct, frozen=True):
    """A test exchange that runs. lost: raises CliError once it has ended although nobody ended it."""

    url: str
    lost: asyncio.Future[None]


@asynccontextmanager
async def running_exchange(arguments: Sequence[str] = ()) -> AsyncIterator[RunningExchange]:
    """A test exchange that lives as long as the block. arguments: of `streamforge exchange`."""
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
        lost = asyncio.create_task(_lost(process))
        try:
            yield RunningExchange(url, lost)
        finally:
            if not lost.cancel() and not lost.cancelled():
                lost.exception()  # the one who waited was told; nobody else has to be
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
