"""What the exchange says about an order book: diffs and best prices on streams, snapshots in answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge_utils.model.decimal_texts import ZERO, is_exact, is_number
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.messages import DECODE_ERRORS

Price = Annotated[float, msgspec.Meta(gt=0, le=1e15)]
Quantity = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
Levels = list[tuple[Price, Quantity]]
Texts = list[tuple[str, str]]

FIRST_MS, END_MS = 1_000_000_000_000, 10_000_000_000_000
"""Times have 13 digits: milliseconds since 2001-09-09."""

_MOST_UPDATES = 10_000_000
_MARK = b'"e":"depthUpdate"'
_BIDS, _ASKS = b',"b":[', b'],"a":['


class DepthDiff(msgspec.Struct, frozen=True, gc=False):
    """Absolute quantities of the levels that changed with the updates `first_id` to `last_id`; 0: the level is gone.

    time_ms: when the exchange made the message.
    """

    time_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: Levels = msgspec.field(name="b")
    asks: Levels = msgspec.field(name="a")


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    """The best prices right after an update; 0: there is none."""

    id: int = msgspec.field(name="u")
    symbol: str = msgspec.field(name="s")
    bid: Quantity = msgspec.field(name="b")
    bid_quantity: Quantity = msgspec.field(name="B")
    ask: Quantity = msgspec.field(name="a")
    ask_quantity: Quantity = msgspec.field(name="A")


class DepthSnapshot(msgspec.Struct, frozen=True, gc=False):
    """The best levels of a book right after the update `last_id`. limit: so many a side were asked for, at most."""

    last_id: int
    bids: Levels
    asks: Levels
    limit: int


class _Diff(msgspec.Struct, frozen=True, gc=False):
    data: DepthDiff


class _Ticker(msgspec.Struct, frozen=True, gc=False):
    data: BookTicker
    stream: str


class _Texts(msgspec.Struct, frozen=True, gc=False):
    bids: Texts = msgspec.field(name="b")
    asks: Texts = msgspec.field(name="a")


class _TextsOfDiff(msgspec.Struct, frozen=True, gc=False):
    data: _Texts


class _Snapshot(msgspec.Struct, frozen=True, gc=False):
    last_id: int = msgspec.field(name="lastUpdateId")
    bids: Texts
    asks: Texts


_read_diff = msgspec.json.Decoder(_Diff, strict=False).decode
_read_ticker = msgspec.json.Decoder(_Ticker, strict=False).decode
_read_texts = msgspec.json.Decoder(_TextsOfDiff).decode
_read_snapshot = msgspec.json.Decoder(_Snapshot).decode
_encode = msgspec.json.Encoder().encode


def read_message(payload: bytes) -> DepthDiff | BookTicker | None:
    """A message of the combined form; None: it is neither. What else a diff must be, `checked` tells.

    Raises PermanentError for one of them that cannot be read.
    """
    try:
        if _MARK in payload:
            return _read_diff(payload).data
        if b"@bookTicker" in payload:
            return _read_ticker(payload).data
    except DECODE_ERRORS as error:
        raise PermanentError(f"not a message about an order book: {error}") from error
    return None


def checked(payload: bytes, diff: DepthDiff) -> bytes:
    """Of the JSON of a record what follows `"bids":`, verbatim: `[["1.0","2.0"]],"asks":[]}`.

    That a price is not on the symbol's step says nothing: orders from before the step was changed stay in the book.
    Raises PermanentError naming what cannot be true.
    """
    if not FIRST_MS <= diff.time_ms < END_MS:
        raise PermanentError(f"the time {diff.time_ms} is not in milliseconds (13 digits)")
    if not 0 < diff.first_id <= diff.last_id:
        raise PermanentError(f"the updates {diff.first_id} to {diff.last_id} are none")
    if diff.last_id - diff.first_id > _MOST_UPDATES:
        raise PermanentError(f"the updates {diff.first_id} to {diff.last_id} are too many for one message")
    find = payload.find  # a byte is found several times faster than a text of some
    bids = find(_BIDS) + len(_BIDS) - 1
    asks = find(b":", bids)
    is_usual = (
        bids >= len(_BIDS)
        and payload.startswith(_ASKS, asks - 5)
        and find(b":", asks + 1) < 0  # so there is nothing else between or behind them
        and find(b"}") == len(payload) - 2  # nor do they belong to another object
        and find(b"e", bids) < 0  # nor is there a number as others write it: 1e5
        and find(b"E", bids) < 0
    )
    if is_usual:
        return payload[bids : asks - 4] + b',"asks":' + payload[asks + 1 : -1]
    # Written in another way, or wrong: it takes longer to tell which.
    texts = _read_texts(payload).data
    for side in (texts.bids, texts.asks):
        _check(side)
    return _encode(texts.bids) + b',"asks":' + _encode(texts.asks) + b"}"


def read_snapshot(body: bytes, limit: int) -> DepthSnapshot:
    """An answer to GET /api/v3/depth with that limit. Raises PermanentError naming what cannot be true."""
    try:
        found = _read_snapshot(body)
    except DECODE_ERRORS as error:
        raise PermanentError(f"not a snapshot of an order book: {error}") from error
    sides = [found.bids, found.asks]
    for side in sides:
        _check(side)
        if any(quantity <= ZERO for _, quantity in side):
            raise PermanentError("a level of the snapshot has no quantity")
        if not all(is_exact(price) for price, _ in side):
            raise PermanentError("prices of the snapshot have more than 15 digits, which are not told apart")
    bids, asks = ([(float(price), float(quantity)) for price, quantity in side] for side in sides)
    if bids and asks and max(bids)[0] >= min(asks)[0]:
        raise PermanentError(f"the snapshot is crossed: somebody bids {max(bids)[0]} and asks {min(asks)[0]}")
    return DepthSnapshot(found.last_id, bids, asks, limit)


def _check(levels: Texts) -> None:
    for price, quantity in levels:
        if not is_number(price) or price <= ZERO or not is_number(quantity):
            raise PermanentError(f"the level {price[:40]!r}, {quantity[:40]!r} is not a price and a quantity")
