"""Which partitions are a consumer's own, and which have been taken away from it since it last committed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from streamforge_utils.adapters.kafka.shelf import Place
from streamforge_utils.model.errors import RetryableError


class Ownership(Collection[Place]):
    """The partitions that are the consumer's own. For the thread of its lane.

    What was read of a partition before it was taken away may have been read and committed by another member by the time
    it comes back: a commit of it must not take the group back.
    """

    def __init__(self) -> None:
        self._owned: set[Place] = set()
        self._lost: set[Place] = set()

    def __contains__(self, place: object) -> bool:
        return place in self._owned

    def __iter__(self) -> Iterator[Place]:
        return iter(self._owned)

    def __len__(self) -> int:
        return len(self._owned)

    def gain(self, places: Iterable[Place]) -> None:
        """They are assigned to it."""
        self._owned.update(places)

    def lose(self, places: Iterable[Place]) -> None:
        """They are taken away from it."""
        lost = list(places)
        self._owned.difference_update(lost)
        self._lost.update(lost)

    def settle(self, places: Iterable[Place]) -> None:
        """Where they are read has been said since they came back: by a commit, or by who seeks in them."""
        self._lost.difference_update(places)

    def check(self, client: Client, group: str, places: Sequence[KafkaPlace], within_s: float) -> None:
        """Raises RetryableError for a commit of what was read before a partition was taken away, where another member
        has committed beyond it, or KafkaException. Blocks."""
        returned = [place for place in places if (place.topic, place.partition) in self._lost]
        if not returned:
            return
        asked = [KafkaPlace(place.topic, place.partition) for place in returned]
        offsets = {(found.topic, found.partition): found for found in client.committed(asked, timeout=within_s)}
        for place in returned:
            found = offsets[place.topic, place.partition]
            if found.error is not None:
                raise KafkaException(found.error)
            if place.offset < found.offset:
                raise RetryableError(
                    f"partition {place.topic} {place.partition} was taken away since it was read, and another member "
                    f"of the group {group} has committed more of it: what is read of it goes on behind that"
                )
