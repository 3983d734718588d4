"""The streams `bookTicker` and `depth<5|10|20>` of stored order books, where the ledger says that they are verified."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

import msgspec

from streamforge.exchange.books import NO_LEVEL, BookState, ticker
from streamforge.exchange.recorded_rows import Held
from streamforge.exchange.recorded_streams import datas
from streamforge.exchange.stored_depth import Read, Segments, StoredBook, StoredDiffs
from streamforge.exchange.stream_source import StreamEvent, StreamName
from streamforge.exchange.streams.depth_events import best_levels, is_best_levels
from streamforge_utils.model.books.book_messages import DepthDiff
from streamforge_utils.model.books.book_reconstruction import MOST_DIFFS, Leading
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.records import book_of
from streamforge_utils.runtime.sink.past_books import BookSources

_SPAN_MS = 60_000
"""Books of so long are rebuilt at once, for all streams of a symbol."""
_LEVELS = 20


class _Top(BookState, frozen=True, gc=False):
    """The best levels after a diff. whole: what a side has beyond those that are told is known to be nothing."""

    whole: bool


_read_diff = msgspec.json.Decoder(DepthDiff, strict=False).decode
_read_top = msgspec.json.Decoder(_Top).decode


class StoredTops(StoredDiffs):
    """The streams of diffs, and those of the best levels after each diff. Of a book that is not verified, or not known,
    nothing is sent."""

    def __init__(
        self, read: Read, segments: Mapping[str, Segments], held: Held, books: Mapping[str, StoredBook]
    ) -> None:
        super().__init__(read, segments, held)
        self._books = books

    def has(self, name: StreamName) -> bool:
        is_ticker = name.word == "bookTicker" and not name.options
        return super().has(name) or (name.symbol in self._books and (is_ticker or is_best_levels(name)))

    def between(self, name: StreamName, after_ms: int, until_ms: int) -> Sequence[StreamEvent]:
        if name.word == "bookTicker":
            return list(self._tickers(name.symbol, after_ms, until_ms))
        if is_best_levels(name):
            return best_levels(name, partial(self._state, name.symbol), after_ms, until_ms)
        return super().between(name, after_ms, until_ms)

    def _tickers(self, symbol: str, after_ms: int, until_ms: int) -> Iterator[StreamEvent]:
        for begin_ms in range((after_ms + 1) // _SPAN_MS * _SPAN_MS, until_ms + 1, _SPAN_MS):
            for before, event in pairwise(self._tops(symbol, begin_ms)):
                if event.data and after_ms < event.time_ms <= until_ms:
                    update_id, best = _best(event)
                    if not before.data or best != _best(before)[1]:
                        yield StreamEvent(event.time_ms, ticker(symbol, update_id, *best), ())

    def _state(self, symbol: str, time_ms: int, levels: int) -> BookState | None:
        """So many of the best levels; None: they are not known."""
        tops = self._tops(symbol, time_ms // _SPAN_MS * _SPAN_MS)
        event = tops[bisect_right(tops, time_ms, key=lambda one: one.time_ms) - 1]
        top = _read_top(event.data) if event.data else None
        if top is None or not (top.whole or min(len(top.bids), len(top.asks)) >= levels):
            return None
        return BookState(top.update_id, top.time_ms, top.bids[:levels], top.asks[:levels])

    def _tops(self, symbol: str, begin_ms: int) -> Sequence[StreamEvent]:
        """The best levels right before a span, and as they change in it. No data: they are not known from then on."""
        return self._held.get((symbol, begin_ms), partial(self._rebuilt, symbol, begin_ms), datas)

    def _rebuilt(self, symbol: str, begin_ms: int) -> Sequence[StreamEvent]:
        last_ms = begin_ms + _SPAN_MS - 1
        diffs = [*self._between(symbol, begin_ms - 1, last_ms), *self._behind(symbol, last_ms)]
        before = StreamEvent(begin_ms - 1, b"", ())
        found: list[StreamEvent] = []
        last_id = _read_diff(diffs[-1].data).last_id if diffs else 0
        sources = self._books[symbol].sources(begin_ms, last_ms, last_id)
        if sources.wholes:
            early = self._between(symbol, min(sources.wholes[0].timestamp, begin_ms) - 1, begin_ms - 1)
            for event in _walk(sources, [*early[-MOST_DIFFS:], *diffs], begin_ms):
                if event.time_ms < begin_ms:
                    before = msgspec.structs.replace(event, time_ms=begin_ms - 1)
                elif event.time_ms <= last_ms:
                    found.append(event)
        return [before, *found]


def _walk(sources: BookSources, diffs: Sequence[StreamEvent], begin_ms: int) -> Iterator[StreamEvent]:
    """What is known of the best levels after each diff, from the last one before a moment on."""
    wholes = sources.wholes[::-1]
    leading: Leading | None = None
    for event, following in zip(diffs, [*diffs[1:], None], strict=True):
        diff = _read_diff(event.data)
        while wholes and wholes[-1].last_update_id <= diff.last_id:
            whole = wholes.pop()
            leading = Leading(book_of(whole), whole.timestamp, whole.timestamp)
        if leading is None:
            continue
        leading.at_ms = diff.time_ms
        leading.hear([diff])
        if following is not None and following.time_ms < begin_ms:
            continue
        verified = leading.judged(sources.ledger).verified
        yield StreamEvent(event.time_ms, _encoded(leading.book, event.time_ms) if verified else b"", ())
        last_id = leading.book.last_id
        if following is None or _read_diff(following.data).first_id > last_id + 1:
            ends = [one.end_ms for one in sources.ledger if one.last_id == last_id]
            end_ms = max([event.time_ms + 1, *ends])
            yield StreamEvent(end_ms if following is None else min(end_ms, following.time_ms), b"", ())


def _encoded(book: OrderBook, time_ms: int) -> bytes:
    whole = book.known_low is None and book.known_high is None
    return msgspec.json.encode(_Top(book.last_id, time_ms, *book.top(_LEVELS), whole))


def _best(event: StreamEvent) -> tuple[int, tuple[tuple[str, str], tuple[str, str]]]:
    top = _read_top(event.data)
    return top.update_id, (next(iter(top.bids), NO_LEVEL), next(iter(top.asks), NO_LEVEL))
