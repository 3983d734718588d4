"""Markers and commits: when a sink's input ends, and how far it commits."""

from __future__ import annotations

import asyncio

import pytest

from streamforge_utils.ports.bus import Message, TopicPartition
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.worker_definition import Definition, Role, Use
from tests.doubles.faulty import always
from tests.limits import LIMIT_S
from tests.runtime.rig import LOADER, TOPIC, NoParameters, Rig, words, worker

GROUP = "wf-btcusdt-api_candles_1m-20240801-abc123-sink"
PARTITION = TopicPartition(TOPIC, 0)


def sink(read: list[bytes]) -> Definition[NoParameters]:
    async def run(ctx: Context[NoParameters]) -> None:
        async for batch in ctx.input:
            read.extend(message.value for message in batch)
            await ctx.input.done(batch)

    return worker(run, Use.INPUT, role=Role.SINK, target="sink")


async def records(rig: Rig, *values: bytes) -> None:
    await rig.send(TOPIC, [Message(b"k", value) for value in values])


async def live(rig: Rig) -> list[bytes]:
    read: list[bytes] = []
    assert await rig.live(sink(read)) == 0
    assert words(await rig.events())[-1] == "finished"
    return read


async def test_everything_before_the_marker_is_read_and_nothing_after(rig: Rig) -> None:
    await records(rig, b"1", b"2")
    await rig.close_stream()
    await records(rig, b"of an older attempt")
    assert await live(rig) == [b"1", b"2"]
    assert rig.bus.commits == [{PARTITION: 2}]
    assert await live(rig) == [], "a restarted sink reads the marker again, and no record"
    assert (await rig.seen.lag(TOPIC, GROUP)).records == 2


async def test_the_input_waits_for_the_marker_and_says_so(rig: Rig) -> None:
    await records(rig, b"1")
    read: list[bytes] = []
    running = asyncio.create_task(rig.live(sink(read)))
    async with asyncio.timeout(LIMIT_S):
        while True:
            event = (await rig.until_event("loading"))[-1]
            if (event.extra or {}).get("waiting"):
                break
    assert (event.extra or {})["waiting"] == f"records or the end of stream of {LOADER}"
    assert (event.extra or {})["lag"] == 0
    await rig.close_stream()
    assert await running == 0
    assert read == [b"1"]


async def test_a_commit_that_fails_for_good_is_an_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamforge_utils.runtime.input.PATIENCE_S", 0.1)
    rig.bus.commit = always("the partition belongs to another member")
    await records(rig, b"1")
    await rig.close_stream()
    assert await rig.live(sink([])) == 1
    assert (await rig.events())[-1].error_message == "the partition belongs to another member"
