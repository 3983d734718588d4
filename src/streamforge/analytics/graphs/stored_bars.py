"""The bars of a graph's inputs, read from the store, as a panel."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.panel import Bars, Panel, PanelColumns
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import RecordStore

_AT_ONCE = 10_000
_COLUMNS = ("time", "close", "volume")
_WITH_OPENS = (*_COLUMNS, "open")


def _nobody(count: int) -> None:
    """Do nothing."""


class BarOrder(Protocol):
    """What is read of an order. seen: the range of the bars; definition: of the graph, which knows their grid."""

    @property
    def type(self) -> str: ...

    @property
    def definition(self) -> GraphDefinition: ...

    @property
    def inputs(self) -> dict[str, list[Segment]]: ...

    @property
    def seen(self) -> TimeRange: ...


async def read_bars(store: RecordStore, order: BarOrder, tell: Callable[[int], None] = _nobody) -> dict[str, Bars]:
    """The bars that the order sees, with opens, by symbol. tell: is given how many series are read. Raises as
    `read_panel`."""
    bars: dict[str, Bars] = {}
    for symbol, runs in order.inputs.items():
        tell(len(bars))
        bars[symbol] = await _bars(store, order, symbol, runs, _WITH_OPENS)
    _require_enough(order, {symbol: len(own.times) for symbol, own in bars.items()})
    return bars


async def read_panel(store: RecordStore, order: BarOrder, tell: Callable[[int], None] = _nobody) -> Panel:
    """The bars that count for the order's snapshots. tell: is given how many series are read.

    Raises PermanentError where fewer are stored than were proven, or one is no bar, and RetryableError.
    """
    span = order.seen
    columns = PanelColumns(order.inputs, start_ms=span.start_ms, end_ms=span.end_ms, bar_ms=order.definition.bar_ms)
    counts: dict[str, int] = {}
    for symbol, segments in order.inputs.items():
        tell(len(counts))
        bars = await _bars(store, order, symbol, segments, _COLUMNS)
        counts[symbol] = len(bars.times)
        columns.take(symbol, bars)
    _require_enough(order, counts)
    return columns.panel()


def _require_enough(order: BarOrder, counts: Mapping[str, int]) -> None:
    """Raises PermanentError where no coin has as many bars as a pair needs: no snapshot would have an edge."""
    definition = order.definition
    least = math.ceil(definition.min_overlap * definition.window) + 1
    most = max(counts, key=lambda symbol: (counts[symbol], symbol), default="no coin")
    if counts.get(most, 0) < least:
        raise PermanentError(
            f"a window of {definition.window:,} returns asks for {least:,} bars of a coin, and {most} has most of all "
            f"in {order.seen}: {counts.get(most, 0):,} of {order.type}; choose a shorter window, or a time range of "
            "which there are more bars"
        )


async def _bars(
    store: RecordStore, order: BarOrder, symbol: str, segments: Sequence[Segment], columns: Sequence[str]
) -> Bars:
    span = order.seen
    parts: list[tuple[Any, ...]] = [tuple(np.empty(0, dtype=_kind(name)) for name in columns)]
    for one in segments:
        common = one.span.intersection(span)
        if one.verdict is not Verdict.STORED or common is None or one.collection is None:
            continue
        expected = len(order.definition.grid.times(common.start_ms, common.end_ms))
        read = [part async for part in _read(store, order, symbol, one.collection, common, columns)]
        there = sum(len(part[0]) for part in read)
        if there != expected:
            raise PermanentError(
                f"{one.collection} holds {there:,} bars of {symbol} {order.type} {common}, and {expected:,} were "
                f"proven: count them with `streamforge coverage {symbol} {order.type} --verify`, load what lacks, retry"
            )
        parts += read
    return Bars(*(np.concatenate(values) for values in zip(*parts, strict=True)))


async def _read(
    store: RecordStore, order: BarOrder, symbol: str, collection: str, span: TimeRange, columns: Sequence[str]
) -> AsyncIterator[tuple[Any, ...]]:
    series = series_of(symbol, order.type)
    kind = kind_of(series)
    prices = kind.bar_fields or ("",) * 5
    stored_as = {"time": kind.time, "close": prices[3], "volume": kind.quote_volume, "open": prices[0]}
    names = [*(stored_as[name] for name in columns), kind.position]
    left = range(span.start_ms, span.end_ms)
    while bars := await store.values(collection, series, left, names, limit=_AT_ONCE):
        *values, positions = zip(*bars, strict=True)
        yield tuple(np.array(some, _kind(name)) for name, some in zip(columns, values, strict=True))
        if len(bars) < _AT_ONCE:
            return
        left = range(positions[-1] + 1, left.stop)


def _kind(column: str) -> type:
    return np.int64 if column == "time" else np.float64
