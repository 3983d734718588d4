"""A synchroniser that follows the small market, and all that it gave."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from streamforge_utils.model.books.book_settings import BookSettings
from streamforge_utils.model.books.records import Depth, DepthCheckpoint, DepthTop
from streamforge_utils.model.books.synchroniser import Synchroniser
from streamforge_utils.model.books.trust import BookInterval, Trust
from tests.doubles import market
from tests.doubles.bookbasket import Basket
from tests.doubles.market import START_MS, SYMBOL, Market

T = TypeVar("T", bound=msgspec.Struct)
WORLD = Market(7, 400)
LIMIT = 1000
VERIFIED, CLEAN, SUSPECT = Trust.VERIFIED, Trust.UNVERIFIABLE, Trust.SUSPECT


class Follower:
    """A synchroniser, and all that it gave. The clock goes a second with each snapshot."""

    def __init__(self, world: Market = WORLD, **changed: int) -> None:
        self.world = world
        kept = {"limit": LIMIT, "deep_limit": LIMIT, "top_every_ms": 1_000, "checkpoint_every_ms": 5_000, **changed}
        self.book = Synchroniser(SYMBOL, BookSettings(**kept), chance=lambda: 0.0)
        self.basket = Basket([self.book])
        self.records: list[tuple[bytes, bytes]] = []
        self.intervals: list[BookInterval] = []
        self.refused: list[str] = []
        self.now_ms = START_MS

    def diff(self, first_id: int, last_id: int, payload: bytes | None = None, *, connection: int = 1) -> None:
        payload = payload or self.world.diff(first_id, last_id)
        assert self.basket.hear([payload], self.now_ms * 1000, connection) == []
        self.take()

    def ticker(self, last_id: int, payload: bytes | None = None) -> None:
        payload = payload or self.world.ticker(last_id)
        if payload is not None:
            assert self.basket.hear([payload], self.now_ms * 1000, 1) == []

    def snapshot(self, last_id: int, limit: int = LIMIT) -> None:
        self.now_ms += 1_000
        self.book.hear_snapshot(self.world.snapshot(last_id, limit), limit, self.now_ms)
        self.take()

    def take(self) -> None:
        taken = self.book.take()
        self.records += zip(taken.keys, taken.values, strict=True)
        self.intervals += taken.intervals
        self.refused += [reason for _, reason in taken.refused]

    @property
    def told(self) -> list[BookInterval]:
        """All intervals, the open one too; what was told again under its key, as it was last."""
        self.take()
        one, found = self.book.ledger.open(), dict[object, BookInterval]()
        for each in [*self.intervals, *([] if one is None else [one])]:
            is_late = each.why == each.cause == "sequence gap"  # it may begin where one does that is told already
            found[(each.first_id, len(found)) if is_late else each.first_id] = each
        return [*found.values()]

    @property
    def trust(self) -> list[tuple[int, int, Trust, str, str]]:
        return [(one.first_id, one.last_id, one.trust, one.why, one.cause) for one in self.told]

    def of(self, kind: type[T]) -> list[T]:
        """The records of a kind."""
        fields = {field.encode_name for field in msgspec.structs.fields(kind)}
        values = [value for _, value in self.records if msgspec.json.decode(value).keys() == fields]
        return [msgspec.json.decode(value, type=kind) for value in values]

    def ids(self, kind: type[Depth | DepthTop | DepthCheckpoint] = Depth) -> list[int]:
        """The last ids of the records of a kind."""
        return [record.last_update_id for record in self.of(kind)]

    def check(self) -> None:
        """What is called verified is what the market has."""
        if self.book.standing.trust is not Trust.VERIFIED:
            return
        book = self.book.book
        assert book is not None
        bids, asks = self.world.book(book.last_id)
        low, high = book.known_low or 0, book.known_high or 10**9
        assert book.levels() == (
            market.texts(sorted(((p, q) for p, q in bids.items() if p >= low), reverse=True)),
            market.texts(sorted((p, q) for p, q in asks.items() if p <= high)),
        )
        assert (book.bids.best, book.asks.best) == self.world.best(book.last_id)


def run(*messages: tuple[int, int], snapshot: int | None = None, **changed: int) -> Follower:
    """A follower that heard these, then a snapshot."""
    follower = Follower(WORLD, **changed)
    for first_id, last_id in messages:
        follower.diff(first_id, last_id)
    if snapshot is not None:
        follower.snapshot(snapshot)
    follower.check()
    return follower
