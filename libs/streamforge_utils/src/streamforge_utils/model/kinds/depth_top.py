"""The best levels of order books, taken from time to time."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from typing import Any

from streamforge_utils.model.books.records import TIME_DIGITS, TOP, BookKind, DepthTop, StoredDepthTop, top_prefix
from streamforge_utils.model.series import Series

NOTES: Mapping[str, Mapping[str, Any]] = {
    "_key": {"description": "identity: SYMBOL_orderbook_TIME, unix milliseconds; also the message's key"},
    "_version": {"description": "when it was taken, unix milliseconds, UTC; a later observation wins"},
    "symbol": {"description": "as the exchange spells it"},
    "timestamp": {"description": "when the exchange made the last diff in the book, unix milliseconds, UTC"},
    "last_update_id": {
        "description": "the last update in the book; how good that is, says the `depth_interval` that has it",
        "minimum": 1,
    },
    "bids": {"description": "price and quantity of the best levels, highest price first"},
    "asks": {"description": "price and quantity of the best levels, lowest price first"},
}


class DepthTops(BookKind):
    """The best levels of verified order books of Binance Spot."""

    name = TOP
    record = DepthTop
    stored = StoredDepthTop
    position = "timestamp"
    digits = TIME_DIGITS
    notes = NOTES
    example = DepthTop(
        key="BTCUSDT_orderbook_1723161255408",
        version=1723161255421,
        symbol="BTCUSDT",
        timestamp=1723161255408,
        last_update_id=50093239224,
        bids=[("61837.63000000", "3.78826000"), ("61837.62000000", "0.61700000")],
        asks=[("61837.64000000", "1.92853000")],
    )

    @property
    def types(self) -> Ordered[str]:
        return ("ws_depth_top",)

    def prefix(self, series: Series) -> str:
        return top_prefix(series.symbol)


KIND = DepthTops()
