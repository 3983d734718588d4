"""A graph is made and kept in parts of a day or a month: what a part sees tells whether it has to be made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from streamforge.analytics.graphs.definition import CODE_VERSION, GraphDefinition

if TYPE_CHECKING:
    from streamforge.analytics.graphs.panel import Panel

_DAY_MS = 86_400_000


class Partition(msgspec.Struct, frozen=True):
    """A part of a graph. name: the UTC day or month of its snapshots. times: their moments, one at least."""

    name: str
    times: tuple[int, ...]


def partitions(definition: GraphDefinition, start_ms: int, end_ms: int) -> Iterator[Partition]:
    """The parts whose snapshots lie in the half-open range, ascending: of days, or of months where no day has two."""
    form = "%Y-%m-%d" if definition.step_ms < _DAY_MS else "%Y-%m"

    def name(time_ms: int) -> str:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(form)

    for found, times in groupby(definition.snapshot_times(start_ms, end_ms), name):
        yield Partition(found, tuple(times))


def partition_id(definition: GraphDefinition, partition: Partition, panel: Panel) -> str:
    """A hash of all that the part is made of: equal ids, equal bytes."""
    first, last = partition.times[0], partition.times[-1]
    seen = hashlib.sha256(msgspec.json.encode([CODE_VERSION, partition.times]))
    seen.update(definition.canonical())
    panel.add_to(seen, definition.first_seen_ms(first), last)
    return seen.hexdigest()
