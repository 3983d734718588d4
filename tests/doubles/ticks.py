"""A kind of records with consecutive ids, and an exchange that has some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import strategies as st

from streamforge_utils.model.completeness import Rule
from streamforge_utils.model.completeness import Sequence as Ids
from streamforge_utils.model.kinds.kind import Number, Record, RecordKind
from streamforge_utils.model.kinds.paging import ById, Page, Paging, Question, SentRequest
from streamforge_utils.model.kinds.registry import register, unregister
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Document
from tests.doubles.candles import FixedExchange
from tests.doubles.memorystore import MemoryStore

SERIES = Series("BTCUSDT", "ticks")
NOW = 1_722_556_800_000
START = NOW - 100_000


class Tick(Record, frozen=True, kw_only=True):
    """One tick as it travels."""

    symbol: str
    tick_id: int
    timestamp: int
    price: str


class StoredTick(msgspec.Struct, frozen=True, kw_only=True):
    """One tick as the store holds it."""

    symbol: str
    tick_id: int
    timestamp: int
    price: Number


class TickPages(Paging):
    """An endpoint that gives ticks by time and by id."""

    path = "/api/v3/ticks"
    most = 5

    def weight(self, parameters: Mapping[str, str]) -> int:
        return 4

    def parameters(self, series: Series, question: Question, limit: int) -> dict[str, str]:
        if isinstance(question, ById):
            return {"symbol": series.symbol, "fromId": str(question.first_id), "limit": str(limit)}
        span = question.span
        return {"symbol": series.symbol, "startTime": str(span.start_ms), "endTime": str(span.end_ms - 1)}

    def read(self, body: bytes, asked: SentRequest) -> Page:
        return page_of(msgspec.json.decode(body, type=list[tuple[int, int]]))


class Ticks(RecordKind):
    """Ticks."""

    name = "ticks"
    record = Tick
    stored = StoredTick
    position = "tick_id"
    time = "timestamp"
    times = ("timestamp",)
    paging = TickPages()

    def rule(self, series: Series) -> Rule:
        return Ids()


KIND = Ticks()


@contextmanager
def registered() -> Iterator[None]:
    """Ticks are a kind of records meanwhile."""
    register(KIND)
    try:
        yield
    finally:
        unregister(KIND)


@st.composite
def ticks_of_a_market(draw: st.DrawFn, start_ms: int = START, most: int = 25) -> list[tuple[int, int]]:
    """Ticks, each an id and a time, from `start_ms` on; several may share a time."""
    at, first = start_ms, draw(st.integers(0, 50))
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 3, 1000]), min_size=1, max_size=most))
    found = []
    for number, step in enumerate(steps, first):
        at += step
        found.append((number, at))
    return found


def page_of(ticks: Sequence[tuple[int, int]]) -> Page:
    """Ticks, each an id and a time, as an exchange gives them."""
    ids, times = [tick for tick, _ in ticks], [time for _, time in ticks]
    values = [message(tick, time) for tick, time in ticks]
    return Page(ids, times, [KIND.key(SERIES, tick).encode() for tick in ids], values)


def hold(store: MemoryStore, ticks: Sequence[tuple[int, int]], collection: str = "c") -> MemoryStore:
    """The store, which now holds these ticks too."""
    there = store.documents.setdefault(collection, {})
    for tick, time in ticks:
        key, version, body = KIND.document(None, message(tick, time))
        there[key] = Document(key, version, body)
    return store


def chain(patch: pytest.MonkeyPatch) -> None:
    """Ticks tell which one follows them; one with another price does so wrongly."""
    patch.setattr(Ticks, "chained", True)
    patch.setattr(Ticks, "break_between", lambda _, before, after: "torn" if b"9.5" in before else "")


def tear(store: MemoryStore, collection: str, tick: int) -> None:
    """Let a stored record contradict the one behind it."""
    key, there = KIND.key(SERIES, tick), store.documents[collection]
    there[key] = msgspec.structs.replace(there[key], body=there[key].body.replace(b"1.5", b"9.5"))


def message(tick: int, time: int) -> bytes:
    record = Tick(
        key=KIND.key(SERIES, tick), version=1, symbol=SERIES.symbol, tick_id=tick, timestamp=time, price="1.5"
    )
    return msgspec.json.encode(record)


class TickExchange(FixedExchange):
    """Has `ticks`, each an id and a time, sorted. lie: given the number of the request and its page, what is answered.

    asked: the questions so far.
    """

    def __init__(
        self,
        ticks: Sequence[tuple[int, int]],
        *,
        now_ms: int,
        status: str = "TRADING",
        lie: Callable[[int, Page], Page] | None = None,
    ) -> None:
        self.ticks = list(ticks)
        self.now_ms = now_ms
        self.status = status
        self.lie = lie
        self.asked: list[Question] = []

    async def page(self, series: Series, question: Question) -> Page:
        limit = TickPages.most if question.limit is None else question.limit
        if isinstance(question, ById):
            found = [tick for tick in self.ticks if tick[0] >= question.first_id][:limit]
        else:
            inside = [tick for tick in self.ticks if tick[1] in question.span]
            found = inside[-limit:] if question.newest else inside[:limit]
        page = page_of(found)
        if self.lie is not None:
            page = self.lie(len(self.asked), page)
        self.asked.append(question)
        return page
