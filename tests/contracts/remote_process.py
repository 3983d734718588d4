"""Another process that uses an adapter: `python -m MODULE FACTORY ARGUMENT ACTION ...`, where MODULE calls `serve`.

FACTORY is `module:function`; the function makes the adapter from ARGUMENT. The process prints one line per thing done.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.limits import LIMIT_S
from tests.places import ROOT


@asynccontextmanager
async def started(module: str, factory: tuple[str, str], *action: str) -> AsyncIterator[Process]:
    """Start the process; it is killed at the end if it still runs. Its lines are on `stdout`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *factory, *action, cwd=ROOT, stdout=PIPE, limit=1 << 22, env=os.environ
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process) -> str:
    """The next line of a remote process, without its end; empty at the end of its output."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def ended(process: Process) -> int:
    """The exit code, once the process has ended by itself."""
    async with asyncio.timeout(LIMIT_S):
        return await process.wait()


def serve(actions: Mapping[str, Callable[..., Coroutine[Any, Any, None]]]) -> None:
    """Be that process. actions: by name, what is done with the adapter and the rest of the arguments."""
    asyncio.run(_serve(actions, *sys.argv[1:]))


async def _serve(
    actions: Mapping[str, Callable[..., Coroutine[Any, Any, None]]],
    factory: str,
    argument: str,
    action: str,
    *rest: str,
) -> None:
    module, _, function = factory.partition(":")
    adapter = getattr(importlib.import_module(module), function)(argument)
    try:
        await actions[action](adapter, *rest)
    finally:
        await adapter.close()
