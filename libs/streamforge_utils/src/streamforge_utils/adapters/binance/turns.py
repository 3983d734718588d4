"""Whose request is sent next, of those that wait for the same share of weight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamforge_utils.ports.exchange import Rank


class Turns:
    """So many at once; of those that wait the one of the least rank is next, of equals the one that came first."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[Rank, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, rank: Rank) -> AsyncIterator[None]:
        """In the block it is the caller's turn."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(rank)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, rank: Rank) -> None:
        one = rank, asyncio.get_running_loop().create_future()
        self._waiting.append(one)
        try:
            await one[1]
        except asyncio.CancelledError:
            if one in self._waiting:
                self._waiting.remove(one)
            else:  # its turn had come
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        waiting = [one for one in self._waiting if not one[1].done()]  # others are being cancelled
        if not waiting:
            self._free += 1
            return
        following = min(waiting, key=lambda one: one[0]())
        self._waiting.remove(following)
        following[1].set_result(None)
