from __future__ import annotations

import asyncio

import pytest

from streamforge.manager.persistence.named_locks import NamedLocks
from streamforge_utils.model.errors import RetryableError


async def test_one_at_a_time_in_the_order_of_their_coming() -> None:
    locks, order = NamedLocks(), list[str]()

    async def hold(name: str, *what: str) -> None:
        async with locks.hold(*what):
            order.append(name)
            await asyncio.sleep(0)
            order.append(name)

    await asyncio.gather(hold("a", "x"), hold("b", "x", "y"), hold("c", "y", "x"), hold("d", "z"))
    assert [name for name in order if name != "d"] == ["a", "a", "b", "b", "c", "c"]
    assert order.index("d") < order.index("b"), "who holds another name waits for nobody"
    assert locks._held == {}, "nothing is remembered"


async def test_a_wait_has_a_limit_and_leaves_nothing_behind() -> None:
    locks = NamedLocks()
    async with locks.hold("x"):
        with pytest.raises(RetryableError, match="x has been counted, changed or removed by others for more than 0 s"):
            async with locks.hold("a", "x", within_s=0):
                raise AssertionError("it was held")
        assert list(locks._held) == ["x"]
    assert locks._held == {}


async def test_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    locks = NamedLocks()

    async def wait() -> None:
        async with locks.hold("x"):
            pass

    async with locks.hold("x"):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with locks.hold("x"):
        pass
    assert locks._held == {}


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_while_the_lock_is_handed_on_does_not_go_on(turns: int) -> None:
    locks = NamedLocks()

    async def hold() -> None:
        async with locks.hold("x"):
            await asyncio.Event().wait()

    async with locks.hold("x"):
        waiting = asyncio.create_task(hold())
        for _ in range(3):
            await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    for _ in range(9):
        await asyncio.sleep(0)
    assert waiting.cancelled()
    assert locks._held == {}
