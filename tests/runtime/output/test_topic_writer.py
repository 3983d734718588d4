"""Writing to a topic, dead letters, and faults of both topics, which may be full."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamforge.manager.engine.lifecycle.job_spec import topics_of
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import PermanentError, RetryableError, TopicFull
from streamforge_utils.model.messages import EOS_KEY, decode_marker
from streamforge_utils.ports.bus import HEADERS_BYTES, Message, Received, Retention, TopicSpec
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.life.worker_definition import Use
from streamforge_utils.runtime.output import topic_writer
from streamforge_utils.runtime.output.topic_writer import REASON_BYTES, DeadLetterQueue
from tests.doubles.clock import FakeClock
from tests.doubles.faulty import always, times
from tests.doubles.instruments import instruments
from tests.manager.support import POLICY, planned, replace
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
    monkeypatch.setattr(topic_writer, "PATIENCE_S", 0.5)
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


SOURCE, DLQ, GROUP = "wf-data", "wf-data-dlq", "wf-sink"
NOW = 1_722_513_630_000
Headers = dict[str, bytes]


class Topic:
    """Takes messages once `troubles` are over. made: topics that there are, or were made."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = deque(troubles)
        self.sent: list[tuple[str, Message]] = []
        self.made: dict[str, TopicSpec | None] = {DLQ: None}

    async def send(self, topic: str, messages: Sequence[Message]) -> None:
        if self.troubles:
            raise self.troubles.popleft()
        self.sent += [(topic, message) for message in messages]

    async def topics(self) -> list[str]:
        return list(self.made)

    async def create_topic(self, spec: TopicSpec) -> None:
        self.made[spec.name] = spec


class Kept:
    """Dead letters on such a topic, and what was counted."""

    def __init__(self, *troubles: Exception, topic: str = SOURCE) -> None:
        self.clock = FakeClock(NOW)
        self.topic = Topic(*troubles)
        self.instruments = instruments(self.clock)
        self.progress, self.metrics = self.instruments.progress, self.instruments.metrics
        self.letters = DeadLetterQueue(
            self.topic,  # type: ignore[arg-type]
            self.topic,  # type: ignore[arg-type]
            topic,
            GROUP,
            self.instruments,
            attempt=3,
        )

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"streamforge_{name}_total", {"target": "sink"} | labels) or 0.0

    async def headers(self, received: Received, reason: str = "no candle") -> Headers:
        await self.letters.send((received, reason))
        return dict(self.topic.sent[-1][1].headers)


def record(topic: str = SOURCE, /, **headers: bytes) -> Received:
    return Received(topic, 2, 17, b"key", b"value", 5, tuple(headers.items()))


async def test_a_dead_letter_is_the_record_with_why_and_whence_and_when() -> None:
    kept = Kept()
    await kept.letters.send((record(), "no candle"))
    assert kept.topic.sent == [
        (
            DLQ,
            Message(
                b"key",
                b"value",
                (
                    ("reason", b"no candle"),
                    ("topic", SOURCE.encode()),
                    ("partition", b"2"),
                    ("offset", b"17"),
                    ("target", b"sink"),
                    ("attempt", b"3"),
                    ("time", b"%d" % NOW),
                ),
            ),
        )
    ]
    assert (kept.progress.refused, kept.counted("dead_letters")) == (1, 1)


async def test_several_are_counted_and_none_is_nothing() -> None:
    kept = Kept()
    await kept.letters.send()
    assert (kept.topic.sent, kept.progress.refused) == ([], 0)
    await kept.letters.send((record(), "a"), (record(), "b"))
    await kept.letters.send((record(), "c"))
    assert [dict(message.headers)["reason"] for _, message in kept.topic.sent] == [b"a", b"b", b"c"]
    assert (kept.progress.refused, kept.counted("dead_letters")) == (3, 3)


FIRST = {"topic": b"wf-data", "partition": b"0", "offset": b"4"}
"""Where a letter that is read again was read first."""
CUT = {"size": b"4000000", "sha256": b"ab" * 32}
"""What else one has that was cut."""


