"""The bars of a graph's inputs, read from the store, as a panel."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import numpy as np

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.panel import Bars, Panel, PanelColumns
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

_AT_ONCE = 10_000
_COLUMNS = ("time", "close", "volume")
_WITH_OPENS = (*_COLUMNS, "open")


def _nobody(count: int) -> None:
    """Tell nobody."""


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


async def read_bars(store: DocumentStore, order: BarOrder, tell: Callable[[int], None] = _nobody) -> dict[str, Bars]:
    """The bars that the order sees, with opens, by symbol. tell: is given how many series are read. Raises as
    `read_panel`."""
    bars: dict[str, Bars] = {}
    for symbol, runs in order.inputs.items():
        tell(len(bars))
        bars[symbol] = await _bars(store, order, symbol, runs, _WITH_OPENS)
    _require_enough(order, {symbol: len(own.times) for symbol, own in bars.items()})
    return bars


async def read_panel(store: DocumentStore, order: BarOrder, tell: Callable[[int], None] = _nobody) -> Panel:
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
    store: DocumentStore, order: BarOrder, symbol: str, segments: Sequence[Segment], columns: Sequence[str]
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
    store: DocumentStore, order: BarOrder, symbol: str, collection: str, span: TimeRange, columns: Sequence[str]
) -> AsyncIterator[tuple[Any, ...]]:
    series = series_of(symbol, order.type)
    kind = kind_of(series)
    decode = _decoder(kind, columns)
    first, last = kind.key_range(series, range(span.start_ms, span.end_ms))
    while True:
        page = await store.bodies(collection, first=first, last=last, limit=_AT_ONCE)
        if not page.count:
            return
        try:
            bars = decode(page.array)
        except DECODE_ERRORS as error:
            key = await _first_bad(store, collection, first, last, decode)
            raise PermanentError(
                f"document {key} in {collection} is no bar of {symbol} {order.type} ({error}): remove it, and load "
                "what it stands for"
            ) from error
        yield tuple(np.fromiter(map(attrgetter(name), bars), _kind(name), len(bars)) for name in columns)
        if page.count < _AT_ONCE:
            return
        first = page.last + "\x00"


async def _first_bad(store: DocumentStore, collection: str, first: str, last: str, decode: Any) -> str:
    """The key of the first document that is no bar."""
    for one in await store.read(collection, first=first, last=last, limit=_AT_ONCE):
        try:
            decode(b"[" + one.body + b"]")
        except DECODE_ERRORS:
            return one.key
    return f"behind {first}"


def _kind(column: str) -> type:
    return np.int64 if column == "time" else np.float64


def _decoder(kind: RecordKind, columns: Sequence[str]) -> Any:
    """Reads of stored bars what counts for a graph."""
    prices = kind.bar_fields or ("",) * 5
    stored_as = {"time": kind.time, "close": prices[3], "volume": kind.quote_volume, "open": prices[0]}
    fields = [(name, int if name == "time" else float) for name in columns]
    bar = msgspec.defstruct("GraphBar", fields, rename={name: stored_as[name] for name in columns}, gc=False)
    return msgspec.json.Decoder(list[bar]).decode  # type: ignore[valid-type]
