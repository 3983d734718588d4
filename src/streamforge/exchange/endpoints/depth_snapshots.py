"""GET /api/v3/depth and ticker/bookTicker: a snapshot of an order book, and its best levels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from streamforge.exchange.book_faults import spoilt_snapshot
from streamforge.exchange.books import NO_LEVEL, BookState
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.endpoint import Call, Endpoint
from streamforge.exchange.exchange_requests import ApiError, limit_of, read_parameters, symbol_of
from streamforge.exchange.fault_kind import Fault
from streamforge_utils.model.timeranges import format_ms

_LEVELS, _MOST_LEVELS = 100, 5_000
_WEIGHTS = ((100, 5), (500, 25), (1_000, 50))
_MOST_WEIGHT = 250
_EMPTY = BookState(0, 0, (), ())


class Depth(Endpoint):
    """A snapshot: the best levels, and the id of the last update in them; none of a book that is doubtful."""

    paths = ("depth",)

    def cost(self, query: Mapping[str, str]) -> int:
        try:
            levels = limit_of(query, _LEVELS, _MOST_LEVELS)
        except ApiError:
            levels = _LEVELS
        return next((weight for most, weight in _WEIGHTS if levels <= most), _MOST_WEIGHT)

    def answer(self, call: Call) -> bytes:
        sent = read_parameters(call.query, ("symbol", "limit"))
        spec = call.symbols[symbol_of(sent, call.symbols)]
        levels, book = limit_of(sent, _LEVELS, _MOST_LEVELS), call.book(spec)
        if book is not None and (doubt := book.doubt(call.now_ms)):
            raise ApiError(-1001, spec.symbol, format_ms(call.now_ms), doubt, status=503)
        found = _snapshot(call, spec, levels, call.snapshot_faults)
        return msgspec.json.encode({"lastUpdateId": found.update_id, "bids": found.bids, "asks": found.asks})


class BookTicker(Endpoint):
    """The best levels of one symbol, of some, or of all."""

    paths = ("ticker/bookTicker",)

    def cost(self, query: Mapping[str, str]) -> int:
        return 2 if "symbol" in query else 4

    def answer(self, call: Call) -> bytes:
        sent = read_parameters(call.query, ("symbol", "symbols"))
        if "symbol" in sent:
            return msgspec.json.encode(_best(call, call.symbols[symbol_of(sent, call.symbols)]))
        names = _names(sent["symbols"], call.symbols) if "symbols" in sent else call.symbols
        return msgspec.json.encode([_best(call, call.symbols[name]) for name in names])


def _snapshot(call: Call, spec: SymbolSpec, levels: int, faults: Iterable[Fault] = ()) -> BookState:
    """The book as it is now; empty: it is not traded."""
    book = None if spec.status == "BREAK" and not _trades(spec, call.now_ms) else call.book(spec)
    return _EMPTY if book is None else spoilt_snapshot(book, call.now_ms, levels, faults)


def _trades(spec: SymbolSpec, now_ms: int) -> bool:
    """Whether a delisted symbol has not come to its end yet."""
    return spec.delisted_ms is not None and now_ms < spec.delisted_ms


def _best(call: Call, spec: SymbolSpec) -> Mapping[str, str]:
    book = call.book(spec)
    found = _snapshot(call, spec, 1) if book is not None and not book.doubt(call.now_ms) else _EMPTY
    (bid, bids), (ask, asks) = (next(iter(side), NO_LEVEL) for side in (found.bids, found.asks))
    return {"symbol": spec.symbol, "bidPrice": bid, "bidQty": bids, "askPrice": ask, "askQty": asks}


def _names(text: str, symbols: Mapping[str, SymbolSpec]) -> list[str]:
    try:
        names = msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError as error:
        raise ApiError(-1100, "symbols", "a JSON array of symbols") from error
    return [symbol_of({"symbol": name}, symbols) for name in names]