@pytest.mark.parametrize(
    ("topic", "given", "whence"),
    [
        (DLQ, FIRST, (b"wf-data", b"0", b"4")),
        (DLQ, FIRST | {"reason": b"old", "more": b"x"}, (b"wf-data", b"0", b"4")),
        (DLQ, {"topic": b"wf-data", "partition": b"0"}, (DLQ.encode(), b"2", b"17")),
        (DLQ, FIRST | {"offset": b"4" * 301}, (DLQ.encode(), b"2", b"17")),
        (DLQ, FIRST | {"offset": b"4" * 300}, (b"wf-data", b"0", b"4" * 300)),
        (DLQ, FIRST | CUT, (b"wf-data", b"0", b"4")),
        (SOURCE, FIRST | CUT, (SOURCE.encode(), b"2", b"17")),  # anybody may have written them
    ],
)
async def test_a_letter_that_is_refused_again_still_says_where_it_was_read_first(
    topic: str, given: Headers, whence: tuple[bytes, ...]
) -> None:
    found = await Kept(topic=DLQ).headers(record(topic, **given))
    assert tuple(found[name] for name in ("topic", "partition", "offset")) == whence
    assert found["reason"] == b"no candle"
    cut = {name: value for name, value in CUT.items() if topic == DLQ and name in given}
    assert found.items() >= cut.items()
    assert len(found) == 7 + len(cut)


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("x" * REASON_BYTES, b"x" * REASON_BYTES),
        ("x" * (REASON_BYTES + 1), b"x" * REASON_BYTES),
        ("x" * (REASON_BYTES - 1) + "é", b"x" * (REASON_BYTES - 1)),  # no half of a character
        ("a\udc80b", b"a?b"),
    ],
)
async def test_a_reason_is_text_of_a_bounded_length(reason: str, written: bytes) -> None:
    assert (await Kept().headers(record(), reason))["reason"] == written


async def test_a_bus_that_is_away_is_asked_again_and_that_is_counted() -> None:
    kept = Kept(RetryableError("away"), RetryableError("away"))
    await kept.letters.send((record(), "no candle"))
    assert len(kept.topic.sent) == 1
    assert len(kept.clock.slept) == 2
    assert kept.counted("retries", what="dead_letters") == 2
    assert kept.progress.refused == 1


async def test_a_bus_that_stays_away_is_given_up_after_a_minute() -> None:
    kept = Kept(*[RetryableError("away")] * 1000)
    with pytest.raises(RetryableError, match="away"):
        await kept.letters.send((record(), "no candle"))
    assert 50 < kept.clock.monotonic() <= 60
    assert (kept.progress.refused, kept.counted("dead_letters")) == (0, 0)


async def test_a_full_topic_is_an_error_that_says_what_to_do() -> None:
    kept = Kept(TopicFull("full"))
    with pytest.raises(PermanentError) as told:
        await kept.letters.send((record(), "first"), (record(), "second"), (record(), "y" * 300))
    assert str(told.value) == (
        f"the topic of dead letters {DLQ} is full: more records cannot be stored than it can keep, the latest because "
        f"{'y' * 200}; nothing was dropped: see them with `streamforge dlq list`, remove the cause, replay them, then "
        "retry the workflow"
    )
    assert kept.topic.sent == []


async def test_a_topic_that_is_not_there_is_made_and_one_that_is_there_is_not() -> None:
    kept = Kept(PermanentError("no such topic"))
    del kept.topic.made[DLQ]
    await kept.letters.send((record(), "no candle"))
    assert len(kept.topic.sent) == 1
    spec = kept.topic.made[DLQ]
    assert spec is not None
    assert (spec.retention, spec.readers, spec.headers_bytes) == (Retention.CONSUMED, (GROUP,), HEADERS_BYTES)
    kept = Kept(PermanentError("too large"))
    with pytest.raises(PermanentError, match="too large"):
        await kept.letters.send((record(), "no candle"))
    assert kept.topic.sent == []


async def test_nothing_is_dropped_where_the_topic_is_full_and_a_replay_makes_room(tmp_path: Path) -> None:
    _, spec = topics_of(planned(), replace(POLICY, dlq_max_bytes=1024 * 1024))
    bus = EmbeddedBus(tmp_path / "bus", full_timeout_s=0.05)
    await bus.create_topic(spec)
    topic, group = spec.name.removesuffix("-dlq"), spec.readers[0]
    letters = DeadLetterQueue(await bus.producer(), bus, topic, group, instruments(), attempt=1)
    assert letters.topic == spec.name
    sent = 0

    async def send(until: int) -> None:
        nonlocal sent
        while sent < until:
            records = [Received(topic, 0, sent + n, b"k", b"x" * 1000, 0) for n in range(100)]
            await letters.send(*((one, f"price {one.offset} is no number") for one in records))
            sent += 100

    with pytest.raises(PermanentError, match=r"dead letters .*-dlq is full.*price \d+ is no number.*dlq list"):
        await send(10_000)
    consumer = await bus.consumer(spec.name, group=group)
    found: list[Received] = []
    while batch := await consumer.poll(1000, 0.05):
        found += batch
    assert [dict(r.headers)["offset"] for r in found][:sent] == [str(n).encode() for n in range(sent)]
    assert sent >= 300
    await consumer.commit({0: found[-1].offset + 1})
    await send(sent + 100)
    await bus.close()
