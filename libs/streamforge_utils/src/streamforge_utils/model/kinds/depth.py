"""Diffs of order books: what changed of a book, by the ids of its updates; each begins where the one before ended."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from typing import Any

from streamforge_utils.model.books.records import DIFF, TYPE, Depth, StoredDepth, refusal
from streamforge_utils.model.books.segments import FOLDER
from streamforge_utils.model.books.stored_intervals import BookIntervals
from streamforge_utils.model.books.streams import BookStreams
from streamforge_utils.model.completeness.continuity import Continuity
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.snapshots import Snapshots
from streamforge_utils.model.series import Series

WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
"""Up to so many levels a snapshot has this request weight."""
OLDER = frozenset(("ws_depth", "ws_diff_depth"))
"""What the first generation calls it, too."""


class DepthSnapshots(Snapshots):
    """Binance Spot's GET /api/v3/depth: at most `limit` levels a side."""

    path = "/api/v3/depth"
    most = 5000

    def weight(self, limit: int) -> int:
        return next((weight for levels, weight in WEIGHTS if limit <= levels), WEIGHTS[-1][1])

    def parameters(self, series: Series, limit: int) -> dict[str, str]:
        return {"symbol": series.symbol, "limit": str(limit)}


NOTES: Mapping[str, Mapping[str, Any]] = {
    "_key": {"description": "identity: SYMBOL_ID, the id of the last update with 12 digits; also the message's key"},
    "_version": {"description": "when the message came, unix milliseconds, UTC; a later observation wins"},
    "symbol": {"description": "as the exchange spells it"},
    "first_update_id": {"description": "at most one more than the last id of the message before", "minimum": 1},
    "last_update_id": {"description": "ids ascend within a symbol", "minimum": 1},
    "event_time": {"description": "when the exchange made the message, unix milliseconds, UTC"},
    "received_time": {"description": "when it came, unix microseconds, UTC, by the loader's clock"},
    "connection": {"description": "number of the loader's connection on which it came; 0: not known"},
    "bids": {"description": "price and new quantity of each level that changed; 0: the level is gone"},
    "asks": {"description": "price and new quantity of each level that changed; 0: the level is gone"},
}


class DepthDiffs(RecordKind):
    """Diffs of Binance Spot's order books."""

    name = DIFF
    record = Depth
    stored = StoredDepth
    position = "last_update_id"
    time = "event_time"
    times = ("event_time",)
    indexes = (("event_time",),)
    streaming = BookStreams()
    snapshots = DepthSnapshots()
    intervals = BookIntervals()
    segments = FOLDER
    notes = NOTES
    example = Depth(
        key="BTCUSDT_050093239224",
        version=1723161255421,
        symbol="BTCUSDT",
        first_update_id=50093239208,
        last_update_id=50093239224,
        event_time=1723161255408,
        received_time=1723161255421307,
        connection=1,
        bids=[("61837.63000000", "3.78826000"), ("61820.99000000", "0.00000000")],
        asks=[("61838.04000000", "0.32332000")],
    )

    @property
    def types(self) -> Ordered[str]:
        return (TYPE,)

    def interval_of(self, type_name: str) -> str | None:
        return "" if type_name == TYPE or type_name in OLDER else None

    def normal_type(self, type_name: str) -> str:
        return TYPE

    def refusal(self, record: Any) -> str | None:
        if not 0 < record.first_update_id <= record.last_update_id:
            return f"its updates {record.first_update_id} to {record.last_update_id} are none"
        return refusal(record.event_time, record.bids, record.asks, whole=False)

    def rule(self, series: Series) -> Rule:
        return Continuity()


KIND = DepthDiffs()
