"""Each record is stored in the collection of its own day, whatever comes late, twice, newer or before a kill."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.daily_collections import DAY_MS, Placement
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds import trades
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Answer, Document
from streamforge_utils.runtime.input.dead_letter_replay import Choice, ReplaySettings
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.sink.conversion import Converted, convert
from streamforge_utils.runtime.sink.day_division import DayDivision
from streamforge_utils.runtime.sink.sinks import SinkParameters, store_input
from tests.doubles.memorystore import MemoryStore

START = 1_722_470_400_000
BASE = Placement("trades", daily=True)


def convert_trades(records: Sequence[Received]) -> Converted:
    return convert(trades.KIND, [one.key for one in records], [one.value for one in records])


def trade(number: int, time_ms: int, version: int = 1) -> tuple[bytes, bytes]:
    """The key and the value of a message; its price tells the version."""
    key = f"BTCUSDT_{number:012}"
    fields = {"symbol": "BTCUSDT", "trade_id": number, "price": f"{version}.5", "quantity": "2", "timestamp": time_ms}
    return key.encode(), json.dumps({"_key": key, "_version": version, **fields, "is_buyer_maker": True}).encode()


class Topic:
    """The input of a sink: batches of a log behind the last commit."""

    def __init__(self, log: Sequence[tuple[bytes, bytes]], sizes: Sequence[int]) -> None:
        self.log, self.sizes = log, sizes
        self.kept_to = self.committed = 0

    async def __aiter__(self) -> AsyncIterator[Sequence[Received]]:
        self.kept_to = at = self.committed
        for size in [*self.sizes, len(self.log)]:
            if some := self.log[at : at + size]:
                yield [Received("t", 0, n, key, value, 0) for n, (key, value) in enumerate(some, at)]
            at += size

    def kept(self, batch: Sequence[Received]) -> None:
        self.kept_to = batch[-1].offset + 1

    async def commit(self) -> None:
        self.committed = self.kept_to

    async def send(self, *refused: object) -> None:
        assert not refused


class Dying:
    """What a sink sees of its attempt: calls of its store end with a kill now and then, before or after they worked."""

    upserts_at_once = 1
    parameters = SinkParameters()
    kind = trades.KIND
    placement = BASE
    choice = Choice(ReplaySettings(), "sink")

    def __init__(self, topic: Topic, chance: random.Random, kills: int) -> None:
        self.input = self.dead_letters = topic
        self.store, self.documents = self, MemoryStore()
        self.chance, self.kills = chance, kills

    async def upsert(self, collection: str, documents: Sequence[Document], *, patience_s: float) -> Sequence[Answer]:
        killed = self.kills > 0 and self.chance.random() < 0.3
        self.kills -= killed
        if killed and self.chance.random() < 0.5:
            raise RetryableError("killed before it was stored")
        answers = await self.documents.upsert(collection, documents)
        if killed:
            raise RetryableError("killed before the answer")
        return answers


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3)), min_size=1, max_size=60),
    st.lists(st.integers(1, 12), max_size=10),
    st.randoms(use_true_random=False),
)
def test_every_record_is_in_its_days_collection_once_and_the_newest(
    sent: list[tuple[int, int]], sizes: list[int], chance: random.Random
) -> None:
    """Forty trades over five days, in any order, some again, some newer; the sink is killed up to six times."""
    times = {number: START + number * DAY_MS // 8 for number in range(41)}
    topic = Topic([trade(number, times[number], version) for number, version in sent], sizes)
    attempt = Dying(topic, chance, kills=6)

    async def all_attempts() -> None:
        while topic.committed < len(topic.log):
            try:
                await store_input(cast("Context[SinkParameters]", attempt), convert_trades)
            except* RetryableError:
                pass

    asyncio.run(all_attempts())
    expected: dict[str, dict[str, float]] = {}
    for number, version in sent:
        newest = max(v for n, v in sent if n == number)
        day = f"trades_2024080{1 + number // 8}"
        expected.setdefault(day, {})[f"BTCUSDT_{number:012}"] = newest + 0.5
        assert version <= newest
    found = attempt.documents.documents
    assert {
        name: {key: json.loads(one.body)["price"] for key, one in there.items()} for name, there in found.items()
    } == expected


def columns(*documents: tuple[str, int, bytes]) -> DocumentColumns:
    keys, versions, bodies = zip(*documents, strict=True)
    return DocumentColumns(keys, versions, bodies)


def test_one_collection_gets_all_without_a_look_at_the_records() -> None:
    nothing = DayDivision(Placement("mine"), lambda: pytest.fail("no kind is needed"))
    assert nothing.divide(DocumentColumns(["a", "b"], [1, 1], [b"", b""])) == [("mine", range(2))]


def test_records_of_several_kinds_on_one_topic_go_by_the_time_of_each() -> None:
    """Of order books: the best levels, a whole book, a diff; each on both sides of midnight. Entries lie beside."""
    documents = []
    for name in ("depth_top", "depth_checkpoint", "depth_interval", "depth"):
        kind = kind_named(name)
        for day in (0, 1):
            changes: dict[str, Any] = {kind.time: START + day * DAY_MS}
            if kind.position != kind.time:
                changes[kind.position] = getattr(kind.example, kind.position) + day
            if name == "depth_interval":
                changes["end_time"] = START + day * DAY_MS + 1
            record = msgspec.structs.replace(kind.example, **changes)
            key = kind.key(kind.series_of(record), getattr(record, kind.position))
            documents.append(kind.document(None, msgspec.json.encode(msgspec.structs.replace(record, key=key))))
    division = DayDivision(Placement("books", daily=True), lambda: kind_named("depth"))
    parts = division.divide(columns(*documents))
    assert [(name, list(places)) for name, places in parts] == [
        ("books_20240801", [0, 2, 6]),
        ("books_20240802", [1, 3, 7]),
        ("books_ledger", [4, 5]),
    ]


async def test_what_the_store_refuses_of_some_days_becomes_its_own_dead_letter() -> None:
    topic = Topic([trade(n, START + n % 2 * DAY_MS) for n in range(6)], [6])
    letters: list[bytes | None] = []

    async def send(*refused: tuple[Received, str]) -> None:
        letters.extend(received.key for received, _ in refused)

    topic.send = send  # type: ignore[method-assign, assignment]
    attempt = Dying(topic, random.Random(1), kills=0)
    attempt.documents.refused = {"BTCUSDT_000000000002", "BTCUSDT_000000000003"}
    await store_input(cast("Context[SinkParameters]", attempt), convert_trades)
    assert letters == [b"BTCUSDT_000000000002", b"BTCUSDT_000000000003"]
    assert {name: len(there) for name, there in attempt.documents.documents.items()} == {
        "trades_20240801": 2,
        "trades_20240802": 2,
    }
