"""What of a commit a group still needs, by what the broker says the group has committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from streamforge_utils.adapters.kafka.ownership import Ownership

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
    owned.gain(("t", partition) for partition in partitions)
    return owned


def needed(owned: Ownership, group: Any, **offsets: int) -> dict[int, int]:
    places = [KafkaPlace("t", int(name[1:]), offset) for name, offset in offsets.items()]
    return {place.partition: place.offset for place in owned.needed(group, "g", places, 1.0)}


@pytest.mark.parametrize(("offset", "left"), [(4, {0: 7}), (5, {0: 7}), (6, {0: 7, 1: 6})])
def test_of_a_partition_that_came_back_only_what_the_group_has_not_passed_is_needed(
    offset: int, left: dict[int, int]
) -> None:
    group, owned = Group(p0=9, p1=5), owning(0, 1)
    owned.lose([("t", 1)])
    owned.gain([("t", 1)])
    assert needed(owned, group, p0=7, p1=offset) == left
    assert group.asked == [[1]]


def test_an_offset_that_the_broker_does_not_tell_is_an_error() -> None:
    group, owned = Group(), owning(0)
    group.error = KafkaError(KafkaError.NOT_COORDINATOR)
    with pytest.raises(KafkaException):
        needed(owned, group, p1=6)
