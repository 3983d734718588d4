"""A sink that is told to stop stores first what its loaders have sent, and says what it has left."""

from __future__ import annotations

import asyncio
import signal

import pytest

from streamforge_utils.model.messages import Event
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.life.supervisor import Supervisor
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use
from tests.doubles.faulty import always
from tests.limits import LIMIT_S
from tests.runtime.rig import TOPIC, NoParameters, Rig, until, worker

PARTITION = 0
ENDED = {"upstream_ended": True}


class Sink:
    """Reads one message at a time; from the second one on it waits for `gate`. stored: what it has kept."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.stored: list[bytes] = []
        self.gate = asyncio.Event()
        self.life: Supervisor[NoParameters] = rig.supervisor(self.definition())
        self.running = asyncio.create_task(self.life.run())

    def definition(self) -> Definition[NoParameters]:
        async def run(ctx: Context[NoParameters]) -> None:
            async for batch in ctx.input:
                for number, message in enumerate(batch):
                    if self.stored:
                        await self.gate.wait()
                    self.stored.append(message.value)
                    await ctx.input.done(batch[number : number + 1])

        return worker(run, Use.INPUT, role=Role.SINK, target="sink")

    async def ends(self) -> tuple[int, Event]:
        """Its exit code and its last word."""
        async with asyncio.timeout(LIMIT_S):
            return await self.running, (await self.rig.events())[-1]


async def records(rig: Rig, *values: bytes) -> None:
    await rig.send(TOPIC, [Message(b"k", value) for value in values])


async def begun(rig: Rig) -> Sink:
    """Three records are sent, and one is stored."""
    await records(rig, b"1", b"2", b"3")
    sink = Sink(rig)
    await until(lambda: sink.stored == [b"1"])
    return sink


async def stopped(sink: Sink, **fields: object) -> None:
    await sink.rig.command("stop", **fields)
    await until(lambda: sink.life.stop.asked)


async def test_a_stopped_sink_stores_what_lies_before_the_end_of_the_log(rig: Rig) -> None:
    """Its loader was killed: there is no marker."""
    sink = await begun(rig)
    await records(rig, b"4")
    await stopped(sink, payload=ENDED)
    sink.gate.set()
    code, last = await sink.ends()
    assert sink.stored == [b"1", b"2", b"3", b"4"]
    assert rig.bus.commits[-1] == {PARTITION: 4}
    assert (code, last.event, last.message) == (0, "interrupted", "stopped by command; all that was sent is stored")
    assert last.extra is not None
    assert last.extra["left"] == 0


@pytest.mark.parametrize("before", [False, True], ids=["marked after the stop", "marked before the stop"])
async def test_an_interrupted_marker_ends_the_input_of_a_stopped_sink(rig: Rig, before: bool) -> None:
    """Also where nobody says that the loaders have ended."""
    sink = await begun(rig)
    if before:
        await rig.close_stream(reason="interrupted")
    await stopped(sink)
    sink.gate.set()
    await until(lambda: sink.stored == [b"1", b"2", b"3"])
    if not before:
        await records(rig, b"4")
        await rig.close_stream(reason="interrupted")
    code, last = await sink.ends()
    assert sink.stored == [b"1", b"2", b"3"] + ([] if before else [b"4"])
    assert (code, last.event, last.message) == (0, "interrupted", "stopped by command; all that was sent is stored")
    assert (await rig.seen.lag(TOPIC, "wf-btcusdt-api_candles_1m-20240801-abc123-sink")).records == 1, "the marker"


async def test_a_sink_that_reaches_the_end_of_its_input_has_finished_though_it_was_told_to_stop(rig: Rig) -> None:
    sink = await begun(rig)
    await rig.close_stream()
    await stopped(sink, payload=ENDED)
    sink.gate.set()
    code, last = await sink.ends()
    assert (code, last.event, sink.stored) == (0, "finished", [b"1", b"2", b"3"])


@pytest.mark.parametrize("left", [3, 4], ids=["records", "records and a marker, which only reading it tells"])
async def test_what_is_not_stored_in_time_is_told(rig: Rig, left: int) -> None:
    rig.environment["STREAMFORGE_DRAIN_SECONDS"] = "0.05"
    sink = await begun(rig)
    await records(rig, b"4")
    if left == 4:
        await rig.close_stream(reason="interrupted")
    await stopped(sink, payload=ENDED)
    code, last = await sink.ends()
    assert sink.stored == [b"1"]
    assert (code, last.event) == (0, "interrupted")
    assert last.message == f"stopped by command; up to {left} messages are left unstored"
    assert last.extra is not None
    assert last.extra["left"] == left


async def test_the_command_may_leave_it_less_time(rig: Rig) -> None:
    rig.environment["STREAMFORGE_DRAIN_SECONDS"] = "3600"
    sink = await begun(rig)
    await stopped(sink, payload=ENDED | {"drain_seconds": 0.05})
    code, last = await sink.ends()
    assert (code, sink.stored) == (0, [b"1"])
    assert last.message == "stopped by command; up to 2 messages are left unstored"


@pytest.mark.parametrize("given", [None, "0.05", -1, True])
async def test_what_is_no_time_leaves_it_that_of_its_settings(rig: Rig, given: object) -> None:
    sink = await begun(rig)
    await stopped(sink, payload=ENDED | {"drain_seconds": given})
    await sink.rig.command("ping")
    await sink.rig.until_event("pong")
    sink.gate.set()
    await sink.ends()
    assert sink.stored == [b"1", b"2", b"3"]


async def test_what_is_left_is_not_guessed_where_the_bus_does_not_say(rig: Rig) -> None:
    rig.environment["STREAMFORGE_DRAIN_SECONDS"] = "0.05"
    sink = await begun(rig)
    rig.bus.measure = always("no answer")
    await stopped(sink, payload=ENDED)
    _, last = await sink.ends()
    assert last.message == "stopped by command; what is left unstored is not known"


async def test_a_signal_ends_the_draining(rig: Rig) -> None:
    sink = await begun(rig)
    await stopped(sink, payload=ENDED)
    sink.life.stop.by_signal(signal.SIGTERM)
    code, last = await sink.ends()
    assert sink.stored == [b"1"]
    assert (code, last.message) == (0, "stopped by command; up to 2 messages are left unstored")


async def test_a_sink_that_was_told_to_stop_before_it_could_read_drains_all_the_same(rig: Rig) -> None:
    rig.environment["STREAMFORGE_LAUNCHED_AT"] = str(rig.clock.now_ms() / 1000)
    await records(rig, b"1", b"2")
    await rig.command("stop", payload=ENDED)
    sink = Sink(rig)
    sink.gate.set()
    code, last = await sink.ends()
    assert (code, last.event, sink.stored) == (0, "interrupted", [b"1", b"2"])


@pytest.mark.e2e
async def test_a_second_stop_says_what_the_first_did_not_know(rig: Rig) -> None:
    sink = await begun(rig)
    await stopped(sink)
    sink.gate.set()
    await until(lambda: sink.stored == [b"1", b"2", b"3"])
    assert not sink.running.done()
    await rig.command("stop", payload=ENDED)
    code, last = await sink.ends()
    assert (code, last.event) == (0, "interrupted")


async def test_a_replay_that_is_stopped_leaves_the_rest_for_the_next(rig: Rig) -> None:
    rig.environment["STREAMFORGE_REPLAY"] = "true"
    sink = await begun(rig)
    await stopped(sink)
    code, last = await sink.ends()
    assert (code, last.event, last.message, sink.stored) == (0, "interrupted", "stopped by command", [b"1"])
