"""What a worker does when another attempt of its step writes, or goes on where it ends."""

from __future__ import annotations

import asyncio
import signal

import pytest

from streamforge_utils.runtime.life.worker_definition import Use
from tests.runtime.rig import Ctx, Rig, forever, markers, until, words, worker

LOADER = (Use.OUTPUT, Use.STREAM)


@pytest.mark.parametrize("payload", [{"handover": True}, {"handover": False}, None])
async def test_where_another_attempt_goes_on_the_end_of_the_stream_is_not_marked(
    rig: Rig, payload: dict[str, bool] | None
) -> None:
    running = asyncio.create_task(rig.live(worker(forever, *LOADER)))
    await rig.until_event("started")
    await rig.command("stop", payload=payload)
    assert await running == 0
    assert words(await rig.events()) == ["started", "interrupted"]
    assert [one.reason for one in await markers(rig)] == ([] if payload == {"handover": True} else ["interrupted"])


@pytest.mark.parametrize("told", [False, True])
async def test_in_shadow_it_waits_for_the_takeover_and_before_it_marks_nothing(rig: Rig, told: bool) -> None:
    rig.environment["STREAMFORGE_SHADOW"] = "true"
    writes: list[bool] = []

    async def run(ctx: Ctx) -> None:
        assert ctx.handover.in_shadow
        await ctx.handover.wait()
        writes.append(True)
        await forever(ctx)

    running = asyncio.create_task(rig.live(worker(run, *LOADER)))
    await rig.until_event("started")
    await rig.command("takeover", attempt=2)
    await rig.command("takeover", queue_id="wf-ethusdt-api_candles_1m-20240801-abc123")
    if told:
        await rig.command("takeover", attempt=1)
        await until(lambda: bool(writes))
    await rig.command("stop")
    assert await running == 0
    assert bool(writes) is told
    assert len(await markers(rig)) == told


async def test_after_a_signal_it_goes_on_until_another_attempt_takes_over(rig: Rig) -> None:
    rig.environment["STREAMFORGE_LEAVING_SECONDS"] = "1000"
    supervisor = rig.supervisor(worker(forever, *LOADER))
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    supervisor.signalled(signal.SIGTERM)
    await rig.until_event("loading", 2)
    assert not supervisor.stop.asked
    await rig.command("stop", payload={"handover": True})
    assert await running == 0
    assert await markers(rig) == []


async def test_nobody_takes_over_and_it_ends_within_its_time(rig: Rig) -> None:
    rig.environment["STREAMFORGE_LEAVING_SECONDS"] = "0.2"
    supervisor = rig.supervisor(worker(forever, *LOADER))
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    supervisor.signalled(signal.SIGTERM)
    assert await running == 1
    assert [one.reason for one in await markers(rig)] == ["interrupted"]


@pytest.mark.parametrize("shadow", [False, True])
async def test_a_second_signal_and_one_in_shadow_end_it_in_order(rig: Rig, shadow: bool) -> None:
    rig.environment |= {"STREAMFORGE_LEAVING_SECONDS": "1000", "STREAMFORGE_SHADOW": str(shadow).lower()}
    supervisor = rig.supervisor(worker(forever, *LOADER))
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    supervisor.signalled(signal.SIGTERM)
    if not shadow:
        assert not supervisor.stop.asked
        supervisor.signalled(signal.SIGTERM)
    assert await running == 1


async def test_a_signal_after_the_command_to_stop_is_no_reason_to_go_on(rig: Rig) -> None:
    rig.environment["STREAMFORGE_LEAVING_SECONDS"] = "1000"
    supervisor = rig.supervisor(worker(forever, *LOADER))
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    supervisor.stop.by_command()
    supervisor.signalled(signal.SIGTERM)
    assert not supervisor.stop.by_command_alone
    assert await running == 0
