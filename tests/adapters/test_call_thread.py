"""A lane runs one call at a time, also if the one who asked for it has gone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from streamforge_utils.adapters.call_thread import CALLS, Lane
from streamforge_utils.model.errors import PermanentError
from tests.limits import LIMIT_S


async def test_a_call_of_a_cancelled_task_goes_on_and_can_be_waited_for() -> None:
    lane = Lane("lane")
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        assert release.wait(LIMIT_S)
        ended.set()

    task = asyncio.create_task(lane.run(call))
    assert await asyncio.to_thread(begun.wait, LIMIT_S)
    task.cancel()
    await asyncio.wait({task})
    idle = asyncio.create_task(lane.until_idle())
    following = asyncio.create_task(lane.run(ended.is_set))
    done, _ = await asyncio.wait({idle, following}, timeout=0.02)
    assert not done
    release.set()
    async with asyncio.timeout(LIMIT_S):
        await idle
        assert ended.is_set()
        assert await following
        await lane.close(lambda: None)


async def test_an_error_reaches_who_asked_and_the_lane_goes_on() -> None:
    lane = Lane("lane")
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 / 0)
    assert await lane.run(lambda: 5) == 5
    await lane.close(lambda: None)


async def test_closing_runs_the_last_call_once_after_all_others() -> None:
    lane = Lane("lane")
    order: list[str] = []
    running = asyncio.create_task(lane.run(lambda: order.append("work")))
    await asyncio.sleep(0)
    await lane.close(lambda: order.append("last"))
    await lane.close(lambda: order.append("again"))
    await running
    assert order == ["work", "last"]
    with pytest.raises(PermanentError, match="lane is closed"):
        await lane.run(lambda: None)


async def test_so_many_calls_wait_at_most_and_the_others_follow_in_order() -> None:
    lane = Lane("lane")
    begun, release = threading.Event(), threading.Event()
    order: list[int] = []

    def first() -> None:
        begun.set()
        assert release.wait(LIMIT_S)

    blocking = asyncio.create_task(lane.run(first))
    assert await asyncio.to_thread(begun.wait, LIMIT_S)
    others = [asyncio.create_task(lane.run(lambda n=n: order.append(n))) for n in range(CALLS + 9)]  # type: ignore[misc]
    await asyncio.sleep(0)
    closing = asyncio.create_task(lane.close(lambda: None))
    await asyncio.sleep(0)
    release.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(blocking, closing)
        ended = await asyncio.gather(*others, return_exceptions=True)
    # Those beyond the limit had not been taken yet when it was closed.
    assert order == list(range(CALLS - 1))
    assert [type(error) for error in ended[CALLS - 1 :]] == [PermanentError] * 10


async def test_a_waiting_call_goes_on_when_there_is_room_again() -> None:
    lane = Lane("lane")
    order: list[int] = []
    await asyncio.gather(*(lane.run(lambda n=n: order.append(n)) for n in range(3 * CALLS)))  # type: ignore[misc]
    assert order == list(range(3 * CALLS))
    await lane.close(lambda: None)
