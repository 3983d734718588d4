"""The records that an order book gives: its diffs, whole books from time to time, its best levels, and the ledger."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge_utils.model.books.book_messages import END_MS, FIRST_MS, DepthDiff, Texts
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.trust import BookInterval, Trust
from streamforge_utils.model.completeness.continuity import Continuity
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.decimal_texts import text_of
from streamforge_utils.model.kinds.kind import Number, Record, RecordKind, key_symbol
from streamforge_utils.model.series import Series

NumberLevels = list[tuple[Number, Number]]
"""Price and quantity of levels."""
TYPE = "ws_orderbook"
DIFF, CHECKPOINT, TOP, INTERVAL = "depth", "depth_checkpoint", "depth_top", "depth_interval"
"""The kinds of what a loader of it publishes: names, as their modules import this one."""
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


class StoredDepthInterval(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An entry of the ledger: diffs without a break, of one trust, by the ids of the first and the last update.

    start_time, end_time: of its diffs, unix milliseconds, half-open. why: they are not verified; empty if they are.
    anchor_id: of the snapshot that verifies them. messages: how many diffs. cause: why the chain ended; empty: another
    interval follows, or it goes on.
    """

    symbol: str
    first_update_id: int
    last_update_id: int
    start_time: int
    end_time: int
    trust: Trust
    why: str
    anchor_id: int | None
    messages: int
    cause: str


class DepthInterval(Record, frozen=True, gc=False, kw_only=True):
    """An entry of the ledger as it travels. An open entry is sent again as it grows: the later version counts."""

    symbol: str
    first_update_id: int
    last_update_id: int
    start_time: int
    end_time: int
    trust: Trust
    why: str
    anchor_id: int | None
    messages: int
    cause: str


def id_key(symbol: str, update_id: int) -> str:
    """The key of a record that an update identifies."""
    return f"{key_symbol(symbol)}_{update_id:0{ID_DIGITS}}"


def top_prefix(symbol: str) -> str:
    """What the keys of a symbol's best levels begin with; the time follows."""
    return f"{key_symbol(symbol)}_orderbook_"


def checkpoint_prefix(symbol: str) -> str:
    """What the keys of a symbol's whole books begin with; the id of the last update follows."""
    return f"{key_symbol(symbol)}_checkpoint_"


def interval_prefix(symbol: str) -> str:
    """What the keys of a symbol's ledger begin with; the id of the first update follows."""
    return f"{key_symbol(symbol)}_interval_"


def kind_name_of(key: bytes) -> str:
    """The kind of the record of an order book that has this key: they share a topic and a collection."""
    word = key.rpartition(b"_")[0].rpartition(b"_")[2]
    return _KINDS.get(word, DIFF)


_KINDS = {b"orderbook": TOP, b"checkpoint": CHECKPOINT, b"interval": INTERVAL}


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
        key=f"{checkpoint_prefix(symbol)}{book.last_id:0{ID_DIGITS}}",
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


def diff_of(record: Depth | StoredDepth) -> DepthDiff:
    """The diff that a record, as it travels or as it is stored, was made of."""
    bids, asks = ([(float(price), float(quantity)) for price, quantity in side] for side in (record.bids, record.asks))
    return DepthDiff(record.event_time, record.symbol, record.first_update_id, record.last_update_id, bids, asks)


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


def interval_record(interval: BookInterval, symbol: str, version: int) -> DepthInterval:
    """The record of an entry of the ledger."""
    return DepthInterval(
        key=f"{interval_prefix(symbol)}{interval.first_id:0{ID_DIGITS}}",
        version=version,
        symbol=symbol,
        first_update_id=interval.first_id,
        last_update_id=interval.last_id,
        start_time=interval.start_ms,
        end_time=interval.end_ms,
        trust=interval.trust,
        why=interval.why,
        anchor_id=interval.anchor_id,
        messages=interval.messages,
        cause=interval.cause,
    )


def interval_of(record: DepthInterval | StoredDepthInterval) -> BookInterval:
    """The entry of the ledger that a record, as it travels or as it is stored, was made of."""
    return BookInterval(
        first_id=record.first_update_id,
        last_id=record.last_update_id,
        start_ms=record.start_time,
        end_ms=record.end_time,
        trust=record.trust,
        why=record.why,
        anchor_id=record.anchor_id,
        messages=record.messages,
        cause=record.cause,
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


class BookKind(RecordKind):
    """What the kinds share whose records are books, whole or in part, at the moment of a diff."""

    time = "timestamp"
    times = ("timestamp",)
    indexes = (("timestamp",),)

    def refusal(self, record: Any) -> str | None:
        return refusal(record.timestamp, record.bids, record.asks, whole=True)

    def rule(self, series: Series) -> Rule:
        return Continuity()
