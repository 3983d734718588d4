"""Which part of a topic is read: where each partition begins and ends, and what ends the reading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from streamforge_utils.model.errors import InvalidInput

JSON_TYPE = "json"
"""The type of a workflow that stores the messages of a topic, whatever objects they are."""

COUNT_LIMIT = 10**15
PRODUCERS_LIMIT = 32
RANGES_LIMIT = 100
"""At most this many ranges of unread offsets are reported."""
_PRODUCER = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
_FORMS = "`end`, `stop`, `count:N` or `marker:PRODUCER[,PRODUCER]`"
_SHOWN = 80


class Until(msgspec.Struct, frozen=True):
    """What ends the reading of a topic; as a text `end`, `stop`, `count:N` or `marker:PRODUCER[,PRODUCER]`.

    end: the offsets that the topic ended at when the workflow began. stop: somebody stops it. count: so many messages
    were read, 0 otherwise. producers: each of them has marked the end of its stream.
    """

    text: str
    count: int = 0
    producers: tuple[str, ...] = ()

    setting_form = "end, stop, count:N or marker:PRODUCER"

    @classmethod
    def parse(cls, text: str) -> Until:
        """Read a text. Raises InvalidInput naming the forms there are."""
        word, _, rest = text.partition(":")
        if text in ("end", "stop"):
            return cls(text)
        if word == "count" and rest.isascii() and rest.isdigit() and 0 < int(rest[:20]) <= COUNT_LIMIT:
            return cls(f"count:{int(rest)}", count=int(rest))
        if word == "marker" and rest:
            producers = tuple(dict.fromkeys(rest.split(",")))
            if len(producers) <= PRODUCERS_LIMIT and all(map(_PRODUCER.fullmatch, producers)):
                return cls(f"marker:{','.join(producers)}", producers=producers)
        hint = "; name the producers whose end-of-stream marker ends it" if word == "marker" else ""
        raise InvalidInput("until", f"until {text[:_SHOWN]!r} is not one of {_FORMS}{hint}")

    @classmethod
    def parse_setting(cls, text: str) -> Until:
        """As `parse`."""
        return cls.parse(text)

    @property
    def is_end(self) -> bool:
        """Whether it ends where the topic ended at the beginning."""
        return self.text == "end"

    @property
    def is_stop(self) -> bool:
        """Whether it goes on until somebody stops it."""
        return self.text == "stop"

    def __str__(self) -> str:
        return self.text


class Upstream(msgspec.Struct, frozen=True):
    """A producer whose end-of-stream marker a sink waits for. attempt: the least that counts.

    ended: it had ended when the sink was started; an earlier attempt of the sink may have read its marker.
    """

    producer: str
    attempt: int = 1
    ended: bool = False

    setting_form = "TELEMETRY_ID:ATTEMPT[:ended]"

    @classmethod
    def parse_setting(cls, text: str) -> Upstream:
        """Read `TELEMETRY_ID[:ATTEMPT[:ended]]`."""
        producer, _, rest = text.partition(":")
        number, _, ended = rest.partition(":")
        number = number or "1"
        if not producer or not number.isdecimal() or int(number) < 1 or ended not in ("", "ended"):
            raise ValueError(f"{text[:80]!r} has not the form {cls.setting_form}")
        return cls(producer, int(number), ended == "ended")


class PartitionRange(msgspec.Struct, frozen=True):
    """The offsets of a partition from `first` to before `end`; as a text `PARTITION:FIRST:END`."""

    partition: int
    first: int
    end: int

    setting_form = "PARTITION:FIRST:END"

    @classmethod
    def parse_setting(cls, text: str) -> PartitionRange:
        """Read `PARTITION:FIRST:END`. Raises ValueError."""
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"{text[:_SHOWN]!r} has not the form PARTITION:FIRST:END")
        partition, first, end = map(int, parts)
        if end < first:
            raise ValueError(f"{text[:_SHOWN]!r} ends before it begins")
        return cls(partition, first, end)

    def __str__(self) -> str:
        return f"{self.partition}:{self.first}:{self.end}"

    def __len__(self) -> int:
        return self.end - self.first


def partition_ranges(offsets: Mapping[int, tuple[int, int]]) -> tuple[PartitionRange, ...]:
    """The ranges of a topic, by partition."""
    return tuple(PartitionRange(number, *offsets[number]) for number in sorted(offsets))


def union(ranges: Iterable[PartitionRange], *, most: int | None = RANGES_LIMIT) -> tuple[PartitionRange, ...]:
    """The same offsets in ranges that are sorted and do not touch; the first `most`, or all."""
    found: list[PartitionRange] = []
    for one in sorted(ranges, key=lambda one: (one.partition, one.first)):
        if found and found[-1].partition == one.partition and one.first <= found[-1].end:
            found[-1] = PartitionRange(one.partition, found[-1].first, max(found[-1].end, one.end))
        elif one:
            found.append(one)
    return tuple(found[:most])


def total(ranges: Iterable[PartitionRange]) -> int:
    """How many offsets the ranges hold."""
    return sum(map(len, ranges))
