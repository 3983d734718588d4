"""Of requests that wait for their turn the one of the least rank is next, whenever it came."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

from streamforge_utils.adapters.binance.binance_exchange import SNAPSHOTS_AT_ONCE
from streamforge_utils.adapters.binance.turns import Turns
from streamforge_utils.model.series import Series
from tests.adapters.binance.scripted import NOW, Handler, always, answer, bench
from tests.limits import LIMIT_S


class Stage:
    """Callers that have their turn until each is let go, in the order in which they had it."""

    def __init__(self, most: int = 1) -> None:
        self.turns = Turns(most)
        self.had: list[str] = []
        self.ranks: dict[str, tuple[int, ...]] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._holding = deque[asyncio.Event]()

    async def come(self, **ranks: tuple[int, ...]) -> None:
        for name, rank in ranks.items():
            self.ranks[name] = rank
            self.tasks[name] = asyncio.create_task(self._hold(name))
            await self.settle()

    async def _hold(self, name: str) -> None:
        async with self.turns.turn(lambda: self.ranks[name]):
            self.had.append(name)
            self._holding.append(leave := asyncio.Event())
            await leave.wait()

    async def leave(self) -> None:
        """The one that has its turn longest goes."""
        self._holding.popleft().set()
        await self.settle()

    @staticmethod
    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_the_least_rank_is_next_and_of_equals_the_one_that_came_first() -> None:
    stage = Stage()
    await stage.come(first=(0,), renew=(-1, 1), missing=(-3, 9), other=(-3, 9), older=(-3, 2), before=())
    for _ in stage.ranks:
        await stage.leave()
    assert stage.had == ["first", "before", "older", "missing", "other", "renew"]
    await stage.come(alone=(5,))
    assert stage.had[-1] == "alone"


async def test_a_rank_that_changes_counts_as_it_is_when_a_turn_is_free() -> None:
    stage = Stage()
    await stage.come(first=(), one=(-1, 1), two=(-1, 2))
    stage.ranks["two"] = (-3, 8)
    await stage.leave()
    assert stage.had == ["first", "two"]


async def test_no_more_than_so_many_have_their_turn_whoever_is_cancelled() -> None:
    stage = Stage(2)
    await stage.come(a=(), b=(), c=(1,), d=(2,), e=(3,))
    stage.tasks["d"].cancel()  # while it waits
    await stage.settle()
    stage._holding.popleft().set()
    await asyncio.sleep(0)
    assert stage.had == ["a", "b"]
    stage.tasks["c"].cancel()  # its turn has come, and it does not know yet
    await stage.settle()
    assert stage.had == ["a", "b", "e"]
    await stage.leave()
    await stage.come(f=(), g=())
    assert stage.had == ["a", "b", "e", "f"]
    await stage.leave()
    assert stage.had[-1] == "g"


async def test_snapshots_that_wait_are_asked_for_by_their_rank() -> None:
    """Some are under way already: these are not held back for a more important one."""
    async with bench(NOW) as made, asyncio.timeout(LIMIT_S):
        body, gates = b'{"lastUpdateId":1,"bids":[],"asks":[]}', [asyncio.Event() for _ in range(SNAPSHOTS_AT_ONCE)]

        def held(gate: asyncio.Event) -> Handler:
            async def handler(_: web.Request) -> web.StreamResponse:
                await gate.wait()
                return answer(body)

            return handler

        made.server.expect("depth", *map(held, gates), *[always(lambda: answer(body))] * 3)
        symbols = [f"S{n}USDT" for n in range(SNAPSHOTS_AT_ONCE + 3)]

        async def ask(place: int, symbol: str) -> bytes:
            return await made.client.snapshot(Series(symbol, "depth"), 5, rank=lambda: (-place,))

        async def until_asked(count: int) -> None:
            while len(made.server.asked) < count:  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.001)

        asking = [asyncio.create_task(ask(place, symbol)) for place, symbol in enumerate(symbols)]
        await until_asked(SNAPSHOTS_AT_ONCE)
        gates[0].set()
        await until_asked(SNAPSHOTS_AT_ONCE + 1)
        asked = [one.query["symbol"] for one in made.server.asked]
        assert sorted(asked[:SNAPSHOTS_AT_ONCE]) == symbols[:SNAPSHOTS_AT_ONCE]
        assert asked[SNAPSHOTS_AT_ONCE] == symbols[-1]  # it is answered at once: the one behind it may follow already
        for gate in gates:
            gate.set()
        assert await asyncio.gather(*asking) == [body] * len(symbols)
