"""Which partitions are a consumer's own, which were taken away from it, and what of a commit the group still needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from streamforge_utils.adapters.kafka.prefetch import Place
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

    def needed(self, client: Client, group: str, places: Sequence[KafkaPlace], within_s: float) -> list[KafkaPlace]:
        """The `places` that are to be committed: not those up to which another member has committed since they were
        taken away. Raises RetryableError for others that are not the consumer's own, or KafkaException. Blocks."""
        passed = self._passed(client, places, within_s)
        left = [place for place in places if (place.topic, place.partition) not in passed]
        foreign = [f"{place.topic} {place.partition}" for place in left if (place.topic, place.partition) not in self]
        if foreign:
            raise RetryableError(
                f"partition {', '.join(foreign[:5])} now belongs to another member of the group {group}: "
                "what was read of it is read again there"
            )
        return left

    def _passed(self, client: Client, places: Sequence[KafkaPlace], within_s: float) -> set[Place]:
        taken = {(place.topic, place.partition): place.offset for place in places}
        asked = [KafkaPlace(*place) for place in taken if place in self._lost or place not in self._owned]
        passed: set[Place] = set()
        for found in client.committed(asked, timeout=within_s) if asked else ():
            if found.error is not None:
                raise KafkaException(found.error)
            if taken[found.topic, found.partition] <= found.offset:
                passed.add((found.topic, found.partition))
        return passed
