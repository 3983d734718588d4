"""The records that an order book gives: its diffs, whole books from time to time, and its best levels."""

from __future__ import annotations

import msgspec

from streamforge_utils.model.books.messages import END_MS, FIRST_MS, Texts
from streamforge_utils.model.books.numbers import text_of
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.kinds.kind import Number, Record, key_symbol

NumberLevels = list[tuple[Number, Number]]
"""Price and quantity of levels."""
ID_DIGITS = 12
TIME_DIGITS = 13


class Depth(Record, frozen=True, gc=False, kw_only=True):
    """A diff of an order book as it travels: absolute quantities, as the exchange's own text; 0: the level is gone.

    event_time: when the exchange made it, unix milliseconds. received_time: when it came, unix microseconds.
    connection: the number of the connection on which it came; two of them batch updates differently.
    """

    symbol: str
    first_update_id: int
    last_update_id: int
    event_time: int
    received_time: int
    connection: int
    bids: Texts
    asks: Texts


class StoredDepth(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A diff of an order book as it is stored and exported: prices and quantities are numbers."""

    symbol: str
    first_update_id: int
    last_update_id: int
    event_time: int
    received_time: int
    connection: int
    bids: NumberLevels
    asks: NumberLevels


class DepthCheckpoint(Record, frozen=True, gc=False, kw_only=True):
    """A whole verified order book as it travels: all levels that are known, best first.

    timestamp: of the last diff in it, unix milliseconds. known_low, known_high: prices beyond which bids and asks are
    not known; 0: all are.
    """

    symbol: str
    last_update_id: int
    timestamp: int
    known_low: str
    known_high: str
    bids: Texts
    asks: Texts


class StoredDepthCheckpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A whole verified order book as it is stored and exported: prices and quantities are numbers."""

    symbol: str
    last_update_id: int
    timestamp: int
    known_low: Number
    known_high: Number
    bids: NumberLevels
    asks: NumberLevels


class DepthTop(Record, frozen=True, gc=False, kw_only=True):
    """The best levels of a verified order book as they travel, best first. timestamp: of the last diff, unix ms."""

    symbol: str
    timestamp: int
    last_update_id: int
    bids: Texts
    asks: Texts


class StoredDepthTop(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The best levels of a verified order book as they are stored and exported: prices and quantities are numbers."""

    symbol: str
    timestamp: int
    last_update_id: int
    bids: NumberLevels
    asks: NumberLevels


def id_key(symbol: str, update_id: int) -> str:
    """The key of a record that an update identifies."""
    return f"{key_symbol(symbol)}_{update_id:0{ID_DIGITS}}"


def top_prefix(symbol: str) -> str:
    """What the keys of a symbol's best levels begin with; the time follows."""
    return f"{key_symbol(symbol)}_orderbook_"


def depth_template(symbol: str) -> bytes:
    """The JSON of a `Depth` for `%`: key, version, first id, last id, event time, received time, connection, and what
    follows `"bids":`."""
    return b"".join(
        (
            b'{"_key":"%b","_version":%d,"symbol":',
            msgspec.json.encode(symbol).replace(b"%", b"%%"),
            b',"first_update_id":%d,"last_update_id":%d,"event_time":%d,"received_time":%d,"connection":%d,"bids":%b',
        )
    )


def checkpoint_of(book: OrderBook, symbol: str, timestamp: int, version: int) -> DepthCheckpoint:
    """The record of a whole book."""
    bids, asks = book.levels()
    low, high = book.known_low, book.known_high
    return DepthCheckpoint(
        key=id_key(symbol, book.last_id),
        version=version,
        symbol=symbol,
        last_update_id=book.last_id,
        timestamp=timestamp,
        known_low=text_of(low or 0),
        known_high=text_of(high or 0),
        bids=bids,
        asks=asks,
    )


def book_of(checkpoint: DepthCheckpoint | StoredDepthCheckpoint) -> OrderBook:
    """The book that a checkpoint, as it travels or as it is stored, was taken of."""
    low, high = float(checkpoint.known_low), float(checkpoint.known_high)
    return OrderBook(
        checkpoint.last_update_id,
        [(float(price), float(quantity)) for price, quantity in checkpoint.bids],
        [(float(price), float(quantity)) for price, quantity in checkpoint.asks],
        low or None,
        high or None,
    )


def top_of(book: OrderBook, symbol: str, timestamp: int, version: int, count: int) -> DepthTop:
    """The record of a book's best levels."""
    bids, asks = book.top(count)
    key = f"{top_prefix(symbol)}{timestamp:0{TIME_DIGITS}}"
    return DepthTop(
        key=key,
        version=version,
        symbol=symbol,
        timestamp=timestamp,
        last_update_id=book.last_id,
        bids=bids,
        asks=asks,
    )


def refusal(time_ms: int, bids: NumberLevels, asks: NumberLevels, *, whole: bool) -> str | None:
    """Why a stored record can be none; None if it can. whole: its levels are those of a book, not changes."""
    if not FIRST_MS <= time_ms < END_MS:
        return f"its time {time_ms} is not in milliseconds (13 digits)"
    if any(price <= 0 for price, _ in (*bids, *asks)):
        return "a price is 0"
    if whole and any(quantity <= 0 for _, quantity in (*bids, *asks)):
        return "a quantity is 0"
    if whole and bids and asks and bids[0][0] >= asks[0][0]:
        return f"it is crossed: somebody bids {bids[0][0]} and asks {asks[0][0]}"
    return None
