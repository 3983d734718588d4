"""Documents cut into batches, each small enough for one request, and batches stored side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec

from streamforge_utils.adapters.arango import document_bodies
from streamforge_utils.ports.store import Answer, Document

AT_ONCE: Final = 3
"""Requests of one call under way: a server has several threads, and one is busy while the next arrives."""

Storing = Callable[[], Awaitable[list[Answer]]]


class Batch(msgspec.Struct, frozen=True):
    """Documents of different keys, small enough for one request. body: their array, if it is made already."""

    collection: str
    documents: Sequence[Document]
    body: bytes = b""

    def array(self) -> bytes:
        """The documents as one JSON array."""
        return self.body or document_bodies.array(
            [document_bodies.text(d.key, d.version, d.body) for d in self.documents]
        )

    @property
    def all(self) -> list[int]:
        """Every position."""
        return list(range(len(self.documents)))

    def only(self, positions: Sequence[int]) -> Batch:
        """Some of them."""
        if len(positions) == len(self.documents):
            return self
        return Batch(self.collection, [self.documents[n] for n in positions])


async def side_by_side(storing: Sequence[Storing]) -> list[list[Answer]]:
    """What each gives, a few of them under way at a time; the first failure ends them all."""
    if len(storing) == 1:
        return [await storing[0]()]
    found: list[list[Answer]] = [[]] * len(storing)
    left = iter(enumerate(storing))

    async def some() -> None:
        for at, one in left:
            found[at] = await one()

    tasks: list[asyncio.Task[None]] = []
    try:
        for _ in range(min(AT_ONCE, len(storing))):
            tasks.append(asyncio.create_task(some(), name="store documents"))
            await asyncio.sleep(0)  # what the one before has made goes out before the next is made
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def waves(documents: Sequence[Document], left_out: Iterable[int] = ()) -> list[list[int]]:
    """Positions to be stored, one wave after the other: a key that occurs twice is in two of them, in order."""
    out = set(left_out)
    found: list[list[int]] = []
    seen: dict[str, int] = {}
    for position, document in enumerate(documents):
        if position in out:
            continue
        wave = seen.get(document.key, 0)
        seen[document.key] = wave + 1
        if wave == len(found):
            found.append([])
        found[wave].append(position)
    return found
