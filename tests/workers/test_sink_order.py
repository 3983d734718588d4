"""What a sink gives to the store side by side, and in which order it counts."""

from __future__ import annotations

import asyncio

import msgspec

from streamforge.workers.arango_candles import DEFINITION
from streamforge_utils.model.kinds.candles import Candle, encode_candle
from streamforge_utils.ports.bus import Message, TopicPartition
from tests.doubles.candles import candle
from tests.doubles.faulty import always
from tests.limits import LIMIT_S
from tests.runtime.rig import COLLECTION, TOPIC, Rig, last, until

START = 1_722_470_400_000
MINUTE = 60_000
BATCH = 5000


def candles(count: int) -> list[Candle]:
    return [candle(START + n * MINUTE, version=1) for n in range(count)]


def messages(found: list[Candle]) -> list[Message]:
    return [Message(one.key.encode(), encode_candle(one)) for one in found]


def commits(rig: Rig) -> list[int]:
    return [commit[TopicPartition(TOPIC, 0)] for commit in rig.bus.commits]


async def stored(rig: Rig, count: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while await rig.stored.count(COLLECTION) < count:
            await rig.until_event("loading", 1 + len(await rig.events()))


async def test_a_batch_is_stored_beside_the_one_before_and_committed_after_it(rig: Rig) -> None:
    found = candles(2 * BATCH)
    rig.store.upserts_at_once = 2
    event = rig.store.held[found[0].key] = asyncio.Event()
    await rig.send(TOPIC, messages(found))
    await rig.close_stream()
    running = asyncio.create_task(rig.live(DEFINITION))
    await stored(rig, BATCH)
    assert [d.key for d in await rig.stored.read(COLLECTION, limit=1)] == [found[BATCH].key]
    assert rig.bus.commits == []
    event.set()
    assert await running == 0
    assert await rig.stored.count(COLLECTION) == 2 * BATCH
    assert commits(rig)[-1] == 2 * BATCH
    assert commits(rig) == sorted(commits(rig))


async def test_a_batch_with_a_key_of_the_one_before_waits_for_it(rig: Rig) -> None:
    """Of one moment the later word counts: it must not come first."""
    found = candles(BATCH)
    later = msgspec.structs.replace(found[7], close="9.0")
    rig.store.upserts_at_once = 2
    event = rig.store.held[found[0].key] = asyncio.Event()
    await rig.send(TOPIC, messages([*found, later]))
    await rig.close_stream()
    running = asyncio.create_task(rig.live(DEFINITION))
    await until(lambda: rig.store.batches == [BATCH])
    await rig.until_event("loading", 4)
    assert rig.store.batches == [BATCH]
    event.set()
    assert await running == 0
    (kept,) = await rig.stored.read(COLLECTION, first=later.key, limit=1)
    assert msgspec.json.decode(kept.body)["close"] == 9.0
    assert last(await rig.events())[1].records == BATCH + 1


async def test_what_lies_behind_a_batch_that_failed_is_not_committed(rig: Rig) -> None:
    rig.environment["STREAMFORGE_STORE_PATIENCE_SECONDS"] = "0.3"
    found = candles(2 * BATCH)
    rig.store.upserts_at_once = 2
    event = rig.store.held[found[0].key] = asyncio.Event()
    await rig.send(TOPIC, messages(found))
    await rig.close_stream()
    running = asyncio.create_task(rig.live(DEFINITION))
    await stored(rig, BATCH)
    rig.store.upserting = always("the disk is full")
    event.set()
    assert await running == 1
    assert rig.bus.commits == []


async def test_a_store_that_takes_one_after_the_other_has_one_at_a_time(rig: Rig) -> None:
    found = candles(2 * BATCH)
    event = rig.store.held[found[0].key] = asyncio.Event()
    await rig.send(TOPIC, messages(found))
    await rig.close_stream()
    running = asyncio.create_task(rig.live(DEFINITION))
    await until(lambda: rig.store.batches == [BATCH])
    await rig.until_event("loading", 4)
    assert rig.store.batches == [BATCH]
    event.set()
    assert await running == 0
    assert await rig.stored.count(COLLECTION) == 2 * BATCH
