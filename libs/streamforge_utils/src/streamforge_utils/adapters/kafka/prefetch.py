"""Messages that were fetched and not yet asked for, by partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from streamforge_utils.ports.bus import Received

Place = tuple[str, int]
"""Topic and partition."""


class PrefetchBuffer:
    """Gives of each partition its share, so that a full one does not keep the others waiting.

    floors: per partition the offset of the next message to be given; what lies below was given before.
    """

    def __init__(self) -> None:
        self._waiting: dict[Place, deque[Received]] = {}
        self._turn = 0
        self.floors: dict[Place, int] = {}
        self.count = 0

    def put(self, messages: Iterable[Received]) -> None:
        """Keep messages, in offset order within a partition."""
        for message in messages:
            place = (message.topic, message.partition)
            if message.offset < self.floors.get(place, 0):
                continue
            waiting = self._waiting.get(place)
            if waiting is None:
                waiting = self._waiting[place] = deque()
            waiting.append(message)
            self.count += 1

    def take(self, most: int) -> Sequence[Received]:
        """At most `most` messages; the partition that is asked first changes every time."""
        taken: list[Received] = []
        places = [place for place, waiting in self._waiting.items() if waiting]
        self._turn += 1
        for done in range(len(places)):
            place = places[(self._turn + done) % len(places)]
            waiting = self._waiting[place]
            share = min(len(waiting), -(-(most - len(taken)) // (len(places) - done)))
            if share == len(waiting):
                taken += waiting
                waiting.clear()
            else:
                taken += [waiting.popleft() for _ in range(share)]
            if share:
                self.floors[place] = taken[-1].offset + 1
        self.count -= len(taken)
        return taken

    def drop(self, place: Place) -> None:
        """Forget what was fetched of a partition."""
        self.count -= len(self._waiting.pop(place, ()))

    def restart(self, place: Place) -> None:
        """Forget what was fetched and given of a partition: it is read from another offset on."""
        self.drop(place)
        self.floors.pop(place, None)
