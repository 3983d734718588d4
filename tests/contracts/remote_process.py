"""Another process that uses a bus or a store: `python -m tests.contracts.remote_process FACTORY ARGUMENT ACTION ...`.

FACTORY is `module:function`; the function makes the adapter from ARGUMENT. The process prints one line per thing done.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.bus import Bus, Message
from streamforge_utils.ports.store import Document, StateStore, Store
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
    """The next line of a remote process, without its end; empty at the end of its output."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def ended(process: Process) -> int:
    """The exit code, once the process has ended by itself."""
    async with asyncio.timeout(LIMIT_S):
        return await process.wait()


def versioned(key: str, version: int) -> Document:
    """A document whose content follows from its version."""
    return Document(key, version, b'{"content": %d}' % version)


async def increment(states: StateStore, kind: str, id: str, times: int) -> None:
    """Add one to a number, `times` times, by compare-and-set."""
    for _ in range(times):
        while True:
            state = await states.get(kind, id)
            number = 0 if state is None else int(state.body)
            try:
                await states.put(kind, id, b"%d" % (number + 1), expected=state.revision if state else None)
            except ConflictError:
                continue
            break


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
    consumer = await bus.consumer(topic)
    print("ready", flush=True)
    left = int(count)
    while left > 0:
        for received in await consumer.poll(left, 1.0):
            print(received.value.decode(), flush=True)
            left -= 1


async def _member(bus: Bus, topic: str, group: str, commits: str) -> None:
    """Be a member of a group for ever: say `ready`, then partition and offset of everything that was read."""
    consumer = await bus.consumer(topic, group=group)
    print("ready", flush=True)
    while True:
        for received in await consumer.poll(1, 1.0):
            if commits == "commits":
                await consumer.commit({received.partition: received.offset + 1})
            print(received.partition, received.offset, flush=True)


async def _fill(store: Store, collection: str, batches: str, size: str) -> None:
    """Store ascending keys in batches, saying after each how many are stored."""
    for batch in range(int(batches)):
        first = batch * int(size)
        answers = await store.upsert(
            collection, [versioned(f"k{number:09d}", 1) for number in range(first, first + int(size))]
        )
        assert len(answers) == int(size)
        print(first + int(size), flush=True)


async def _versions(store: Store, collection: str, keys: str, versions: str, remainder: str) -> None:
    """Store every other version (those with that remainder) of every key, in a random order; say `ready` first."""
    documents = [
        versioned(f"k{key}", version)
        for key in range(int(keys))
        for version in range(1, int(versions) + 1)
        if version % 2 == int(remainder)
    ]
    random.Random(int(remainder)).shuffle(documents)
    await store.count(collection)
    print("ready", flush=True)
    for start in range(0, len(documents), 20):
        await store.upsert(collection, documents[start : start + 20])


async def _increment(store: Store, kind: str, id: str, times: str) -> None:
    await store.get(kind, id)
    print("ready", flush=True)
    await increment(store, kind, id, int(times))


async def _drops(store: Store, collection: str, rounds: str) -> None:
    """Store a document and drop the collection, again and again."""
    print("ready", flush=True)
    for number in range(int(rounds)):
        await store.upsert(collection, [versioned(f"theirs{number}", 1)])
        await store.drop(collection)


_ACTIONS: Mapping[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "send": _send,
    "read": _read,
    "member": _member,
    "fill": _fill,
    "versions": _versions,
    "increment": _increment,
    "drops": _drops,
}
"""By name, what is done with a bus or a store and the rest of the arguments."""


async def _serve(factory: str, argument: str, action: str, *rest: str) -> None:
    module, _, function = factory.partition(":")
    adapter = getattr(importlib.import_module(module), function)(argument)
    try:
        await _ACTIONS[action](adapter, *rest)
    finally:
        await adapter.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
