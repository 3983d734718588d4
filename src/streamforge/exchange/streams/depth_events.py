"""The streams of order books: `depth` (diffs), `depth<5|10|20>` (the best levels) and `bookTicker` (the best ones).

A replay has those of them that were recorded; of stored books `stored_tops` makes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from streamforge.exchange.books import BookState
from streamforge.exchange.config import SymbolSpec
from streamforge.exchange.seeded_book import seeded_book
from streamforge.exchange.stream_source import StreamEvent, StreamName, StreamSource

_NAME = re.compile(r"[^@]+@depth(?P<levels>5|10|20)?(?P<step>@100ms|@1000ms)?")
SHORTEST_MS = 100
_SHARES, _APART = 100, 37
"""A connection's diffs end `_APART` hundredths of a step later than those of the one before it."""


class DepthStream(StreamSource):
    """Diffs. No two connections get the same ones: each has cut the updates at other moments."""

    words = ("depth",)
    shared = False

    def known(self, name: StreamName) -> bool:
        match = _NAME.fullmatch(name.text)
        return match is not None and match["levels"] is None

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        book = seeded_book(self.config, spec)
        if book is None:
            return ()
        step_ms = max(_step_ms(name), self.config.diffs_every_ms)
        phase_ms = connection * _APART % _SHARES * step_ms // _SHARES
        return book.diffs(after_ms, until_ms, step_ms, phase_ms)


class BestLevelsStream(StreamSource):
    """The best levels at every step, whether they have changed or not."""

    words = ("depth",)

    def known(self, name: StreamName) -> bool:
        return is_best_levels(name)

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        book = seeded_book(self.config, spec)
        if book is None:
            return ()
        if spec.delisted_ms is not None:
            until_ms = min(until_ms, spec.delisted_ms - 1)
        return best_levels(name, book.snapshot, max(after_ms, spec.listed_ms + _step_ms(name)), until_ms)


class BookTickerStream(StreamSource):
    """The best levels whenever they change. Its events have no time."""

    words = ("bookTicker",)

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        book = seeded_book(self.config, spec)
        step_ms = self.config.diffs_every_ms if self.config.diffs_every_ms > SHORTEST_MS else 0
        return () if book is None else book.tickers(after_ms, until_ms, step_ms)


def is_best_levels(name: StreamName) -> bool:
    """Whether it is a stream of the best levels at every step."""
    match = _NAME.fullmatch(name.text)
    return match is not None and match["levels"] is not None


def best_levels(
    name: StreamName, state_at: Callable[[int, int], BookState | None], after_ms: int, until_ms: int
) -> list[StreamEvent]:
    """The events of such a stream with `after_ms` < time <= `until_ms`.

    state_at: the book of a moment with so many levels a side at most; None: nothing is sent.
    """
    levels, step_ms = int(name.options[0]), _step_ms(name)
    found = []
    for time_ms in range((after_ms // step_ms + 1) * step_ms, until_ms + 1, step_ms):
        state = state_at(time_ms, levels)
        if state is not None:
            data = msgspec.json.encode({"lastUpdateId": state.update_id, "bids": state.bids, "asks": state.asks})
            found.append(StreamEvent(time_ms, data, ()))
    return found


def _step_ms(name: StreamName) -> int:
    return SHORTEST_MS if name.text.endswith("@100ms") else 1_000
