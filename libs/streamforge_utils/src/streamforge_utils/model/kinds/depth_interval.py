"""The ledger of order books: which diffs came without a break, and how far each can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from typing import Any

from streamforge_utils.model.books.book_messages import END_MS, FIRST_MS
from streamforge_utils.model.books.records import INTERVAL, DepthInterval, StoredDepthInterval, interval_prefix
from streamforge_utils.model.books.trust import Trust
from streamforge_utils.model.completeness.continuity import Continuity
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.series import Series

NOTES: Mapping[str, Mapping[str, Any]] = {
    "_key": {"description": "identity: SYMBOL_interval_ID, of the first update, 12 digits; also the message's key"},
    "_version": {"description": "when it was told, unix milliseconds, UTC; a later one wins: it goes on, or ended"},
    "symbol": {"description": "as the exchange spells it"},
    "first_update_id": {"description": "of its first diff", "minimum": 1},
    "last_update_id": {"description": "of its last diff so far", "minimum": 1},
    "start_time": {"description": "unix milliseconds, UTC; where it follows another one, the end of that"},
    "end_time": {"description": "a millisecond after its last diff, unix milliseconds, UTC"},
    "trust": {"description": "of the book behind each of its diffs"},
    "why": {"description": "why it is not verified; empty if it is"},
    "anchor_id": {"description": "`lastUpdateId` of the snapshot that verifies it"},
    "messages": {"description": "its diffs", "minimum": 1},
    "cause": {"description": "why the diffs behind it are missing; empty: none are, or it goes on"},
}


class DepthIntervals(RecordKind):
    """What loaders of Binance Spot's order books have to say of their diffs."""

    name = INTERVAL
    record = DepthInterval
    stored = StoredDepthInterval
    position = "first_update_id"
    time = "start_time"
    times = ("start_time", "end_time")
    is_ledger = True
    indexes = (("start_time",),)
    notes = NOTES
    example = DepthInterval(
        key="BTCUSDT_interval_050093239208",
        version=1723161265421,
        symbol="BTCUSDT",
        first_update_id=50093239208,
        last_update_id=50093241377,
        start_time=1723161255408,
        end_time=1723161265409,
        trust=Trust.VERIFIED,
        why="",
        anchor_id=50093239201,
        messages=100,
        cause="",
    )

    @property
    def types(self) -> Ordered[str]:
        return ("ws_depth_interval",)

    def prefix(self, series: Series) -> str:
        return interval_prefix(series.symbol)

    def refusal(self, record: Any) -> str | None:
        if not FIRST_MS <= record.start_time < record.end_time <= END_MS:
            return f"its times {record.start_time} to {record.end_time} are none in milliseconds (13 digits)"
        if not 0 < record.first_update_id <= record.last_update_id:
            return f"its updates {record.first_update_id} to {record.last_update_id} are none"
        return None

    def rule(self, series: Series) -> Rule:
        return Continuity()


KIND = DepthIntervals()
