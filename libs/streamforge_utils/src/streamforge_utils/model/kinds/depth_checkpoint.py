"""Whole order books, taken from time to time: with the diffs behind it, each rebuilds the book of a later moment."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from typing import Any

from streamforge_utils.model.books.records import (
    CHECKPOINT,
    BookKind,
    DepthCheckpoint,
    StoredDepthCheckpoint,
    checkpoint_prefix,
)
from streamforge_utils.model.series import Series

NOTES: Mapping[str, Mapping[str, Any]] = {
    "_key": {"description": "identity: SYMBOL_checkpoint_ID, of the last update, 12 digits; also the message's key"},
    "_version": {"description": "when it was taken, unix milliseconds, UTC; a later observation wins"},
    "symbol": {"description": "as the exchange spells it"},
    "last_update_id": {
        "description": "the last update in the book; how good that is, says the `depth_interval` that has it",
        "minimum": 1,
    },
    "timestamp": {"description": "when the exchange made the last diff in the book, unix milliseconds, UTC"},
    "known_low": {"description": "no bid below this price is known; 0: all bids are"},
    "known_high": {"description": "no ask above this price is known; 0: all asks are"},
    "bids": {"description": "price and quantity of each level that is known, highest price first"},
    "asks": {"description": "price and quantity of each level that is known, lowest price first"},
}


class DepthCheckpoints(BookKind):
    """Verified order books of Binance Spot, whole as far as they are known."""

    name = CHECKPOINT
    record = DepthCheckpoint
    stored = StoredDepthCheckpoint
    position = "last_update_id"
    notes = NOTES
    example = DepthCheckpoint(
        key="BTCUSDT_checkpoint_050093239224",
        version=1723161255421,
        symbol="BTCUSDT",
        last_update_id=50093239224,
        timestamp=1723161255408,
        known_low="61631.55000000",
        known_high="0.00000000",
        bids=[("61837.63000000", "3.78826000"), ("61837.62000000", "0.61700000")],
        asks=[("61837.64000000", "1.92853000")],
    )

    @property
    def types(self) -> Ordered[str]:
        return ("ws_depth_checkpoint",)

    def prefix(self, series: Series) -> str:
        return checkpoint_prefix(series.symbol)


KIND = DepthCheckpoints()
