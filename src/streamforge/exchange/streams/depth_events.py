"""The streams of order books: `depth` (diffs), `depth<5|10|20>` (the best levels) and `bookTicker` (the best ones).

A replay has those of them that were recorded."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

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
        match = _NAME.fullmatch(name.text)
        return match is not None and match["levels"] is not None

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        book = seeded_book(self.config, spec)
        if book is None:
            return ()
        levels, step_ms = int(name.options[0]), _step_ms(name)
        if spec.delisted_ms is not None:
            until_ms = min(until_ms, spec.delisted_ms - 1)
        after_ms = max(after_ms, spec.listed_ms + step_ms)
        found = []
        for time_ms in range((after_ms // step_ms + 1) * step_ms, until_ms + 1, step_ms):
            state = book.snapshot(time_ms, levels)
            data = msgspec.json.encode({"lastUpdateId": state.update_id, "bids": state.bids, "asks": state.asks})
            found.append(StreamEvent(time_ms, data, ()))
        return found


class BookTickerStream(StreamSource):
    """The best levels whenever they change. Its events have no time."""

    words = ("bookTicker",)

    def events(
        self, name: StreamName, spec: SymbolSpec, after_ms: int, until_ms: int, connection: int
    ) -> Sequence[StreamEvent]:
        book = seeded_book(self.config, spec)
        step_ms = self.config.diffs_every_ms if self.config.diffs_every_ms > SHORTEST_MS else 0
        return () if book is None else book.tickers(after_ms, until_ms, step_ms)


def _step_ms(name: StreamName) -> int:
    return SHORTEST_MS if name.text.endswith("@100ms") else 1_000
