"""Another process that uses a bus: `python -m tests.contracts.bus_remote FACTORY ARGUMENT ACTION ...`.

FACTORY is `module:function`; the function makes the bus from ARGUMENT. The process prints one line per thing done.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from streamforge_utils.ports.bus import Bus, Message, TopicPartition
from tests.limits import LIMIT_S
from tests.places import ROOT


@asynccontextmanager
async def remote(factory: tuple[str, str], *action: str) -> AsyncIterator[Process]:
    """Start the process; it is killed at the end if it still runs. Its lines are on `stdout`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, *factory, *action, cwd=ROOT, stdout=PIPE, limit=1 << 22, env=os.environ
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process) -> str:
    """The next line of a remote process, without its end."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def _send(bus: Bus, topic: str, label: str, batches: str, size: str) -> None:
    """Send `batches` batches of `size` messages, saying after each how many are confirmed."""
    producer = await bus.producer()
    for batch in range(int(batches)):
        first = batch * int(size)
        await producer.send(
            topic, [Message(label.encode(), b"%d" % number) for number in range(first, first + int(size))]
        )
        print(first + int(size), flush=True)


async def _read(bus: Bus, topic: str, count: str) -> None:
    """Say `ready`, then the values of `count` messages."""
    consumer = await bus.consumer([topic])
    print("ready", flush=True)
    left = int(count)
    while left > 0:
        for received in await consumer.poll(left, 1.0):
            print(received.value.decode(), flush=True)
            left -= 1


async def _member(bus: Bus, topic: str, group: str, commits: str) -> None:
    """Be a member of a group for ever: say `ready`, then partition and offset of everything that was read."""
    consumer = await bus.consumer([topic], group=group)
    print("ready", flush=True)
    while True:
        for received in await consumer.poll(1, 1.0):
            if commits == "commits":
                await consumer.commit({TopicPartition(topic, received.partition): received.offset + 1})
            print(received.partition, received.offset, flush=True)


async def _main(factory: str, argument: str, action: str, *arguments: str) -> None:
    module, _, function = factory.partition(":")
    make: Callable[[str], Bus] = getattr(importlib.import_module(module), function)
    bus = make(argument)
    try:
        if action == "send":
            await _send(bus, *arguments)
        elif action == "read":
            await _read(bus, *arguments)
        else:
            await _member(bus, *arguments)
    finally:
        await bus.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
