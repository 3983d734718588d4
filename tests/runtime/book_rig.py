"""A loader of an order book on a virtual clock: a market whose book is known, its streams and snapshots, a topic."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from streamforge_utils.model.books.book_reconstruction import Leading, PastBook
from streamforge_utils.model.books.records import (
    Depth,
    DepthCheckpoint,
    DepthInterval,
    DepthTop,
    book_of,
    diff_of,
    interval_of,
    kind_name_of,
)
from streamforge_utils.model.books.trust import BookInterval, Trust
from streamforge_utils.model.completeness.continuity import chains
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.model.series import Series
from streamforge_utils.ports.exchange import Rank
from streamforge_utils.runtime.live.book_loader import BookParameters
from tests.doubles.market import START_MS, Book, Market
from tests.doubles.virtualclock import VirtualClock
from tests.doubles.virtualloop import VirtualLoop
from tests.runtime.live_rig import TOPIC, LiveRig, Load, MarketExchange

BOOK = Series("BTCUSDT", "depth")
RECORDS: dict[str, Any] = {
    "depth": Depth,
    "depth_checkpoint": DepthCheckpoint,
    "depth_top": DepthTop,
    "depth_interval": DepthInterval,
}


class _Exchange(MarketExchange):
    """limits, ranks: of the snapshots that were asked for. stale: so many updates they lag behind.

    answer: given instead.
    """

    def __init__(self, clock: VirtualClock, kind: RecordKind, series: Series) -> None:
        super().__init__(clock, kind, series)
        self.market = Market(1, 3000)
        self.at = 50
        self.stale = 0
        self.slow_s = 0.05
        self.limits: list[int] = []
        self.ranks: list[tuple[int, ...]] = []
        self.answer: bytes | None = None

    async def snapshot(self, series: Series, limit: int, *, rank: Rank = tuple) -> bytes:
        self.limits.append(limit)
        self.ranks.append(rank())
        at, answer = self.at - self.stale, self.answer
        await self._clock.sleep(self.slow_s)
        self._check()
        return self.market.snapshot(max(1, at), limit) if answer is None else answer


class BookMarket(LiveRig):
    """`change` lets updates happen and sends them."""

    def __init__(self, loop: VirtualLoop, load: Load, series: Series, folder: Path) -> None:
        super().__init__(loop, load, BOOK, folder)
        random.seed(1)  # of pauses: a snapshot of other levels may not know where prices walk later
        self.exchange: _Exchange = _Exchange(self.clock, self.kind, BOOK)
        self._books: dict[int, Book] = {}
        self.parameters = BookParameters(top_seconds=1.0, checkpoint_seconds=5.0)

    @property
    def market(self) -> Market:
        return self.exchange.market

    def happen(self, count: int = 4) -> tuple[int, int]:
        """So many updates happen; the first and the last id."""
        first, self.exchange.at = self.exchange.at + 1, self.exchange.at + count
        return first, self.exchange.at

    def send(self, *batches: tuple[int, int]) -> None:
        """Send diffs of these updates to all connections, together."""
        for one in self.stream.live:
            one.give(*(self.market.diff(*batch) for batch in batches))

    def change(self, count: int = 4) -> None:
        """Updates happen and are sent."""
        self.send(self.happen(count))

    def ticker(self) -> None:
        """The best prices are sent."""
        for one in self.stream.live:
            if (payload := self.market.ticker(self.exchange.at)) is not None:
                one.give(payload)

    async def flow(self, times: int = 10, pause_s: float = 0.1) -> None:
        """Updates happen and are sent, again and again."""
        for _ in range(times):
            self.change()
            await self.clock.sleep(pause_s)

    # What is on the topic

    def records(self, kind: str) -> list[Any]:
        """All records of a kind, in their order; each can be stored."""
        found = []
        for one in self.bus.log.get(TOPIC, []):
            if one.key != EOS_KEY and kind_name_of(one.key or b"") == kind:
                kind_named(kind).document(one.key, one.value)
                found.append(msgspec.json.decode(one.value, type=RECORDS[kind]))
        return found

    @property
    def ids(self) -> list[tuple[int, int]]:
        """Of the diffs."""
        return [(one.first_update_id, one.last_update_id) for one in self.records("depth")]

    @property
    def ledger(self) -> list[BookInterval]:
        """As the store has it: the last version of each entry, by id."""
        versions: dict[str, DepthInterval] = {}
        for one in self.records("depth_interval"):
            assert one.key not in versions or one.version > versions[one.key].version
            versions[one.key] = one
        return sorted(map(interval_of, versions.values()), key=lambda one: one.first_id)

    @property
    def told(self) -> list[tuple[Trust, str, str]]:
        """Of the ledger: trust, why and cause."""
        return [(one.trust, one.why, one.cause) for one in self.ledger]

    def past(self) -> Iterator[PastBook]:
        """The book at the moment of each diff, as the topic tells, where there is a checkpoint before it."""
        wholes, ledger = self.records("depth_checkpoint"), self.ledger
        diffs = [diff_of(one) for one in sorted(self.records("depth"), key=lambda one: one.last_update_id)]
        for at, last in enumerate(diffs):
            before = [one for one in wholes if one.timestamp <= last.time_ms]
            if before:
                whole = max(before, key=lambda one: one.last_update_id)
                start = bisect_right(diffs, whole.last_update_id, hi=at, key=lambda one: one.last_id)
                leading = Leading(book_of(whole), whole.timestamp, last.time_ms)
                leading.hear(diffs[start : at + 2])
                yield leading.judged(ledger)

    def check_books(self) -> int:
        """Every book of the topic, and every verified book of a past moment, is the market's; how many there are."""
        for one in (*self.records("depth_checkpoint"), *self.records("depth_top")):
            assert self._equals(one.last_update_id, one.bids, one.asks, one)
        count = 0
        for past in self.past():
            if past.verified:
                count += 1
                assert past.book.last_id == (past.time_ms - START_MS) // 100
                bids, asks = past.book.levels()
                assert self._equals(past.book.last_id, bids, asks, past)
        return count

    def _equals(self, last_id: int, bids: Any, asks: Any, which: Any) -> bool:
        """All levels that are told are the market's best ones."""
        if last_id not in self._books:
            self._books[last_id] = self.market.book(last_id)
        sides = self._books[last_id]
        for side, (told, best_first) in zip(sides, ((bids, True), (asks, False)), strict=True):
            true = sorted(side.items(), reverse=best_first)[: len(told)]
            assert [(int(float(p)), int(float(q))) for p, q in told] == true, (last_id, which)
        return True


def check_ledger(market: BookMarket) -> None:
    """Entries do not overlap but where they are late, and each claims no more than diffs that are on the topic."""
    heard = {at for first, last in market.ids for at in range(first, last + 1)}
    for one in market.ledger:
        assert set(range(one.first_id, one.last_id + 1)) <= heard, one
    for before, after in pairwise(chains(market.ledger)):
        assert before.last_id + 1 < after.first_id
        assert before.cause, (before, after)


def check_diffs(market: BookMarket) -> None:
    """Every diff follows the one before it, and none comes twice."""
    ids = market.ids
    assert all(first <= before + 1 <= last for (_, before), (first, last) in pairwise(ids))
