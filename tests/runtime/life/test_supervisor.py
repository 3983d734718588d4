"""Every way in which a worker's life can end, as those see it who read its events and its exit code."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import msgspec
import pytest

from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, RetryableError
from streamforge_utils.model.messages import EndOfStream
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.stream import EndCause, StreamEnded, StreamPart
from streamforge_utils.runtime.life import supervisor as life
from streamforge_utils.runtime.life.termination import FINISHED
from streamforge_utils.runtime.life.worker_definition import Role, Use
from streamforge_utils.runtime.telemetry import telemetry
from tests.doubles.faulty import always, times
from tests.doubles.manualclock import ManualClock
from tests.doubles.streamserver import stream_server
from tests.limits import LIMIT_S
from tests.runtime.rig import EVENTS, QUEUE, TOPIC, Ctx, Rig, last, markers, nothing, until, words, worker


async def test_work_that_returns_is_finished_with_exit_code_0(rig: Rig) -> None:
    rig.environment |= {"STREAMFORGE_ATTEMPT": "3", "TELEMETRY_PRODUCER_ID": "some__name"}

    async def run(ctx: Ctx) -> None:
        await ctx.output.write([Message(b"a", b"1"), Message(b"b", b"2")])
        ctx.progress.position, ctx.progress.share = 77, 1.0

    assert await rig.live(worker(run, Use.OUTPUT)) == 0
    events = await rig.events()
    assert words(events) == ["started", "finished"]
    word, progress = last(events)
    assert (word.status, word.finished, word.records_written, word.attempt) == ("finished", True, 2, 3)
    assert (progress.records, progress.position, progress.share, progress.exit_code) == (2, 77, 1.0, 0)
    assert [event.finished for event in events[:-1]] == [False] * (len(events) - 1)
    begun = events[0].extra or {}
    assert (begun["metrics_port"] > 0, begun["pid"] > 0, begun["version"]) == (True, True, "9.9.9")
    for message in await rig.read(EVENTS):
        assert message.key == QUEUE.encode()
        event = msgspec.json.decode(message.value)
        assert (event["queue_id"], event["producer"], event["target"]) == (QUEUE, "some__name", "dummy")
        assert (event["symbol"], event["type"], event["attempt"]) == ("BTCUSDT", "api_candles_1m", 3)
    assert await markers(rig) == [EndOfStream(producer="some__name", attempt=3, records=2, reason="finished")]
    marked = (await rig.read(TOPIC))[-1].timestamp_ms
    assert marked <= (await rig.read(EVENTS))[-1].timestamp_ms


async def test_finished_is_not_said_where_the_topic_could_not_be_closed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "TERMINAL_PATIENCE_S", 0.2)
    rig.bus.send[TOPIC] = always("the bus is away")
    assert await rig.live(worker(nothing, Use.OUTPUT)) == 1
    assert words(await rig.events()) == ["started", "error"]


async def test_a_sink_writes_no_marker(rig: Rig) -> None:
    await rig.live(worker(nothing, Use.OUTPUT, role=Role.SINK))
    assert await markers(rig) == []


@pytest.mark.parametrize(
    ("error", "code", "text", "permanent"),
    [
        (RetryableError("klines: HTTP 500, try again"), 1, "klines: HTTP 500, try again", None),
        (PermanentError("GET /?key=hush-hush: HTTP 401"), 1, "GET /?key=***: HTTP 401", True),
        (ConfigError("wrong format"), 2, "wrong format", True),
        (ZeroDivisionError("oh"), 1, "ZeroDivisionError: oh", None),
        (ExceptionGroup("several", [ExceptionGroup("inner", [PermanentError("root")])]), 1, "root", True),
        (SystemExit(0), 1, "RuntimeError: the work raised SystemExit: only the supervisor ends the process", None),
        (asyncio.CancelledError(), 1, "RuntimeError: the work cancelled itself", None),
    ],
)
async def test_work_that_raises_is_an_error(
    rig: Rig, error: BaseException, code: int, text: str, permanent: bool | None
) -> None:
    rig.environment["BINANCE_API_KEY"] = "hush-hush"

    async def run(ctx: Ctx) -> None:
        raise error

    assert await rig.live(worker(run, Use.OUTPUT, Use.EXCHANGE)) == code
    events = await rig.events()
    assert words(events) == ["started", "error"]
    word, progress = last(events)
    assert (word.error_message, word.finished, progress.exit_code) == (text, True, code)
    assert (word.extra or {}).get("permanent") is permanent
    logs = rig.logs.getvalue()
    assert ("the work failed" in logs, "hush" in logs) == (not isinstance(error, asyncio.CancelledError), False)
    assert await markers(rig) == []


async def test_a_ban_is_told_with_its_end(rig: Rig) -> None:
    async def run(ctx: Ctx) -> None:
        raise BannedError("HTTP 418", until_ms=1_722_600_099_000, retry_after=99.0)

    assert await rig.live(worker(run)) == 1
    assert last(await rig.events())[1].banned_until_ms == 1_722_600_099_000


@pytest.mark.e2e
async def test_work_that_ignores_its_cancellation_is_an_error(rig: Rig) -> None:
    rig.environment["STREAMFORGE_STOP_GRACE_SECONDS"] = "0.5"
    over = asyncio.Event()

    async def run(ctx: Ctx) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    supervisor = rig.supervisor(worker(run))
    supervisor.stop.by_command()
    try:
        async with asyncio.timeout(LIMIT_S):
            assert await supervisor.run() == 1
        assert supervisor.hard_exit
        assert words(await rig.events()) == ["started", "error"]
    finally:
        over.set()


async def test_work_that_swallows_its_cancellation_is_not_finished(rig: Rig) -> None:
    async def run(ctx: Ctx) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    supervisor = rig.supervisor(worker(run))
    supervisor.stop.by_command()
    assert await supervisor.run() == 0
    assert words(await rig.events()) == ["started", "interrupted"]


async def test_work_that_fails_while_it_is_stopped_is_an_error(rig: Rig) -> None:
    async def run(ctx: Ctx) -> None:
        supervisor.stop.by_command()
        try:
            await asyncio.Event().wait()
        finally:
            raise PermanentError("the last page is torn")

    supervisor = rig.supervisor(worker(run, Use.OUTPUT))
    assert await supervisor.run() == 1
    assert words(await rig.events()) == ["started", "error"]
    assert await markers(rig) == []


async def test_a_data_topic_that_does_not_exist_is_an_error(rig: Rig) -> None:
    rig.environment["KAFKA_TOPIC"] = "nowhere"
    assert await rig.live(worker(nothing, Use.INPUT, role=Role.SINK)) == 2
    word, _ = last(events := await rig.events())
    assert words(events) == ["started", "error"]
    assert "nowhere" in (word.error_message or "")


async def test_a_metrics_port_that_is_taken_is_a_bad_setting(rig: Rig) -> None:
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    rig.environment["STREAMFORGE_METRICS_PORT"] = str(port)
    assert await rig.live(worker(nothing)) == 2
    word, _ = last(events := await rig.events())
    assert words(events) == ["error"]
    assert str(port) in (word.error_message or "")
    taken.close()
    await taken.wait_closed()


async def test_control_and_events_topics_are_made_where_nobody_has(rig: Rig) -> None:
    rig.environment |= {"QUEUE_CONTROL_TOPIC": "c2", "QUEUE_EVENTS_TOPIC": "e2"}
    assert await rig.live(worker(nothing)) == 0
    assert [msgspec.json.decode(m.value)["event"] for m in await rig.read("e2")] == ["started", "finished"]


async def test_a_heartbeat_under_way_comes_before_the_last_word(rig: Rig) -> None:
    held = asyncio.Event()

    async def run(ctx: Ctx) -> None:
        rig.bus.held[EVENTS] = held
        await until(lambda: rig.bus.waiting > 0)
        del rig.bus.held[EVENTS]
        asyncio.get_running_loop().call_later(0.1, held.set)

    assert await rig.live(worker(run)) == 0
    said = [event.event for event in await rig.events()]
    # On a slow machine the next one may be due before the work returns.
    assert said == ["started", *["loading"] * (len(said) - 2), "finished"]
    assert len(said) > 2


async def test_nothing_is_published_after_the_terminal_event(rig: Rig) -> None:
    supervisor = rig.supervisor(worker(nothing))
    await supervisor.run()
    before = len(await rig.events())
    said = supervisor._telemetry
    assert said is not None
    said.heartbeat()
    said.pong(1.0)
    assert said._outbox.empty()
    with pytest.raises(RuntimeError, match="terminal event"):
        await said.publish_terminal(FINISHED, publisher=None, patience_s=1)
    assert len(await rig.events()) == before


async def test_a_part_that_is_not_declared_cannot_be_used(rig: Rig) -> None:
    async def run(ctx: Ctx) -> None:
        await ctx.output.write([])

    assert await rig.live(worker(run, Use.EXCHANGE)) == 1
    assert "does not say that it uses output" in ((await rig.events())[-1].error_message or "")


async def test_streams_are_those_of_the_settings_and_are_closed_at_the_end(rig: Rig) -> None:
    connections: list[StreamPart] = []

    async def run(ctx: Ctx) -> None:
        connections.append(await ctx.stream.connect(["btcusdt@trade"]))
        await server.publish("btcusdt@trade", {"t": 1})
        batch = await connections[0].read()
        await ctx.output.write([Message(b"k", payload) for payload in batch.payloads])

    async with stream_server() as server:
        rig.environment["STREAMFORGE_STREAM_URL"] = server.url
        assert await rig.live(worker(run, Use.STREAM, Use.OUTPUT)) == 0
    assert (await rig.read(TOPIC))[0].value == b'{"stream":"btcusdt@trade","data":{"t":1}}'
    with pytest.raises(StreamEnded) as ended:
        await connections[0].read()
    assert ended.value.cause is EndCause.ABORTED


async def test_heartbeats_carry_progress_by_the_clock(tmp_path: Any) -> None:
    clock = ManualClock()
    rig = Rig(tmp_path, clock)
    await rig.prepare()
    rig.environment |= {"STREAMFORGE_HEARTBEAT_SECONDS": "2", "STREAMFORGE_DOWNSTREAM": "readers"}
    rig.bus.lags["readers"] = 42
    go_on = asyncio.Event()

    async def run(ctx: Ctx) -> None:
        await ctx.output.write([Message(b"k", b"v")] * 300)
        ctx.progress.position, ctx.progress.share = 1_722_470_400_000, 0.25
        ctx.progress.wait("exchange", "weight limit", clock.now_ms() + 7000)
        await go_on.wait()

    running = asyncio.create_task(rig.live(worker(run, Use.OUTPUT)))
    await rig.until_event("started")
    while not any(m.key == b"k" for m in await rig.read(TOPIC)):
        pass
    await clock.sleeping(1)
    assert not any(event.event == "loading" for event in await rig.events())
    clock.advance(2.0)
    first = (await rig.until_event("loading"))[-1]
    await clock.sleeping(1)
    clock.advance(2.0)
    second = (await rig.until_event("loading", 2))[-1]
    go_on.set()
    assert await running == 0
    assert (first.event, first.status, first.records_written) == ("loading", "loading", 300)
    assert second.timestamp - first.timestamp == pytest.approx(2.0)
    assert first.extra == {
        "records": 300,
        "position": 1_722_470_400_000,
        "share": 0.25,
        "rate": 150.0,
        "lag": 42,
        "waiting": "weight limit",
        "waiting_until": 1_722_600_007.0,
    }
    assert (second.extra or {})["rate"] == 75.0
    await rig.close()


# A bus that is away, slow or gone


async def test_a_bus_that_is_away_for_a_moment_costs_nothing(rig: Rig) -> None:
    rig.bus.send[EVENTS] = times(3, "not now")
    rig.bus.connect = times(2, "not yet")
    rig.bus.poll = times(2, "not now")
    await rig.command("ping", sent_at=1.0)

    async def run(ctx: Ctx) -> None:
        await rig.until_event("pong")

    assert await rig.live(worker(run)) == 0
    assert words(await rig.events()) == ["started", "finished"]


async def test_a_bus_that_never_answers_ends_the_worker_with_exit_code_1(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "PATIENCE_S", 0.1)
    monkeypatch.setattr(life, "TERMINAL_PATIENCE_S", 0.3)
    rig.bus.send[EVENTS] = always("the bus is away")
    assert await rig.live(worker(nothing)) == 1
    assert await rig.events() == []
    assert "the terminal event could not be published" in rig.logs.getvalue()


async def test_a_bus_that_goes_away_ends_the_work(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PATIENCE_S", 0.1)
    monkeypatch.setattr(life, "TERMINAL_PATIENCE_S", 0.3)
    cancelled = asyncio.Event()

    async def run(ctx: Ctx) -> None:
        rig.bus.send[EVENTS] = always("the bus is gone")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert await rig.live(worker(run)) == 1
    assert cancelled.is_set()
    assert words(await rig.events()) == ["started"]


async def test_a_send_that_never_returns_does_not_keep_the_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "TERMINAL_PATIENCE_S", 0.3)

    async def run(ctx: Ctx) -> None:
        rig.bus.held[EVENTS] = asyncio.Event()
        await until(lambda: rig.bus.waiting > 0)

    assert await rig.live(worker(run)) == 1


@pytest.mark.parametrize(("hurried", "code", "told"), [(False, 0, ["started", "interrupted"]), (True, 1, ["started"])])
async def test_a_worker_that_a_command_stopped_waits_for_a_slow_bus_until_a_signal_comes(
    rig: Rig, hurried: bool, code: int, told: list[str]
) -> None:
    rig.environment["STREAMFORGE_STOP_GRACE_SECONDS"] = "0.04"
    supervisor = rig.supervisor(worker(lambda ctx: asyncio.Event().wait()))
    running = asyncio.create_task(supervisor.run())
    await rig.until_event("started")
    held = rig.bus.held[EVENTS] = asyncio.Event()
    supervisor.stop.by_command()
    await until(lambda: rig.bus.waiting > 0)
    await asyncio.sleep(0.1)  # longer than the grace
    if hurried:
        supervisor.stop.by_signal(signal.SIGTERM)
    else:
        held.set()
    async with asyncio.timeout(LIMIT_S):
        assert await running == code
    held.set()
    assert words(await rig.events()) == told


async def test_commands_that_can_no_longer_be_read_end_the_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def poll() -> Exception | None:
        return PermanentError("the topic queue-control was deleted")

    async def run(ctx: Ctx) -> None:
        rig.bus.poll = poll
        await rig.command("ping")
        await asyncio.Event().wait()

    assert await rig.live(worker(run)) == 1
    word, _ = last(events := await rig.events())
    assert words(events) == ["started", "error"]
    assert word.error_message == "the topic queue-control was deleted"
