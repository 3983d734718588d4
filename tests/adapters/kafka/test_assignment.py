"""What of a commit a group still needs, by what the broker says it has committed; shares of several partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPlace
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.adapters.kafka.assignment import Ownership, PrefetchBuffer
from streamforge_utils.ports.bus import Received

NEVER = -1001
"""What a broker says of a partition of which the group has committed nothing."""


class Group:
    """What the client is asked for. offsets: by partition, what the group has committed."""

    def __init__(self, **offsets: int) -> None:
        self.offsets = {int(name[1:]): offset for name, offset in offsets.items()}
        self.asked: list[list[int]] = []
        self.error: KafkaError | None = None

    def committed(self, places: Sequence[KafkaPlace], timeout: float) -> list[KafkaPlace]:
        self.asked.append([place.partition for place in places])
        found = [KafkaPlace("t", place.partition, self.offsets.get(place.partition, NEVER)) for place in places]
        return [Refused(self.error)] if self.error is not None else found  # type: ignore[list-item]  # see there


class Refused:
    """A place whose offset a broker does not tell: the client's own class takes no error."""

    def __init__(self, error: KafkaError) -> None:
        self.topic, self.partition, self.offset, self.error = "t", 1, NEVER, error


def owning(*partitions: int) -> Ownership:
    owned = Ownership()
    owned.gain(partitions)
    return owned


def needed(owned: Ownership, group: Any, **offsets: int) -> dict[int, int]:
    places = [KafkaPlace("t", int(name[1:]), offset) for name, offset in offsets.items()]
    return {place.partition: place.offset for place in owned.needed(group, "g", places, 1.0)}


@pytest.mark.parametrize(("offset", "left"), [(4, {0: 7}), (5, {0: 7}), (6, {0: 7, 1: 6})])
def test_of_a_partition_that_came_back_only_what_the_group_has_not_passed_is_needed(
    offset: int, left: dict[int, int]
) -> None:
    group, owned = Group(p0=9, p1=5), owning(0, 1)
    owned.lose([1])
    owned.gain([1])
    assert needed(owned, group, p0=7, p1=offset) == left
    assert group.asked == [[1]]


def test_an_offset_that_the_broker_does_not_tell_is_an_error() -> None:
    group, owned = Group(), owning(0)
    group.error = KafkaError(KafkaError.NOT_COORDINATOR)
    with pytest.raises(KafkaException):
        needed(owned, group, p1=6)


def received(partition: int, first: int, count: int) -> list[Received]:
    return [Received("t", partition, offset, None, b"", 0) for offset in range(first, first + count)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=20), st.integers(1, 50))
def test_what_is_put_is_given_once_in_order(puts: list[tuple[int, int]], most: int) -> None:
    buffer, ends = PrefetchBuffer(), dict.fromkeys(range(4), 0)
    for partition, count in puts:
        buffer.put(received(partition, ends[partition], count))
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
    buffer.put(received(0, 0, 10))
    assert len(buffer.take(4)) == 4
    buffer.drop(0)  # the partition was lost, and came back
    buffer.put(received(0, 0, 10))
    assert [message.offset for message in buffer.take(10)] == [4, 5, 6, 7, 8, 9]
    buffer.restart(0)
    buffer.put(received(0, 0, 2))
    assert [message.offset for message in buffer.take(10)] == [0, 1]
