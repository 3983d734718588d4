from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamforge.manager.dead_letters import store as dead_letter_reader
from streamforge.manager.dead_letters.store import AHEAD_BYTES, PAGE_BYTES, QUIET_POLLS, DeadLetterReader
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.ports.bus import Consumer, Message, Received, Start, TopicSpec
from streamforge_utils.runtime.output.topic_specs import dead_letters_topic
from tests.doubles.memorybus import MemoryBus
from tests.manager.support import SINK, accepted, replace

WORKFLOW = accepted()
TOPIC = names.dlq_topic(WORKFLOW.topic)
GROUP = names.consumer_group(WORKFLOW.queue_id, SINK)


def letter(number: int, headers: tuple[tuple[str, bytes], ...] = ()) -> Message:
    return Message(b"k%d" % number, b"v%d" % number, headers)


async def holding(bus: MemoryBus, count: int = 3) -> DeadLetterReader:
    """Reads the bus, which holds so many dead letters."""
    await bus.create_topic(TopicSpec(name=TOPIC))
    bus.append(TOPIC, *(letter(number) for number in range(count)))
    return DeadLetterReader(bus, bus)


class SlowBus(MemoryBus):
    """Its consumers find nothing in the first `quiet` polls; polls: how many there were. arriving: sent at each.

    each_time: so many find nothing before each message. foreign: they find what nobody sought. how: as they were made.
    """

    def __init__(self, quiet: int = 0, arriving: int = 0, *, each_time: bool = False, foreign: bool = False) -> None:
        super().__init__()
        self.quiet = quiet
        self.arriving = arriving
        self.each_time = each_time
        self.foreign = foreign
        self.polls = 0
        self.how: dict[str, Any] = {}

    async def consumer(self, topic: str, **how: Any) -> Consumer:
        self.how = how
        return _Slow(self, await super().consumer(topic, **how))


class _Slow:
    def __init__(self, bus: SlowBus, consumer: Consumer) -> None:
        self._bus = bus
        self._consumer = consumer
        self.seek, self.close, self.position = consumer.seek, consumer.close, consumer.position

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        self._bus.polls += 1
        if self._bus.arriving:
            self._bus.append(TOPIC, *(letter(10_000 + n) for n in range(self._bus.arriving)))
        assert self._bus.polls < 10_000
        if self._bus.foreign:
            return [Received(TOPIC, 1, self._bus.polls - 1, b"k", b"v", 0)]
        if self._bus.each_time:
            last = self._bus.polls % (self._bus.quiet + 1) == 0
            return await self._consumer.poll(1, timeout_s) if last else []
        return [] if self._bus.polls <= self._bus.quiet else await self._consumer.poll(max_messages, timeout_s)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        raise AssertionError("who only looks commits nothing")


async def test_they_carry_where_they_came_from_and_why() -> None:
    bus = MemoryBus()
    await bus.create_topic(TopicSpec(name=TOPIC))
    headers = {
        "reason": "not a candle",
        "topic": WORKFLOW.topic,
        "partition": "3",
        "offset": "17",
        "attempt": "2",
        "time": "5",
    }
    bus.append(TOPIC, letter(1, tuple((name, text.encode()) for name, text in headers.items())), letter(2))
    bus.append(TOPIC, letter(3, (("offset", b"x"), ("reason", b"\xff"))))
    found = (await DeadLetterReader(bus, bus).read(WORKFLOW, limit=10)).letters
    assert [(d.key, d.value) for d in found] == [(b"k1", b"v1"), (b"k2", b"v2"), (b"k3", b"v3")]
    first, bare, odd = found
    assert (first.reason, first.topic, first.partition, first.offset, first.attempt, first.time_ms) == (
        "not a candle",
        WORKFLOW.topic,
        3,
        17,
        2,
        5,
    )
    assert (bare.reason, bare.topic, bare.offset, bare.attempt) == ("", TOPIC, 1, 0)
    assert (odd.offset, odd.reason) == (2, "\ufffd")


async def test_only_those_that_nobody_replayed_are_outstanding_the_oldest_first() -> None:
    bus = MemoryBus()
    nothing = await DeadLetterReader(bus, bus).read(WORKFLOW, limit=5)
    assert (nothing.letters, nothing.outstanding) == ([], 0), "the topic is not made yet"
    found = await holding(bus, 3000)
    bus.committed[TOPIC, GROUP] = 2900
    assert await found.outstanding(WORKFLOW) == 100
    without_sinks = replace(WORKFLOW, steps=tuple(s for s in WORKFLOW.steps if s.target != SINK))
    assert await found.outstanding(without_sinks) == 0, "where nothing is stored nothing was refused"
    page = await found.read(WORKFLOW, limit=2)
    assert ([d.value for d in page.letters], page.outstanding) == ([b"v2900", b"v2901"], 100)
    assert len((await found.read(WORKFLOW, limit=5000)).letters) == 100
    bus.committed[TOPIC, GROUP] = 3000
    assert (await found.read(WORKFLOW, limit=2)).letters == []


