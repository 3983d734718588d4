"""Which dead letters a sink reads again: all that are there, or chosen ones, which leave the others where they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from streamforge_utils.model.topic_reading import PartitionRange, union
from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.life.environment import variable


class LetterPlace(msgspec.Struct, frozen=True, order=True):
    """Where the record of a dead letter came from: it names the letter, also once that was refused again."""

    topic: str
    partition: int
    offset: int


class ReplaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the input is a topic of dead letters, and true if it is. letters: those that are meant; none: all.

    passed: those that an earlier replay of chosen ones has read.
    """

    on: Annotated[
        bool,
        variable(
            "STREAMFORGE_REPLAY",
            "read `KAFKA_TOPIC`, a topic of dead letters, to where it ends at the start; no upstream is needed then",
            only="input",
        ),
    ] = False
    letters: Annotated[
        tuple[PartitionRange, ...],
        variable(
            "STREAMFORGE_REPLAY_LETTERS",
            "with `STREAMFORGE_REPLAY`: the offsets of those that are stored; the others stay where they are",
            only="input",
            default="all",
        ),
    ] = ()
    passed: Annotated[
        tuple[PartitionRange, ...],
        variable(
            "STREAMFORGE_REPLAY_PASSED",
            "with `STREAMFORGE_REPLAY`: the offsets of those that are passed over, as they were replayed",
            only="input",
            default="none",
        ),
    ] = ()

    def __bool__(self) -> bool:
        return self.on


class Offsets:
    """Offsets of the partitions of a topic. ranges: the same, sorted, that do not touch."""

    def __init__(self, ranges: Iterable[PartitionRange] = ()) -> None:
        self.ranges = union(ranges, most=None)
        self._begins = [(one.partition, one.first) for one in self.ranges]

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def holds(self, partition: int, offset: int) -> bool:
        """Whether the offset is one of them."""
        at = bisect_right(self._begins, (partition, offset)) - 1
        return at >= 0 and self.ranges[at].partition == partition and offset < self.ranges[at].end


class Choice:
    """What a sink does with the messages of its input; only of a replay it stores some of them alone.

    target: of the sink. What another sink of the workflow has refused is that one's to replay.
    """

    def __init__(self, settings: ReplaySettings, target: str) -> None:
        self._on = settings.on
        self._chosen = Offsets(settings.letters)
        self._passed = Offsets(settings.passed)
        self._target = target
        self._staying = set[int]()

    def wanted(self, received: Sequence[Received]) -> Sequence[Received]:
        """Those that are to be stored."""
        if not self._on:
            return received
        return [one for one in received if self._is_meant(one) and self._is_own(one)]

    def settled(self, received: Sequence[Received]) -> Sequence[Received]:
        """Those that no later replay has to read: of each partition the ones before the first that stays.

        To be called once for each batch, in their order.
        """
        if not self._chosen:
            return received
        found = list[Received]()
        for one in received:
            if not (self._is_meant(one) or self._passed.holds(one.partition, one.offset)):
                self._staying.add(one.partition)
            if one.partition not in self._staying:
                found.append(one)
        return found

    def _is_meant(self, one: Received) -> bool:
        if self._passed.holds(one.partition, one.offset):
            return False
        return not self._chosen or self._chosen.holds(one.partition, one.offset)

    def _is_own(self, one: Received) -> bool:
        target = dict(one.headers).get("target")
        return target is None or target.decode(errors="replace") == self._target


def place_of(letter: Received) -> LetterPlace:
    """The place of a dead letter; its own where it does not tell."""
    headers = dict(letter.headers)
    topic = headers.get("topic", letter.topic.encode()).decode(errors="replace")
    return LetterPlace(
        topic, _number(headers, "partition", letter.partition), _number(headers, "offset", letter.offset)
    )


def _number(headers: dict[str, bytes], name: str, otherwise: int) -> int:
    text = headers.get(name, b"")
    return int(text) if text.isdigit() else otherwise
