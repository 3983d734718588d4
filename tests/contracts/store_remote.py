"""What another process does with a store (`remote_process`)."""

from __future__ import annotations

import random
from functools import partial

from streamforge_utils.model.errors import ConflictError
from streamforge_utils.ports.store import Document, StateStore, Store
from tests.contracts import remote_process
from tests.contracts.remote_process import ended, line

__all__ = ["ended", "increment", "line", "remote", "versioned"]

remote = partial(remote_process.started, __name__)


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


if __name__ == "__main__":
    remote_process.serve({"fill": _fill, "versions": _versions, "increment": _increment, "drops": _drops})
