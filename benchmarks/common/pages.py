"""Pages of candles as they came over the wire, kept for an exchange that answers from memory."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.common.exchange import SYMBOL
from benchmarks.common.workflow import MINUTE_MS, START_MS, minutes
from streamforge_utils.model.kinds.candles import Candle
from streamforge_utils.model.kinds.candles.klines_answer import read_page, read_rows
from streamforge_utils.model.kinds.paging import ByTime, Page, Question, SentRequest
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import Rank, SymbolInfo

PAGE = 1000
OBSERVED_MS = 1_767_225_600_000
"""2026-01-01: when the pages count as read, so that every run makes the same records."""


def fetch(exchange_url: str, count: int, path: Path) -> None:
    """Ask the exchange for `count` full pages and keep their bodies in `path`."""
    bodies = []
    for number in range(count):
        start_ms = START_MS + number * PAGE * MINUTE_MS
        query = f"symbol={SYMBOL}&interval=1m&startTime={start_ms}&limit={PAGE}"
        with urllib.request.urlopen(f"{exchange_url}/api/v3/klines?{query}", timeout=30) as answer:  # noqa: S310 - ours
            bodies.append(answer.read())
    path.write_bytes(msgspec.msgpack.encode(bodies))


class MemoryExchange:
    """Implements `Exchange` on kept pages: no network, but the adapter's own decoding and checking of each page."""

    def __init__(self, path: Path) -> None:
        self._bodies = msgspec.msgpack.decode(path.read_bytes(), type=list[bytes])

    @property
    def count(self) -> int:
        """How many candles there are."""
        return len(self._bodies) * PAGE

    async def server_time(self) -> int:
        """A moment after every candle."""
        return OBSERVED_MS

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        """The one symbol."""
        return SymbolInfo(symbol=symbol, status="TRADING")

    async def symbols(self) -> Sequence[SymbolInfo]:
        """The one symbol."""
        return [await self.symbol_info(SYMBOL)]

    async def page(self, series: Series, question: Question) -> Page:
        """One page, which the question's span must cover exactly."""
        return read_page(*await self._page(series, question))

    async def _page(self, series: Series, question: Question) -> tuple[bytes, SentRequest]:
        await asyncio.sleep(0)  # an answer of a network never comes at once: what was begun before goes first
        assert isinstance(question, ByTime)
        index, rest = divmod(question.span.start_ms - START_MS, PAGE * MINUTE_MS)
        assert rest == 0
        asked = SentRequest(
            series=series,
            question=question,
            sent=question,
            limit=PAGE,
            observed_ms=OBSERVED_MS,
            local_ms=OBSERVED_MS,
        )
        return self._bodies[index], asked

    async def all(self) -> list[Sequence[Candle]]:
        """Every page, decoded."""
        first = minutes(PAGE)
        step = PAGE * MINUTE_MS
        spans = [TimeRange(first.start_ms + n * step, first.end_ms + n * step) for n in range(len(self._bodies))]
        series = Series(SYMBOL, "candles", "1m")
        return [read_rows(*await self._page(series, ByTime(span))).candles for span in spans]

    async def snapshot(self, series: Series, limit: int, *, rank: Rank = tuple) -> bytes:
        """There is none."""
        raise NotImplementedError

    def set_weight_limit(self, weight_per_minute: int) -> None:
        """There is none."""

    async def close(self) -> None:
        """Nothing is open."""
