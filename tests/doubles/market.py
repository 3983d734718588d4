"""A small market whose order book is known after every update: what order books that follow it are compared with."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import msgspec

SYMBOL = "BTCUSDT"
START_MS = 1_723_161_600_000

Book = tuple[dict[int, int], dict[int, int]]
"""Bids and asks: whole prices, and whole quantities above 0."""


class Update(msgspec.Struct, frozen=True):
    """One update: the new quantity of a level. side: 0 for bids, 1 for asks."""

    side: int
    price: int
    quantity: int


class Market:
    """`updates`, whose first id is 1; the price walks, and no book is crossed."""

    def __init__(self, seed: int, count: int, first_price: int = 500) -> None:
        self.updates: list[Update] = []
        chance, middle = random.Random(seed), first_price
        bids, asks = book = ({}, {})  # type: Book
        while len(self.updates) < count:
            step = chance.choice((-1, 0, 0, 0, 1))
            middle += step
            if step and middle in book[step > 0]:
                self._add(book, Update(int(step > 0), middle, 0))
            side = chance.randrange(2)
            levels, distance = book[side], chance.randint(1, 12)
            price = middle + distance if side else middle - distance
            gone = bool(levels) and chance.random() < 0.4
            quantity = 0 if gone else chance.randint(1, 9)
            self._add(book, Update(side, chance.choice(sorted(levels)) if gone else price, quantity))
        del self.updates[count:]
        del bids, asks

    def _add(self, book: Book, update: Update) -> None:
        self.updates.append(update)
        _apply(book, update)

    def book(self, last_id: int) -> Book:
        """The book after that update."""
        book: Book = ({}, {})
        for update in self.updates[:last_id]:
            _apply(book, update)
        return book

    def best(self, last_id: int) -> tuple[float, float]:
        """The best bid and ask after that update; 0 and infinity without one."""
        bids, asks = self.book(last_id)
        return float(max(bids, default=0)), float(min(asks, default="inf"))

    def diff(self, first_id: int, last_id: int) -> bytes:
        """The message about these updates."""
        changed: Book = ({}, {})
        for update in self.updates[first_id - 1 : last_id]:
            changed[update.side][update.price] = update.quantity
        return message(first_id, last_id, *(texts(side.items()) for side in changed))

    def ticker(self, last_id: int) -> bytes | None:
        """The message with the best prices after that update; None: a side is empty."""
        bids, asks = self.book(last_id)
        if not bids or not asks:
            return None
        bid, ask = max(bids), min(asks)
        best = {"u": last_id, "s": SYMBOL, "b": text(bid), "B": text(bids[bid]), "a": text(ask), "A": text(asks[ask])}
        return _encode({"stream": "btcusdt@bookTicker", "data": best})

    def snapshot(self, last_id: int, limit: int) -> bytes:
        """The answer with so many levels a side after that update."""
        bids, asks = self.book(last_id)
        best_bids, best_asks = sorted(bids.items(), reverse=True)[:limit], sorted(asks.items())[:limit]
        return snapshot(last_id, texts(best_bids), texts(best_asks))

    def batches(self, seed: int) -> Iterator[tuple[int, int]]:
        """The first and last ids of the messages of a connection; another one batches differently."""
        chance, first_id = random.Random(seed), 1
        while first_id <= len(self.updates):
            last_id = min(first_id + chance.randint(0, 7), len(self.updates))
            yield first_id, last_id
            first_id = last_id + 1


def message(first_id: int, last_id: int, bids: Sequence[object], asks: Sequence[object], **other: object) -> bytes:
    """A diff as the exchange sends it."""
    data = {"e": "depthUpdate", "E": START_MS + 100 * last_id, "s": SYMBOL, "U": first_id, "u": last_id}
    return _encode({"stream": "btcusdt@depth@100ms", "data": {**data, "b": bids, "a": asks, **other}})


def snapshot(last_id: int, bids: Sequence[object], asks: Sequence[object]) -> bytes:
    """A snapshot as the exchange answers."""
    return _encode({"lastUpdateId": last_id, "bids": bids, "asks": asks})


def texts(levels: object) -> list[tuple[str, str]]:
    """Levels as the exchange writes them."""
    return [(text(price), text(quantity)) for price, quantity in levels]  # type: ignore[attr-defined]


def text(number: int) -> str:
    """A number as the exchange writes it."""
    return f"{number}.00000000"


def _apply(book: Book, update: Update) -> None:
    if update.quantity:
        book[update.side][update.price] = update.quantity
    else:
        book[update.side].pop(update.price, None)


_encode = msgspec.json.Encoder().encode
