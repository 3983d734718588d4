"""The order book of one symbol: all levels that are known, and the best of them at any time.

A sorted list of all levels, or a heap, costs more than everything else together where a third of the changes are new
levels. So each side keeps its best levels apart: the best price is looked for among them alone, and only when it is
gone. A float tells numbers of up to 15 digits apart, and is read faster than a number of steps, or a text that has to
be checked. Of a longer quantity (the exchange's cap has 19) it is the nearest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import inf
from typing import Any, ClassVar

from streamforge_utils.model.books.book_messages import BookTicker, DepthDiff, DepthSnapshot, Levels, Texts
from streamforge_utils.model.decimal_texts import text_of

_LIMITS = frozenset({5, 10, 20, 50, 100, 500, 1000, 5000})
"""Of levels a side, as clients ask for them."""

_NEAR = 100
_MOST_NEAR = 400
_RENEW = 0.25
"""A snapshot is due once so little of the way from the best price to the end of what is known is left."""


class Side(ABC):
    """Bids or asks. near: the best levels, all from the price `edge` on. far: the others. best: the best price.

    limit: levels beyond it are not known; `nothing`: all are known. due: a best price beyond it nears the limit.
    """

    nothing: ClassVar[float]
    """The best price of a side without levels."""
    _best: ClassVar[Any]

    def __init__(self, levels: Iterable[tuple[float, float]], limit: float) -> None:
        self.near: dict[float, float] = {}
        self.far = dict(levels)
        self.limit = limit
        self._find_best()
        self.due = limit if limit == self.nothing else limit + (self.best - limit) * _RENEW

    @abstractmethod
    def apply(self, changes: Levels) -> None:
        """Set levels to quantities; 0: the level is gone. Those beyond the limit are left out: nobody tells all."""

    @abstractmethod
    def is_beyond(self, price: float, other: float) -> bool:
        """Whether a price is worse than another one."""

    def _ordered(self, prices: Iterable[float]) -> list[float]:
        """Best first."""
        return sorted(prices, reverse=self.is_beyond(0, 1))

    def _find_best(self) -> None:
        if not self.near or len(self.near) > _MOST_NEAR:
            self._gather()
        self.best: float = self._best(self.near, default=self.nothing)

    def _gather(self) -> None:
        """Have so many levels near as are enough for a while."""
        self.far.update(self.near)
        best = self._ordered(self.far)
        self.near = {price: self.far.pop(price) for price in best[:_NEAR]}
        self.edge = best[_NEAR - 1] if self.far else self.limit

    def levels(self) -> Levels:
        """All levels, best first."""
        found = self.far | self.near
        return [(price, found[price]) for price in self._ordered(found)]

    def top(self, count: int) -> Levels:
        """So many of the best levels, or all."""
        if self.far and len(self.near) < count:
            self._gather()
        found = self.near if len(self.near) >= count else self.far | self.near
        return [(price, found[price]) for price in self._ordered(found)[:count]]

    @property
    def is_lost(self) -> bool:
        """Whether the best price is not known: it went beyond the limit."""
        return self.best == self.nothing != self.limit

    @property
    def is_due(self) -> bool:
        """Whether the best price nears the limit."""
        return self.is_beyond(self.best, self.due)

    def best_level(self) -> tuple[float, float]:
        """The best price and its quantity."""
        return self.best, self.near.get(self.best, 0.0)

    def agrees(self, price: float, quantity: float) -> bool:
        """Whether these are the best price and its quantity; 0: there is none."""
        return self.best_level() == (price or self.nothing, quantity)

    def differs(self, other: Side) -> bool:
        """Whether two states of a side differ in what both know."""
        limit = other.limit if self.is_beyond(self.limit, other.limit) else self.limit
        one, two = (
            {price: quantity for price, quantity in side.levels() if not self.is_beyond(price, limit)}
            for side in (self, other)
        )
        return one != two


class Bids(Side):
    """Who buys: the highest price is the best."""

    nothing = 0.0
    _best = max

    def apply(self, changes: Levels) -> None:
        near, far, edge, limit, best = self.near, self.far, self.edge, self.limit, self.best
        for price, quantity in changes:
            if price < edge:
                if not quantity:
                    far.pop(price, None)
                elif price >= limit:
                    far[price] = quantity
            elif not quantity:
                near.pop(price, None)
            else:
                near[price] = quantity
                if price > best:
                    best = price
        if best in near:
            self.best = best
        else:
            self._find_best()

    def is_beyond(self, price: float, other: float) -> bool:
        return price < other


class Asks(Side):
    """Who sells: the lowest price is the best."""

    nothing = inf
    _best = min

    def apply(self, changes: Levels) -> None:  # the twin of that of `Bids`: a comparison by call takes thrice as long
        near, far, edge, limit, best = self.near, self.far, self.edge, self.limit, self.best
        for price, quantity in changes:
            if price > edge:
                if not quantity:
                    far.pop(price, None)
                elif price <= limit:
                    far[price] = quantity
            elif not quantity:
                near.pop(price, None)
            else:
                near[price] = quantity
                if price < best:
                    best = price
        if best in near:
            self.best = best
        else:
            self._find_best()

    def is_beyond(self, price: float, other: float) -> bool:
        return price > other


class OrderBook:
    """The book right after the update `last_id`. It trusts its input: the caller compares ids first.

    known_low, known_high: beyond these prices bids and asks are not known, and are none of its levels; None: all are.
    """

    def __init__(
        self,
        last_id: int,
        bids: Iterable[tuple[float, float]],
        asks: Iterable[tuple[float, float]],
        known_low: float | None = None,
        known_high: float | None = None,
    ) -> None:
        self.last_id = last_id
        self.bids = Bids(bids, Bids.nothing if known_low is None else known_low)
        self.asks = Asks(asks, Asks.nothing if known_high is None else known_high)

    @classmethod
    def of_snapshot(cls, snapshot: DepthSnapshot) -> OrderBook:
        """A side with as many levels as were asked for is known as far as they reach, a shorter one whole.

        One with as many as another limit gives is not taken for whole: something between may have asked for those.
        """
        bids, asks, limit = snapshot.bids, snapshot.asks, snapshot.limit
        cut = {limit} if limit not in _LIMITS else _LIMITS
        low = min(bids)[0] if len(bids) >= limit or len(bids) in cut else None
        high = max(asks)[0] if len(asks) >= limit or len(asks) in cut else None
        return cls(snapshot.last_id, bids, asks, low, high)

    def apply(self, diff: DepthDiff) -> None:
        """Make it the book after the diff, which must follow: `first_id <= self.last_id + 1 <= last_id`."""
        self.bids.apply(diff.bids)
        self.asks.apply(diff.asks)
        self.last_id = diff.last_id

    @property
    def known_low(self) -> float | None:
        return None if self.bids.limit == Bids.nothing else self.bids.limit

    @property
    def known_high(self) -> float | None:
        return None if self.asks.limit == Asks.nothing else self.asks.limit

    @property
    def is_crossed(self) -> bool:
        """Whether somebody bids as much as another one asks: something is wrong."""
        return self.bids.best >= self.asks.best

    @property
    def is_lost(self) -> bool:
        """Whether a best price went beyond what is known."""
        return self.bids.is_lost or self.asks.is_lost

    @property
    def is_due(self) -> bool:
        """Whether a new snapshot is due: a best price nears the end of what is known."""
        return self.bids.is_due or self.asks.is_due

    def best(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The best levels, of bids and of asks."""
        return self.bids.best_level(), self.asks.best_level()

    def agrees(self, ticker: BookTicker) -> bool:
        """Whether the exchange's best prices after the same update are those of this book."""
        return self.bids.agrees(ticker.bid, ticker.bid_quantity) and self.asks.agrees(ticker.ask, ticker.ask_quantity)

    def differs(self, other: OrderBook) -> bool:
        """Whether two books after the same update differ in what both know."""
        return self.bids.differs(other.bids) or self.asks.differs(other.asks)

    def top(self, count: int) -> tuple[Texts, Texts]:
        """So many of the best bids and asks, best first, as text."""
        return texts(self.bids.top(count)), texts(self.asks.top(count))

    def levels(self) -> tuple[Texts, Texts]:
        """All bids and asks that are known, best first, as text."""
        return texts(self.bids.levels()), texts(self.asks.levels())


def texts(levels: Iterable[tuple[float, float]]) -> Texts:
    """Levels as the exchange writes them."""
    return [(text_of(price), text_of(quantity)) for price, quantity in levels]
