"""Writing no faster than it is read, and what becomes of a write that is cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamforge_utils.model.markers import EOS_KEY, decode_marker
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime import output
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.worker_definition import Use
from tests.doubles.faulty import times
from tests.doubles.manualclock import ManualClock
from tests.runtime.rig import TOPIC, NoParameters, Rig, last, until, words, worker

Ctx = Context[NoParameters]
RECORDS = [Message(b"%d" % number, b"v%d" % number) for number in range(12_000)]


async def test_records_arrive_in_order_with_their_keys(rig: Rig) -> None:
    async def run(ctx: Ctx) -> None:
        await ctx.output.write(RECORDS)
        await ctx.output.write([])

    assert await rig.live(worker(run, Use.OUTPUT)) == 0
    assert [Message(m.key, m.value) for m in (await rig.read(TOPIC))[:-1]] == RECORDS
    assert last(await rig.events())[1].records == 12_000


async def test_a_write_that_fails_for_a_moment_is_repeated(rig: Rig) -> None:
    rig.bus.send[TOPIC] = times(3, "not now")

    async def run(ctx: Ctx) -> None:
        await ctx.output.write(RECORDS[:10])

    assert await rig.live(worker(run, Use.OUTPUT)) == 0
    assert [m.value for m in (await rig.read(TOPIC))[:-1]] == [record.value for record in RECORDS[:10]]


async def test_readers_that_lag_make_the_writer_wait_and_say_so(tmp_path: Path) -> None:
    clock = ManualClock()
    rig = Rig(tmp_path, clock)
    await rig.prepare()
    rig.environment |= {
        "STREAMFORGE_DOWNSTREAM": "slow,fast",
        "STREAMFORGE_MAX_LAG": "100",
        "STREAMFORGE_HEARTBEAT_SECONDS": "1",
    }
    rig.bus.lags |= {"slow": 100, "fast": 0}

    async def run(ctx: Ctx) -> None:
        await ctx.output.write([Message(b"k", b"v")])

    running = asyncio.create_task(rig.live(worker(run, Use.OUTPUT)))
    await clock.sleeping(3)  # heartbeats, the look for the owner, and the writer
    for _ in range(5):
        clock.advance(0.2)
        await clock.sleeping(1)
    event = (await rig.until_event("loading"))[-1]
    assert (event.extra or {})["waiting"] == "readers are 100 records behind (at most 100)"
    assert (event.extra or {})["lag"] == 100
    assert await rig.read(TOPIC) == []
    await clock.sleeping(2)
    rig.bus.lags["slow"] = 99
    clock.advance(0.2)
    assert await running == 0
    assert next(m.value for m in await rig.read(TOPIC)) == b"v"
    assert last(await rig.events())[1].waiting is None
    await rig.close()


async def test_readers_that_are_gone_are_an_error_in_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "STALLED_AFTER_S", 0.5)
    monkeypatch.setattr(output, "CHECK_EVERY_S", 0.01)
    rig.environment |= {"STREAMFORGE_DOWNSTREAM": "dead", "STREAMFORGE_MAX_LAG": "100"}
    rig.bus.lags["dead"] = 5000

    async def run(ctx: Ctx) -> None:
        await ctx.output.write([Message(b"k", b"v")])

    assert await rig.live(worker(run, Use.OUTPUT)) == 1
    assert "its readers dead are 5000 records behind" in ((await rig.events())[-1].error_message or "")


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
