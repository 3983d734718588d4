"""The partitions that a consumer reads: which are its own, and what was fetched of each and not yet asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.bus import Received


class Ownership(Collection[int]):
    """The numbers of the partitions that are assigned to the consumer. Only the thread of its lane uses it.

    What was read of a partition before it was taken away may have been read and committed by another member by the time
    it comes back: a commit of it must not take the group back.
    """

    def __init__(self) -> None:
        self._owned: set[int] = set()
        self._lost: set[int] = set()

    def __contains__(self, partition: object) -> bool:
        return partition in self._owned

    def __iter__(self) -> Iterator[int]:
        return iter(self._owned)

    def __len__(self) -> int:
        return len(self._owned)

    def gain(self, partitions: Iterable[int]) -> None:
        """They are assigned to it."""
        self._owned.update(partitions)

    def lose(self, partitions: Iterable[int]) -> None:
        """They are taken away from it."""
        lost = list(partitions)
        self._owned.difference_update(lost)
        self._lost.update(lost)

    def settle(self, partitions: Iterable[int]) -> None:
        """Since they came back, a commit or a seek has set where they are read."""
        self._lost.difference_update(partitions)

    def needed(self, client: Client, group: str, places: Sequence[KafkaPlace], within_s: float) -> list[KafkaPlace]:
        """The `places` that are to be committed: not those up to which another member has committed since they were
        taken away. Raises RetryableError for others that are not the consumer's own, or KafkaException. Blocks."""
        passed = self._passed(client, places, within_s)
        left = [place for place in places if place.partition not in passed]
        foreign = [f"{place.topic} {place.partition}" for place in left if place.partition not in self]
        if foreign:
            raise RetryableError(
                f"partition {', '.join(foreign[:5])} now belongs to another member of the group {group}: "
                "what was read of it is read again there"
            )
        return left

    def _passed(self, client: Client, places: Sequence[KafkaPlace], within_s: float) -> set[int]:
        taken = {place.partition: place.offset for place in places}
        asked = [
            KafkaPlace(place.topic, place.partition)
            for place in places
            if place.partition in self._lost or place.partition not in self._owned
        ]
        passed: set[int] = set()
        for found in client.committed(asked, timeout=within_s) if asked else ():
            if found.error is not None:
                raise KafkaException(found.error)
            if taken[found.partition] <= found.offset:
                passed.add(found.partition)
        return passed


class PrefetchBuffer:
    """Gives of each partition its share, so that a full one does not keep the others waiting.

    floors: per partition the offset of the next message to be given; what lies below was given before, or is none.
    ends: where those end that were fetched as far, until a `take` has come there.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Received]] = {}
        self._turn = 0
        self.floors: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.count = 0

    def put(self, messages: Iterable[Received]) -> None:
        """Keep messages, in offset order within a partition."""
        for message in messages:
            if message.offset < self.floors.get(message.partition, 0):
                continue
            waiting = self._waiting.get(message.partition)
            if waiting is None:
                waiting = self._waiting[message.partition] = deque()
            waiting.append(message)
            self.count += 1

    def take(self, most: int) -> Sequence[Received]:
        """At most `most` messages; the partition that is asked first changes every time."""
        taken: list[Received] = []
        partitions = [partition for partition, waiting in self._waiting.items() if waiting]
        self._turn += 1
        for done in range(len(partitions)):
            partition = partitions[(self._turn + done) % len(partitions)]
            waiting = self._waiting[partition]
            share = min(len(waiting), -(-(most - len(taken)) // (len(partitions) - done)))
            if share == len(waiting):
                taken += waiting
                waiting.clear()
            else:
                taken += [waiting.popleft() for _ in range(share)]
            if share:
                self.floors[partition] = taken[-1].offset + 1
        self.count -= len(taken)
        for partition in [one for one in self.ends if not self._waiting.get(one)]:
            self.floors[partition] = max(self.ends.pop(partition), self.floors.get(partition, 0))
        return taken

    def drop(self, partition: int) -> None:
        """Forget what was fetched of a partition."""
        self.count -= len(self._waiting.pop(partition, ()))
        self.ends.pop(partition, None)

    def restart(self, partition: int) -> None:
        """Forget what was fetched and given of a partition: it is read from another offset on."""
        self.drop(partition)
        self.floors.pop(partition, None)
