"""The bars of a graph's inputs, read from the store, as a panel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import numpy as np

from streamforge.analytics.graphs.order import GraphOrder
from streamforge.analytics.graphs.panel import Bars, Panel
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import DocumentStore

_AT_ONCE = 10_000


async def read_panel(store: DocumentStore, order: GraphOrder) -> Panel:
    """The bars that count for the order's snapshots.

    Raises PermanentError where fewer are stored than were proven, or one is no bar, and RetryableError.
    """
    span = order.seen
    found = {symbol: await _bars(store, order, symbol, segments, span) for symbol, segments in order.inputs.items()}
    return Panel.of(found, start_ms=span.start_ms, end_ms=span.end_ms, bar_ms=order.definition.bar_ms)


async def _bars(
    store: DocumentStore, order: GraphOrder, symbol: str, segments: Sequence[Segment], span: TimeRange
) -> Bars:
    times, closes, volumes = (np.empty(0, dtype=kind) for kind in (np.int64, np.float64, np.float64))
    parts = [(times, closes, volumes)]
    for one in segments:
        common = one.span.intersection(span)
        if one.verdict is not Verdict.STORED or common is None or one.collection is None:
            continue
        expected = len(order.definition.grid.times(common.start_ms, common.end_ms))
        read = [part async for part in _read(store, order, symbol, one.collection, common)]
        there = sum(len(part[0]) for part in read)
        if there != expected:
            raise PermanentError(
                f"{one.collection} holds {there:,} bars of {symbol} {order.type} {common}, and {expected:,} were "
                f"proven: count them with `streamforge coverage {symbol} {order.type} --verify`, load what lacks, retry"
            )
        parts += read
    return Bars(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


async def _read(
    store: DocumentStore, order: GraphOrder, symbol: str, collection: str, span: TimeRange
) -> AsyncIterator[tuple[Any, Any, Any]]:
    series = series_of(symbol, order.type)
    kind = kind_of(series)
    decode = _decoder(kind)
    first, last = kind.key_range(series, range(span.start_ms, span.end_ms))
    while True:
        page = await store.bodies(collection, first=first, last=last, limit=_AT_ONCE)
        if not page.count:
            return
        try:
            bars = decode(page.array)
        except DECODE_ERRORS as error:
            raise PermanentError(f"a document in {collection} behind {first} is no bar: {error}; remove it") from error
        yield (
            np.array([one.time for one in bars], dtype=np.int64),
            np.array([one.close for one in bars], dtype=np.float64),
            np.array([one.volume for one in bars], dtype=np.float64),
        )
        if page.count < _AT_ONCE:
            return
        first = page.last + "\x00"


def _decoder(kind: RecordKind) -> Any:
    """Reads of stored bars what counts for a graph."""
    stored_as = {"time": kind.time, "close": (kind.bar_fields or ("",) * 5)[3], "volume": kind.quote_volume}
    fields = [("time", int), ("close", float), ("volume", float)]
    bar = msgspec.defstruct("GraphBar", fields, rename=stored_as, gc=False)
    return msgspec.json.Decoder(list[bar]).decode  # type: ignore[valid-type]
