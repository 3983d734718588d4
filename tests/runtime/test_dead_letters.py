"""A topic of dead letters that is full: nothing is dropped, and the work ends with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge.manager.lifecycle.job_spec import topics_of
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.bus import Received, TopicPartition, TopicSpec
from streamforge_utils.runtime.dead_letter_queue import DeadLetterQueue
from tests.doubles.instruments import instruments
from tests.manager.support import POLICY, planned, replace

LETTER = b"x" * 1000


def letters(bus_topic: str, count: int, first: int = 0) -> list[tuple[Received, str]]:
    return [
        (Received(bus_topic, 0, first + n, b"k", LETTER, 0), f"price {first + n} is no number") for n in range(count)
    ]


async def test_no_dead_letter_is_dropped_and_a_full_topic_is_an_error(tmp_path: Path) -> None:
    workflow = planned()
    _, spec = topics_of(workflow, replace(POLICY, dlq_max_bytes=1024 * 1024))
    await fill(tmp_path, workflow.topic, spec)


async def test_a_worker_that_makes_the_topic_itself_drops_nothing_either(tmp_path: Path) -> None:
    await fill(tmp_path, "a-data", None)


async def fill(folder: Path, topic: str, spec: TopicSpec | None) -> None:
    bus = EmbeddedBus(folder / "bus", full_timeout_s=0.05)
    if spec is not None:
        await bus.create_topic(spec)
    group = spec.readers[0] if spec is not None else "g"
    kept = DeadLetterQueue(
        await bus.producer(),
        bus,
        topic,
        group,
        instruments(),
        attempt=1,
    )
    if spec is None:
        await kept.send_all(letters(topic, 1))
        log = bus._topics.get(kept.topic).log.spec
        assert (log.retention.value, log.readers) == ("consumed", ("g",))
        await bus.close()
        return
    sent = 0

    async def until_full() -> None:
        nonlocal sent
        while sent < 10_000:
            await kept.send_all(letters(topic, 100, sent))
            sent += 100

    with pytest.raises(PermanentError, match=r"dead letters .*-dlq is full.*price \d+ is no number.*dlq list"):
        await until_full()
    consumer = await bus.consumer([kept.topic], group=group)
    found: list[Received] = []
    while batch := await consumer.poll(1000, 0.05):
        found += batch
    assert [dict(r.headers)["offset"] for r in found][:sent] == [str(n).encode() for n in range(sent)]
    assert sent >= 300
    # A replay makes room.
    await consumer.commit({TopicPartition(kept.topic, 0): found[-1].offset + 1})
    await kept.send_all(letters(topic, 100, sent))
    await bus.close()


async def test_headers_are_bounded_whatever_a_record_brings(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path / "bus")
    kept = DeadLetterQueue(
        await bus.producer(),
        bus,
        "a-data",
        "g",
        instruments(),
        attempt=3,
    )
    foreign = (("topic", b"x" * 500_000), ("partition", b"7"), ("offset", b"8"))
    again = (("topic", b"a-data"), ("partition", b"0"), ("offset", b"17"), ("reason", b"y" * 500_000))
    await kept.send(Received("a-data", 0, 5, b"k", b"v", 0, foreign), "ä" * 600)
    await kept.send(Received(kept.topic, 0, 0, b"k", b"v", 0, again), "b" + "ä" * 600)
    await kept.send(Received(kept.topic, 0, 1, b"k", b"v", 0, foreign), "\ud800 is no character")
    first, second, third = await (await bus.consumer([kept.topic])).poll(10, 0)
    assert dict(first.headers) | {"time": b""} == {
        "reason": ("ä" * 500).encode(),
        "topic": b"a-data",
        "partition": b"0",
        "offset": b"5",
        "attempt": b"3",
        "time": b"",
    }
    found = dict(second.headers)
    assert (found["offset"], found["reason"]) == (b"17", ("b" + "ä" * 499).encode())
    found = dict(third.headers)
    assert (found["topic"], found["reason"]) == (kept.topic.encode(), b"? is no character")
    await bus.close()