async def test_pages_follow_each_other_also_while_letters_come_and_are_replayed() -> None:
    bus = MemoryBus()
    found, after, seen = await holding(bus, 7), None, list[bytes]()
    for _ in range(10):
        page = await found.read(WORKFLOW, limit=3, after=after)
        seen += [one.value for one in page.letters]
        after = page.after
        if len(seen) == 3:
            bus.committed[TOPIC, GROUP] = 4
            bus.append(TOPIC, letter(7))
        if after is None:
            break
    assert seen == [b"v0", b"v1", b"v2", *(b"v%d" % n for n in range(4, 8))]
    last = await found.read(WORKFLOW, limit=3, after="0:8")
    assert (last.letters, last.outstanding, last.after) == ([], 4, None)


async def test_those_that_replays_of_chosen_ones_have_read_wait_no_more() -> None:
    bus = MemoryBus()
    found = await holding(bus, 10)
    read = (PartitionRange(0, 0, 2), PartitionRange(0, 4, 7), PartitionRange(0, 9, 10))
    workflow = replace(WORKFLOW, letters_read=read)
    assert await found.outstanding(workflow) == 4
    first = await found.read(workflow, limit=3)
    second = await found.read(workflow, limit=3, after=first.after)
    assert [one.at[1] for one in (*first.letters, *second.letters)] == [2, 3, 7, 8]
    assert (first.outstanding, second.after) == (4, None)
    assert await found.passed(workflow) == read
    bus.committed[TOPIC, GROUP] = 5
    assert await found.passed(workflow) == (PartitionRange(0, 5, 7), PartitionRange(0, 9, 10))
    assert await found.outstanding(workflow) == 2


async def test_of_wanted_ones_pages_follow_each_other_and_none_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_reader, "SCANNED", 10)
    found, after, pages = await holding(MemoryBus(), 40), None, list[list[bytes]]()
    for _ in range(20):
        page = await found.read(
            WORKFLOW, limit=2, after=after, wanted=lambda one: one.value in (b"v1", b"v2", b"v3", b"v39")
        )
        pages.append([one.value for one in page.letters])
        assert page.outstanding == 40
        after = page.after
        if after is None:
            break
    assert pages == [[b"v1", b"v2"], [b"v3"], [], [], [b"v39"]]


@pytest.mark.parametrize(
    ("bus", "polls"),
    [
        (lambda: SlowBus(quiet=QUIET_POLLS - 1), QUIET_POLLS),
        (lambda: SlowBus(quiet=QUIET_POLLS - 1, each_time=True), 3 * QUIET_POLLS),
        (lambda: SlowBus(arriving=5), 1),
    ],
    ids=["a slow connection", "each is worth the whole patience", "more and more arrive"],
)
async def test_all_that_were_there_at_first_are_read(bus: Callable[[], SlowBus], polls: int) -> None:
    slow = bus()
    page = await (await holding(slow)).read(WORKFLOW, limit=9)
    assert ([d.value for d in page.letters], page.outstanding) == ([b"v0", b"v1", b"v2"], 3)
    assert slow.polls == polls
    assert slow.how == {"start": Start.LATEST, "ahead_bytes": AHEAD_BYTES}, "little is fetched ahead, from the end"


@pytest.mark.parametrize(
    "bus", [lambda: SlowBus(quiet=10**6), lambda: SlowBus(foreign=True)], ids=["nothing", "what nobody asked for"]
)
async def test_a_bus_that_gives_nothing_of_what_it_holds_is_an_error(
    bus: Callable[[], SlowBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_reader, "POLL_S", 2.0)
    slow = bus()
    found = await holding(slow)
    with pytest.raises(RetryableError, match=f"{TOPIC} holds 3 dead letters, and 0 of them came within 30 s"):
        await found.read(WORKFLOW, limit=9)
    assert slow.polls == QUIET_POLLS


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_a_page_ends_with_the_record_that_fills_it(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_reader, "PAGE_BYTES", 8)
    monkeypatch.setattr(dead_letter_reader, "_POLL_MESSAGES", at_once)
    bus = SlowBus()
    page = await (await holding(bus)).read(WORKFLOW, limit=9)
    assert [(d.key, d.value) for d in page.letters] == [(b"k0", b"v0"), (b"k1", b"v1")]
    assert bus.polls == (2 if at_once == 1 else 1)


async def test_one_of_many_large_ones_takes_no_more_memory_than_a_few(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path)
    await bus.create_topic(dead_letters_topic(TOPIC, (GROUP,)))
    producer, noise = await bus.producer(), random.Random(1)
    for _ in range(24):
        await producer.send(TOPIC, [Message(b"k", noise.randbytes(1_000_000))])
    found = DeadLetterReader(bus, bus)
    tracemalloc.start()
    try:
        page = await found.read(WORKFLOW, limit=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(page.letters), page.outstanding) == (1, 24)
    assert peak < 6_000_000
    all_that_fit = await found.read(WORKFLOW, limit=1000)
    assert len(all_that_fit.letters) == PAGE_BYTES // 1_000_000 + 1
    assert all_that_fit.outstanding == 24
    await bus.close()
