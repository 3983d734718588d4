"""The parts of the adapter that need no broker: portions under a cap, and shares of several partitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.adapters.bus_clients import cuts
from streamforge_utils.adapters.kafka.prefetch import PrefetchBuffer
from streamforge_utils.adapters.kafka.topic_config import SEGMENT_LEAST_BYTES, config_of
from streamforge_utils.ports.bus import Received, Retention, TopicSpec


def received(topic: str, partition: int, first: int, count: int) -> list[Received]:
    return [Received(topic, partition, offset, None, b"", 0) for offset in range(first, first + count)]


@given(st.lists(st.integers(1, 2000), max_size=200), st.integers(1, 5000))
def test_portions_hold_everything_once_in_order_and_fit(sizes: list[int], most: int) -> None:
    found = list(cuts(sizes, most, 20))
    assert [at for first, last in found for at in range(first, last)] == list(range(len(sizes)))
    for first, last in found:
        assert last - first == 1 or sum(sizes[first:last]) <= most
        assert 0 < last - first <= 20


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=20), st.integers(1, 50))
def test_what_is_put_is_given_once_in_order(puts: list[tuple[int, int]], most: int) -> None:
    buffer, ends = PrefetchBuffer(), dict.fromkeys(range(4), 0)
    for partition, count in puts:
        buffer.put(received("t", partition, ends[partition], count))
        ends[partition] += count
    given_: dict[int, list[int]] = {number: [] for number in ends}
    while taken := buffer.take(most):
        assert len(taken) <= most
        for message in taken:
            given_[message.partition].append(message.offset)
    assert given_ == {number: list(range(end)) for number, end in ends.items()}
    assert buffer.count == 0


def test_what_was_given_is_not_given_again_when_it_is_fetched_again() -> None:
    buffer = PrefetchBuffer()
    buffer.put(received("t", 0, 0, 10))
    assert len(buffer.take(4)) == 4
    buffer.drop(("t", 0))  # the partition was lost, and came back
    buffer.put(received("t", 0, 0, 10))
    assert [message.offset for message in buffer.take(10)] == [4, 5, 6, 7, 8, 9]
    buffer.restart(("t", 0))
    buffer.put(received("t", 0, 0, 2))
    assert [message.offset for message in buffer.take(10)] == [0, 1]


def test_a_consumed_topic_forgets_nothing_and_a_rolling_one_what_passes_its_cap() -> None:
    consumed = config_of(TopicSpec(name="t", retention=Retention.CONSUMED, max_bytes=1000, readers=("g",)))
    assert (consumed["retention.ms"], consumed["retention.bytes"]) == ("-1", "-1")
    rolling = config_of(TopicSpec(name="t", retention=Retention.ROLLING, max_bytes=64 * 1024 * 1024))
    assert (rolling["retention.ms"], rolling["retention.bytes"]) == ("-1", str(64 * 1024 * 1024))
    assert SEGMENT_LEAST_BYTES <= int(rolling["segment.bytes"]) <= 8 * 1024 * 1024
    assert (consumed["compression.type"], rolling["compression.type"]) == ("lz4", "producer")
