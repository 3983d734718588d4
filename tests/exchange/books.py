"""A plain order book, kept as the exchange's manual says: a snapshot, and the diffs that join it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from tests.exchange.conftest import Peer

Json = dict[str, Any]


class Side:
    """The levels of a side. sign: -1 where the highest price is the best."""

    def __init__(self, levels: Iterable[Sequence[str]], sign: int) -> None:
        self._sign = sign
        self._levels = {sign * float(price): [price, quantity] for price, quantity in levels}
        self._order = sorted(self._levels)

    def change(self, price: str, quantity: str) -> None:
        key = self._sign * float(price)
        if not float(quantity):
            if self._levels.pop(key, None) is not None:
                del self._order[bisect_left(self._order, key)]
        else:
            if key not in self._levels:
                insort(self._order, key)
            self._levels[key] = [price, quantity]

    def best(self, levels: int | None = None) -> list[list[str]]:
        return [self._levels[key] for key in self._order[:levels]]


class PlainBook:
    """last: the id of its last update. A diff that does not join is refused with ValueError."""

    def __init__(self, snapshot: Json) -> None:
        self.last: int = snapshot["lastUpdateId"]
        self.bids, self.asks = Side(snapshot["bids"], -1), Side(snapshot["asks"], 1)

    def apply(self, diff: Json) -> None:
        if diff["u"] <= self.last:
            return
        if diff["U"] > self.last + 1:
            raise ValueError(f"{diff['U']} does not follow {self.last}")
        for side, changes in ((self.bids, diff["b"]), (self.asks, diff["a"])):
            for price, quantity in changes:
                side.change(price, quantity)
        self.last = diff["u"]

    def sides(self, levels: int | None = None) -> tuple[list[list[str]], list[list[str]]]:
        """Bids and asks, the best first."""
        return self.bids.best(levels), self.asks.best(levels)


async def oracle(exchange: Peer, symbol: str, **query: object) -> Json:
    answer = await exchange.get("/oracle/depth", symbol=symbol, **query)
    assert answer.status == 200, answer
    return answer.json


async def snapshot(exchange: Peer, symbol: str, limit: int = 5_000) -> Json:
    answer = await exchange.get("/api/v3/depth", symbol=symbol, limit=limit)
    assert answer.status == 200, answer
    return answer.json


async def refusal(exchange: Peer, symbol: str) -> str:
    """Why there is no snapshot."""
    answer = await exchange.get("/api/v3/depth", symbol=symbol)
    assert (answer.status, answer.json["code"]) == (503, -1001), answer
    return str(answer.json["msg"])


def of_stream(messages: Iterable[Json], name: str) -> list[Json]:
    """The data of the messages of one stream."""
    return [one["data"] for one in messages if one["stream"] == name]


def chained(diffs: Sequence[Json]) -> bool:
    """Whether each diff begins where the one before it ended."""
    return all(before["u"] + 1 == after["U"] for before, after in pairwise(diffs))
