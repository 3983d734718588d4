"""From a ping to its pong."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from benchmarks.common.bench import Bench
from benchmarks.common.exchange import SYMBOL
from benchmarks.common.measuring import Line, Section, Size, percentile
from benchmarks.common.processes import ended, exchange, manager, worker
from benchmarks.common.workflow import EMBEDDED, LOADER, SINK, TYPE, Workflow, minutes
from streamforge import wiring
from streamforge_utils.model.messages import Command, Event, decode_event, encode_command
from streamforge_utils.ports.bus import Consumer, Message, Producer, Start
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.settings import CONTROL_TOPIC, EVENTS_TOPIC

PINGS = {Size.FULL: 200, Size.QUICK: 50, Size.TINY: 3}
BUSY_CANDLES = {Size.FULL: 2_000_000, Size.QUICK: 500_000, Size.TINY: 50_000}
PAUSE_S = 0.02
"""Mean of the pause between two pings, which is random so that nothing keeps step with them."""
LIMIT_S = 30.0


def run(bench: Bench) -> Section:
    """Measure it."""
    count = PINGS[bench.size]
    with exchange() as url:
        rest = bench.undisturbed(partial(pinged, bench, None))
        bench.say(f"at rest: {told(rest)}")
        busy = bench.undisturbed(partial(pinged, bench, url))
        bench.say(f"at full speed: {told(busy)}")
        asked = bench.undisturbed(partial(_through_the_api, bench, url, count))
        bench.say(f"through the API: {told(asked)}")
    lines = {
        "a sink at rest, on the bus": rest,
        "a sink at full speed, on the bus": busy,
        "loader and sink at rest, through the manager's API": asked,
    }
    return Section(
        title="Ping to pong",
        how=(
            f"Up to {count} pings, a random pause between two. On the bus: from the moment the command is given to the "
            "producer until the pong was read, by a process that is no worker. At full speed: a loader and the sink "
            "bring candles from the test exchange to the store meanwhile. Through the API: `POST /queues/ID/ping` of a "
            "real manager, from the request to the answer that holds the pongs of both workers."
        ),
        lines=tuple(
            Line(what=f"ping to pong, p50: {what}", measured=1000 * percentile(seconds, 50), unit="ms", below=10)
            for what, seconds in lines.items()
        ),
        details=tuple(f"{what[0].upper()}{what[1:]}: {told(seconds)}." for what, seconds in lines.items()),
    )


def told(seconds: list[float]) -> str:
    """The numbers, for a person."""
    p50, p99, most = (1000 * percentile(seconds, percent) for percent in (50, 99, 100))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, at most {most:.1f} ms, of {len(seconds)}"


def pinged(bench: Bench, url: str | None, kafka: KafkaSettings = EMBEDDED, code: str = "bench0") -> list[float]:
    """Seconds from each ping to its pong, on the bus. url: of the exchange, for a sink that has work meanwhile."""
    with bench.folder() as folder:
        workflow = Workflow(folder, BUSY_CANDLES[bench.size], code, kafka=kafka)
        return asyncio.run(_on_the_bus(workflow, PINGS[bench.size], url))


async def _on_the_bus(workflow: Workflow, count: int, url: str | None) -> list[float]:
    """Ping a sink that waits for records, or (with the URL of an exchange) one that stores them as fast as it can."""
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus)
    events = await bus.consumer(EVENTS_TOPIC, start=Start.LATEST)
    producer = await bus.producer()
    try:
        with ended(worker(SINK, workflow.settings())) as sink:
            await _heard(events, lambda event: event.event == "started")
            if url is None:
                return await _ping(workflow, producer, events, count, lambda: True)
            with ended(worker(LOADER, workflow.settings(STREAMFORGE_EXCHANGE_URL=url))) as loader:
                records = await bus.consumer(workflow.topic)
                while not await records.poll(1, 1.0):
                    if loader.poll() is not None:
                        raise RuntimeError(f"the loader ended with exit code {loader.returncode}")
                await records.close()
                return await _ping(
                    workflow, producer, events, count, lambda: loader.poll() is None and sink.poll() is None
                )
    finally:
        await bus.close()


async def _ping(
    workflow: Workflow, producer: Producer, events: Consumer, count: int, goes_on: Callable[[], bool]
) -> list[float]:
    pauses = random.Random(1)
    seconds: list[float] = []
    while len(seconds) < count and goes_on():
        await asyncio.sleep(pauses.uniform(0, 2 * PAUSE_S))
        sent_at = time.time()
        command = Command(command="ping", queue_id=workflow.queue_id, telemetry_id=workflow.sink_id, sent_at=sent_at)
        began = time.perf_counter()
        message = Message(workflow.queue_id.encode(), encode_command(command))
        await producer.send(CONTROL_TOPIC, [message], fleeting=True)
        await _heard(events, partial(_answers, sent_at))
        seconds.append(time.perf_counter() - began)
    if not seconds:
        raise RuntimeError("the work was over before the first ping: it needs more candles")
    return seconds


def _answers(sent_at: float, event: Event) -> bool:
    return event.event == "pong" and event.ping_ts == sent_at


async def _heard(events: Consumer, wanted: Callable[[Event], bool]) -> None:
    """Return once a wanted event was read. Raises TimeoutError."""
    async with asyncio.timeout(LIMIT_S):
        while not any(wanted(decode_event(message.value)) for message in await events.poll(100, 1.0)):
            pass


def _through_the_api(bench: Bench, url: str, count: int) -> list[float]:
    """Ping the workers of a workflow that waits for request weight."""
    pauses = random.Random(1)
    weight = {"STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "20"}
    with bench.folder() as folder, manager(folder / "data", url, **weight) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=LIMIT_S)
        started = _call(
            connection, "/queues/start", {"symbol": SYMBOL, "type": TYPE, "time_range": str(minutes(1_000_000))}
        )
        path = f"/queues/{started['queue_id']}"
        give_up = time.monotonic() + LIMIT_S
        while not _all_answer(_call(connection, f"{path}/ping?timeout_s=1", {})):
            if time.monotonic() > give_up:
                raise RuntimeError("the workers did not start in time")
            time.sleep(0.1)
        seconds = []
        for _ in range(count):
            time.sleep(pauses.uniform(0, 2 * PAUSE_S))
            began = time.perf_counter()
            answer = _call(connection, f"{path}/ping", {})
            seconds.append(time.perf_counter() - began)
            if not _all_answer(answer):
                raise RuntimeError(f"a worker did not answer: {answer}")
        _call(connection, f"{path}/stop", {})
        while _call(connection, path)["status"] not in ("finished", "interrupted", "error"):
            if time.monotonic() > give_up + 2 * LIMIT_S:
                raise RuntimeError("the workflow did not stop in time")
            time.sleep(0.1)
        connection.close()
    return seconds


def _all_answer(answer: dict[str, object]) -> bool:
    answers = answer["answers"]
    assert isinstance(answers, dict)
    return len(answers) == 2 and None not in answers.values()


def _call(
    connection: http.client.HTTPConnection, path: str, body: dict[str, object] | None = None
) -> dict[str, object]:
    """GET, or POST with a body. Raises RuntimeError for another answer than a success."""
    if body is None:
        connection.request("GET", path)
    else:
        text = json.dumps(body) if body else ""
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request("POST", path, body=text, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    if not 200 <= answer.status < 300:
        raise RuntimeError(f"{path}: HTTP {answer.status} {content[:500]!r}")
    found: dict[str, object] = json.loads(content)
    return found
