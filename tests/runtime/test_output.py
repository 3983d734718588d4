"""Writing to a topic, and what becomes of a write that is cut off."""

from __future__ import annotations

import asyncio

import pytest

from streamforge_utils.model.markers import EOS_KEY, decode_marker
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime import output
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.worker_definition import Use
from tests.doubles.faulty import always, times
from tests.runtime.rig import TOPIC, NoParameters, Rig, last, until, words, worker

Ctx = Context[NoParameters]
RECORDS = [Message(b"%d" % number, b"v%d" % number) for number in range(12_000)]


async def test_records_arrive_in_order_with_their_keys_though_a_write_fails_for_a_moment(rig: Rig) -> None:
    rig.bus.send[TOPIC] = times(3, "not now")

    async def run(ctx: Ctx) -> None:
        await ctx.output.write(RECORDS)
        await ctx.output.write([])

    assert await rig.live(worker(run, Use.OUTPUT)) == 0
    assert [Message(m.key, m.value) for m in (await rig.read(TOPIC))[:-1]] == RECORDS
    assert last(await rig.events())[1].records == 12_000


async def test_a_topic_that_stays_full_is_an_error_in_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PATIENCE_S", 0.5)
    rig.bus.send[TOPIC] = always("the topic is full")

    async def run(ctx: Ctx) -> None:
        await ctx.output.write([Message(b"k", b"v")])

    assert await rig.live(worker(run, Use.OUTPUT)) == 1
    word, progress = last(await rig.events())
    assert ((await rig.events())[-1].error_message, word.event, progress.waiting) == (
        "the topic is full",
        "error",
        None,
    )


async def test_the_lag_is_that_of_the_slowest_reader(rig: Rig) -> None:
    rig.environment |= {"STREAMFORGE_DOWNSTREAM": "slow,fast"}
    rig.bus.lags |= {"slow": 100, "fast": 0}

    async def run(ctx: Ctx) -> None:
        await ctx.output.measure()

    assert await rig.live(worker(run, Use.OUTPUT)) == 0
    assert last(await rig.events())[1].lag == 100


async def test_a_write_under_way_is_counted_before_the_interrupted_marker(rig: Rig) -> None:
    rig.bus.held[TOPIC] = asyncio.Event()
    tasks: list[asyncio.Task[object] | None] = []

    async def run(ctx: Ctx) -> None:
        tasks.append(asyncio.current_task())
        await ctx.output.write([Message(b"k", b"v")])
        raise AssertionError("not reached: it was stopped")

    supervisor = rig.supervisor(worker(run, Use.OUTPUT))
    running = asyncio.create_task(supervisor.run())
    await until(lambda: rig.bus.waiting == 1)
    supervisor.stop.by_command()
    (task,) = tasks
    assert task is not None
    await until(lambda: task.cancelling() > 0)
    await asyncio.sleep(0)  # one turn of the loop, in which the write hears of it
    assert rig.bus.waiting == 1
    rig.bus.held.pop(TOPIC).set()
    assert await running == 0
    found = await rig.read(TOPIC)
    assert [m.key for m in found] == [b"k", EOS_KEY]
    assert decode_marker(found[1].value).records == 1
    assert words(await rig.events()) == ["started", "interrupted"]
