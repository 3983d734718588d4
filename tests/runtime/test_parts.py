"""Dead letters, retries, tallies, metrics and logs, each by itself."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request

import pytest

from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.bus import Message, Received, TopicSpec
from streamforge_utils.ports.retry import LONGEST_PAUSE_S, retry
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.logs import Redactor, make_log
from streamforge_utils.runtime.metrics import Metrics, MetricsServer
from streamforge_utils.runtime.progress_tracker import ProgressTracker
from streamforge_utils.runtime.worker_definition import Role, Use
from tests.doubles.clock import FakeClock
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S
from tests.runtime.rig import DLQ, TOPIC, NoParameters, Rig, headers, last, worker

# Dead letters


async def dead_letter(rig: Rig, received: Received | None = None) -> Received:
    async def run(ctx: Context[NoParameters]) -> None:
        async for batch in ctx.input:
            for message in batch:
                await ctx.dead_letters.send(received or message, "price is no number")
            await ctx.input.done(batch)

    await rig.send(TOPIC, [Message(b"\x00key", b"\xff\xfebytes", (("trace", b"1"),))])
    await rig.close_stream()
    assert await rig.live(worker(run, Use.INPUT, role=Role.SINK, target="sink")) == 0
    return (await rig.read(DLQ))[0]


async def test_a_dead_letter_keeps_the_bytes_and_says_why_and_whence(rig: Rig) -> None:
    rig.environment["STREAMFORGE_ATTEMPT"] = "4"
    letter = await dead_letter(rig)
    assert (letter.key, letter.value) == (b"\x00key", b"\xff\xfebytes")
    found = dict(headers(letter))
    assert abs(int(found.pop("time")) - rig.clock.now_ms()) < 30_000
    assert found == {
        "reason": "price is no number",
        "topic": TOPIC,
        "partition": "0",
        "offset": "0",
        "attempt": "4",
    }
    assert last(await rig.events())[1].refused == 1


async def test_a_dead_letter_refused_again_keeps_its_first_source_and_its_topic(rig: Rig) -> None:
    origin = (("topic", b"first-data"), ("partition", b"0"), ("offset", b"17"), ("reason", b"old"))
    letter = await dead_letter(rig, Received(DLQ, 0, 3, b"k", b"v", 0, origin))
    assert headers(letter)["topic"] == "first-data"
    assert headers(letter)["offset"] == "17"
    assert headers(letter)["reason"] == "price is no number"


async def test_a_replay_writes_back_to_the_same_dead_letter_topic(rig: Rig) -> None:
    rig.environment["KAFKA_TOPIC"] = TOPIC + "-dlq"
    named: list[str] = []

    async def run(ctx: Context[NoParameters]) -> None:
        named.append(ctx.dead_letters.topic)

    await rig.seen.create_topic(TopicSpec(name=DLQ))
    await rig.live(worker(run, Use.INPUT, role=Role.SINK, target="sink"))
    assert named == [DLQ]


# Retries


async def test_retries_grow_with_jitter_up_to_the_longest_pause_and_end_with_patience() -> None:
    clock = FakeClock()
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise RetryableError("away")

    with pytest.raises(RetryableError, match="away"):
        await retry(call, clock=clock, patience_s=60)
    assert calls == len(clock.slept) + 1
    assert 50 < sum(clock.slept) <= 60
    assert max(clock.slept) <= LONGEST_PAUSE_S
    assert clock.slept[0] <= 0.05


async def test_the_time_that_the_other_side_names_is_kept_or_patience_is_spent_at_once() -> None:
    clock = FakeClock()
    errors = [RetryableError("wait", retry_after=7), None, RetryableError("wait longer", retry_after=61)]

    async def call() -> str:
        error = errors.pop(0)
        if error is not None:
            raise error
        return "done"

    assert await retry(call, clock=clock, patience_s=60) == "done"
    assert clock.slept == [7]
    with pytest.raises(RetryableError, match="longer"):
        await retry(call, clock=clock, patience_s=60)
    assert clock.slept == [7]


@pytest.mark.parametrize(
    "error", [BannedError("418", until_ms=1, retry_after=1), PermanentError("never"), ConfigError("bad"), ValueError()]
)
async def test_other_errors_are_not_retried(error: Exception) -> None:
    clock = FakeClock()

    async def call() -> None:
        raise error

    with pytest.raises(type(error)):
        await retry(call, clock=clock, patience_s=60)
    assert clock.slept == []


# Tallies


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = ManualClock()
    progress = ProgressTracker(clock)
    for _ in range(20):
        progress.records += 100
        clock.advance(1)
        assert progress.snapshot().rate == 100.0
    clock.advance(9)
    assert 0 < progress.snapshot().rate < 100
    clock.advance(11)
    progress.snapshot()
    clock.advance(11)
    assert progress.snapshot().rate == 0.0


def test_waits_are_told_apart_and_their_time_is_counted() -> None:
    clock = ManualClock()
    waited: list[tuple[str, float]] = []
    progress = ProgressTracker(clock, lambda who, seconds: waited.append((who, seconds)))
    progress.adapter_waits("weight limit", 1_722_600_009_500)
    clock.advance(2)
    progress.wait("store", "away")
    progress.adapter_waits("weight limit, still")
    clock.advance(1)
    progress.wait("store", None)
    assert progress.snapshot().waiting == "weight limit, still"
    progress.adapter_waits(None)
    progress.adapter_waits(None)
    assert waited == [("store", 1.0), ("adapter", 3.0)]
    assert progress.snapshot().waiting is None
    with progress.waiting("input", "records", 1_722_600_009_500):
        assert progress.snapshot().waiting_until == 1_722_600_009.5
    assert progress.snapshot().waiting is None


# Metrics


def test_metrics_carry_the_target_and_one_family_has_one_set_of_labels() -> None:
    metrics = Metrics("sink")
    metrics.count("records", 5)
    metrics.count("records")
    metrics.count("records", 1, other="label")
    metrics.gauge("records", 3)
    metrics.count("exchange_requests_total", endpoint="klines", outcome="ok")
    metrics.gauge("lag_records", 7)
    metrics.observe("store_seconds", 0.02)
    text = metrics.text().decode()
    assert 'streamforge_records_total{target="sink"} 6.0' in text
    assert 'streamforge_exchange_requests_total{endpoint="klines",outcome="ok",target="sink"} 1.0' in text
    assert 'streamforge_lag_records{target="sink"} 7.0' in text
    assert 'streamforge_store_seconds_count{target="sink"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_metrics_are_served_on_loopback_and_nothing_else_is() -> None:
    metrics = Metrics("sink")
    metrics.count("records", 5)
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=LIMIT_S) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert b'streamforge_records_total{target="sink"} 5.0' in answer.read()
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=LIMIT_S)
        assert error.value.code == 404
        error.value.close()
        with pytest.raises(ConfigError, match=str(server.port)):
            MetricsServer(metrics, "127.0.0.1", server.port)
    finally:
        server.close()


def test_a_default_port_that_is_taken_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    first = MetricsServer(Metrics("a"), "127.0.0.1", 0)
    monkeypatch.setattr("streamforge_utils.runtime.metrics.DEFAULT_PORT", first.port)
    second = MetricsServer(Metrics("b"), "127.0.0.1", None)
    assert second.port != first.port
    first.close()
    second.close()


# Logs


def test_a_line_is_one_json_object_with_what_is_bound_and_without_secrets() -> None:
    stream = io.StringIO()
    log = make_log(form="json", stream=stream, redactor=Redactor(["hush-hush"]), queue_id="wf-1", attempt=2)
    log.debug("not shown")
    try:
        raise RuntimeError("GET /?key=hush-hush")
    except RuntimeError as error:
        log.error("failed for hush-hush", exc_info=error, url="http://x/?hush-hush", extra={"k": ["hush-hush"]})
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["queue_id"], found["attempt"], found["level"]) == ("wf-1", 2, "error")
    assert found["event"] == "failed for ***"
    assert "RuntimeError" in found["exception"]
    assert "hush-hush" not in line


def test_the_console_form_is_for_people() -> None:
    stream = io.StringIO()
    make_log(form="console", debug=True, stream=stream, target="sink").debug("seen", records=3)
    assert "seen" in stream.getvalue()
    assert "records=3" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
