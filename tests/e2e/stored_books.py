"""What a workflow of an order book has stored and proven, compared with the exchange's own book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise, zip_longest
from typing import Any

import httpx
import msgspec

from streamforge import wiring
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.books.book_messages import DepthDiff
from streamforge_utils.model.books.records import StoredDepthInterval, interval_of
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, decode_manifest, segment_prefix
from streamforge_utils.model.books.stored_intervals import UNBACKED
from streamforge_utils.model.books.trust import BookInterval
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import ArangoSettings
from streamforge_utils.runtime.life.settings import DataSettings
from streamforge_utils.runtime.sink.past_books import PastBooks
from tests import backends
from tests.doubles.stored_books import diffs_of
from tests.e2e import rig
from tests.e2e.rig import Json
from tests.limits import LIMIT_S

LOADER, SINK = "loader-ws-orderbook", "arango-orderbook"
QUICK = {LOADER: {"top_seconds": 0.5, "checkpoint_seconds": 1}, SINK: {"segment_seconds": 0.5}}
_read_entry = msgspec.json.Decoder(StoredDepthInterval).decode
LOOKS = 10
"""Books of past moments that are compared."""


def start(manager: rig.Manager, symbol: str = "BTCUSDT", parameters: Mapping[str, Any] = QUICK) -> str:
    body = {"symbol": symbol, "type": "ws_orderbook", "parameters": parameters}
    answer = manager.api.post("/queues/start", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def is_verified(workflow: Json, beyond_ms: int = 0) -> bool:
    """Whether its book is verified now, and was so for a while of what is proven, which goes beyond a moment."""
    live = workflow["live"] or {}
    proven_ms = live.get("proven_through_ms") or 0
    return live.get("state") == "live" and live["trust"] == "verified" and proven_ms > beyond_ms


def checked(manager: rig.Manager, exchange: rig.Exchange, workflow: Json) -> tuple[list[Json], list[DepthDiff]]:
    """The coverage and the diffs of an ended workflow: nothing is claimed that is not stored, and no stored diff is
    called lost; each book that is called verified is that of the exchange."""
    segments = manager.coverage(workflow["queue_id"])
    assert segments, manager.story(workflow["queue_id"])
    assert all(left["end_ms"] == right["start_ms"] for left, right in pairwise(segments))
    diffs = asyncio.run(_compared(manager, exchange, workflow, segments))
    return segments, diffs


def read_diffs(manager: rig.Manager, symbol: str) -> list[DepthDiff]:
    """What the segments have, by id."""
    return asyncio.run(_diffs(ObjectFolder(manager.data / "objects"), symbol))


async def _diffs(objects: ObjectFolder, symbol: str) -> list[DepthDiff]:
    found: dict[tuple[int, int], DepthDiff] = {}
    async for one in objects.list(segment_prefix(symbol)):
        if one.name.endswith(MANIFEST):
            content = [block async for block in objects.get(one.name.removesuffix(MANIFEST) + CONTENT)]
            manifest = [block async for block in objects.get(one.name)]
            for diff in diffs_of(b"".join(content), decode_manifest(b"".join(manifest))):
                found[diff.last_id, diff.first_id] = diff
    return [one for _, one in sorted(found.items())]


def in_order(diffs: Sequence[DepthDiff]) -> Iterator[DepthDiff]:
    """Those that did not come late, behind others of later ids: what is late is of no chain."""
    reached = 0
    for one in sorted(diffs, key=lambda one: (one.time_ms, one.last_id)):
        if one.last_id > reached:
            reached = one.last_id
            yield one


def is_unbroken(diffs: Sequence[DepthDiff]) -> bool:
    """Whether no update lacks between diffs."""
    return all(left.last_id + 1 >= right.first_id for left, right in pairwise(in_order(diffs)))


async def _compared(
    manager: rig.Manager, exchange: rig.Exchange, workflow: Json, segments: Sequence[Json]
) -> list[DepthDiff]:
    symbol, objects, span = workflow["symbol"], ObjectFolder(manager.data / "objects"), workflow["time_range"]
    diffs = [one for one in await _diffs(objects, symbol) if span["start_ms"] <= one.time_ms < span["end_ms"]]
    stored, chained = [one for one in segments if one["verdict"] == "stored"], [*in_order(diffs)]
    for part in stored:
        meant = [one for one in chained if part["first_id"] <= one.last_id <= part["last_id"]]
        late = sum(part["first_id"] <= one.last_id <= part["last_id"] for one in diffs) - len(meant)
        assert_unbroken(part, [one for one in meant if part["start_ms"] <= one.time_ms < part["end_ms"]], late)
    for part in segments:
        if part["verdict"] == "lost":
            assert not [one for one in diffs if part["start_ms"] <= one.time_ms < part["end_ms"]], part
    verified = [one for one in stored if not one.get("cause")]
    async with opened_store(manager) as store:
        names = [one for one in await store.names() if one.startswith(workflow["collection"])]
        books = PastBooks(store, objects, [(one, 0) for one in reversed(names)], symbol)
        wholes = [
            kind_named("depth_checkpoint").time_of(one)
            for one in await _bodies(store, names, symbol, "depth_checkpoint")
        ]
        ledger = [interval_of(_read_entry(one)) for one in await _bodies(store, names, symbol, "depth_interval")]
        for part in stored:
            assert_told(part, ledger, [one for one in chained if part["start_ms"] <= one.time_ms < part["end_ms"]])
        moments = [
            diff.time_ms
            for diff in diffs
            for part in verified
            if any(part["start_ms"] <= whole_ms <= diff.time_ms < part["end_ms"] for whole_ms in wholes)
        ]
        assert moments or not verified
        for at_ms in moments[:: max(1, len(moments) // LOOKS)]:
            past = await books.at(at_ms)
            assert past.verified, past.why
            assert_equal(exchange, symbol, past.book.last_id, past.book.levels())
    return diffs


async def _bodies(store: Store, collections: Sequence[str], symbol: str, kind_name: str) -> list[bytes]:
    """What is stored of a kind."""
    kind = kind_named(kind_name)
    first, last = kind.key_range(Series(symbol, kind_name), range(10**kind.digits - 1))
    documents = [one for name in collections for one in await store.read(name, first=first, last=last, limit=10_000)]
    return [one.body for one in documents]


def assert_told(part: Json, ledger: Sequence[BookInterval], diffs: Sequence[DepthDiff]) -> None:
    """The trust of a stored range is what the loader told of each diff last."""
    for diff in diffs:
        told = {one.doubt for one in ledger if one.first_id <= diff.last_id <= one.last_id}
        may = (told or {"unverifiable: loader ended"}) | {f"unverifiable: {UNBACKED}"}
        assert part.get("cause", "") in may, (part, diff.first_id, diff.last_id, told)


def assert_unbroken(part: Json, diffs: Sequence[DepthDiff], late: int = 0) -> None:
    """Each id of a stored range is there; late diffs of its ids may be counted, too."""
    reached = part["first_id"] - 1
    for one in diffs:
        assert one.first_id <= reached + 1, (part, one.first_id, reached)
        reached = max(reached, one.last_id)
    assert reached >= part["last_id"], part
    assert len(diffs) <= part["records"] <= len(diffs) + late, (part, len(diffs), late)


def assert_equal(exchange: rig.Exchange, symbol: str, update_id: int, sides: Sequence[Any]) -> None:
    """The levels of a book are the exchange's after the same update, as far as they are known."""
    query: dict[str, str | int] = {"symbol": symbol, "u": update_id}
    true = httpx.get(f"{exchange.url}/oracle/depth", params=query, timeout=LIMIT_S).raise_for_status().json()
    for told, side in zip(sides, (true["bids"], true["asks"]), strict=True):
        found, expected = ([[float(cell) for cell in one] for one in levels] for levels in (told, side[: len(told)]))
        wrong = [pair for pair in zip_longest(found, expected) if pair[0] != pair[1]]
        assert not wrong, (symbol, update_id, len(wrong), wrong[:3])


@asynccontextmanager
async def opened_store(manager: rig.Manager) -> AsyncIterator[Store]:
    arango = load(ArangoSettings, backends.store_environment(manager.data))
    store = wiring.make_store(DataSettings(data_dir=manager.data, arango=arango))
    await store.connect()
    try:
        yield store
    finally:
        await store.close()
