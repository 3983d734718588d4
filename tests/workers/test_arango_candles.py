"""The sink of candles: what it stores, what it refuses, what it commits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from streamforge.workers.arango_candles import DEFINITION
from streamforge_utils.model.kinds.candles import Candle, encode_candle
from streamforge_utils.ports.bus import Message, TopicPartition
from streamforge_utils.ports.store import Answer, Outcome
from streamforge_utils.runtime.helper_process import HelperProcess
from streamforge_utils.runtime.sinks import BATCHES_AT_ONCE
from tests.doubles.candles import candle
from tests.doubles.faulty import always, times
from tests.limits import LIMIT_S
from tests.runtime.rig import COLLECTION, DLQ, LOADER, QUEUE, TOPIC, Rig, headers, last, until, words

START = 1_722_470_400_000
MINUTE = 60_000


def candles(count: int, *, version: int = 1) -> list[Candle]:
    return [candle(START + n * MINUTE, version=version) for n in range(count)]


def messages(found: Sequence[Candle]) -> list[Message]:
    return [Message(one.key.encode(), encode_candle(one)) for one in found]


def commits(rig: Rig) -> list[int]:
    return [commit[TopicPartition(TOPIC, 0)] for commit in rig.bus.commits]


async def test_records_become_documents_with_numbers(rig: Rig) -> None:
    await rig.send(TOPIC, messages(candles(3, version=7)))
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    found = await rig.stored.read(COLLECTION)
    assert [document.key for document in found] == [one.key for one in candles(3)]
    assert found[0].version == 7
    body = msgspec.json.decode(found[0].body)
    assert (body["symbol"], body["interval"], body["open_time"]) == ("BTCUSDT", "1m", START)
    assert (body["volume"], body["number_of_trades"]) == (1.25, 3)
    word, progress = last(await rig.events())
    assert (word.event, progress.records, progress.position, progress.refused) == ("finished", 3, 2, 0)
    assert commits(rig) == [3]


async def test_a_batch_is_at_most_5000_records_and_all_are_stored(rig: Rig) -> None:
    await rig.send(TOPIC, messages(candles(12_001)))
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    assert await rig.stored.count(COLLECTION) == 12_001
    assert max(rig.store.batches) <= 5000
    assert commits(rig)[-1] == 12_001
    assert commits(rig) == sorted(commits(rig))


BAD = [
    (b"k", b"no json"),
    (None, b'{"_key": "BTCUSDT_1m_1"}'),
    (b"BTCUSDT_1m_1", encode_candle(msgspec.structs.replace(candle(START), open="nan"))),
    (b"BTCUSDT_1m_1", encode_candle(candle(START))),
    (None, b""),
]


@pytest.mark.parametrize(("key", "value"), BAD)
async def test_a_bad_record_becomes_a_dead_letter_and_the_others_are_stored(
    rig: Rig, key: bytes | None, value: bytes
) -> None:
    good = messages(candles(3))
    await rig.send(TOPIC, [good[0], Message(key, value), *good[1:]])
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    assert await rig.stored.count(COLLECTION) == 3
    (letter,) = await rig.read(DLQ)
    assert (letter.key, letter.value) == (key, value)
    assert headers(letter)["offset"] == "1"
    assert headers(letter)["topic"] == TOPIC
    assert headers(letter)["reason"]
    progress = last(await rig.events())[1]
    assert (progress.records, progress.refused) == (3, 1)


async def test_a_batch_of_nothing_but_bad_records_is_committed(rig: Rig) -> None:
    await rig.send(TOPIC, [Message(b"k", b"bad")] * 10)
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    assert len(await rig.read(DLQ)) == 10
    assert commits(rig) == [10]


async def test_what_the_store_refuses_becomes_a_dead_letter(rig: Rig) -> None:
    found = candles(3)
    rig.store.answers[found[1].key] = Answer(Outcome.REFUSED, "key too long")
    await rig.send(TOPIC, messages(found))
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    (letter,) = await rig.read(DLQ)
    assert (letter.value, headers(letter)["reason"]) == (encode_candle(found[1]), "key too long")
    progress = last(await rig.events())[1]
    assert (progress.records, progress.refused) == (2, 1)


async def test_old_and_equal_records_are_told_apart(rig: Rig) -> None:
    first, second, third = candles(3, version=5)
    older = msgspec.structs.replace(second, version=4, close="9.0")
    await rig.send(TOPIC, messages([first, second, third, first, older]))
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    progress = last(await rig.events())[1]
    assert (progress.records, progress.unchanged, progress.stale) == (5, 1, 1)


async def test_nothing_is_committed_before_the_store_has_answered(rig: Rig) -> None:
    rig.store.gate = asyncio.Event()
    await rig.send(TOPIC, messages(candles(5)))
    await rig.close_stream()
    running = asyncio.create_task(rig.live(DEFINITION))
    await rig.until_event("loading", 2)
    assert rig.bus.commits == []
    rig.store.gate.set()
    assert await running == 0
    assert commits(rig) == [5]


async def test_nothing_is_committed_before_the_dead_letter_is_kept(rig: Rig) -> None:
    rig.bus.held[DLQ] = asyncio.Event()
    await rig.send(TOPIC, [Message(b"k", b"bad")])
    await rig.close_stream()
    running = asyncio.create_task(rig.live(DEFINITION))
    await rig.until_event("loading", 2)
    assert rig.bus.commits == []
    rig.bus.held.pop(DLQ).set()
    assert await running == 0
    assert commits(rig) == [1]


async def test_a_slow_store_slows_the_reader(rig: Rig) -> None:
    rig.store.gate = asyncio.Event()
    await rig.send(TOPIC, messages(candles(50_000)))
    supervisor = rig.supervisor(DEFINITION)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(rig.store.batches) == rig.store.upserts_at_once)
    said = sum(event.event == "loading" for event in await rig.events())
    await rig.until_event("loading", said + 3)  # time to read on, had it not stopped
    read = supervisor._metrics.registry.get_sample_value(
        "streamforge_batch_records_sum", {"target": "arango-candles", "direction": "read"}
    )
    assert read is not None
    assert read <= (BATCHES_AT_ONCE + 1) * 5000
    rig.store.gate.set()
    await rig.close_stream()
    assert await running == 0


async def test_a_store_that_is_away_for_a_moment_is_asked_again(rig: Rig) -> None:
    rig.store.upserting = times(3, "the disk is full")
    await rig.send(TOPIC, messages(candles(5)))
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    assert await rig.stored.count(COLLECTION) == 5
    assert last(await rig.events())[1].records == 5


async def test_a_store_that_stays_away_is_an_error_and_nothing_is_committed(rig: Rig) -> None:
    rig.environment["STREAMFORGE_STORE_PATIENCE_SECONDS"] = "0.3"
    rig.store.upserting = always("the disk is full")
    await rig.send(TOPIC, messages(candles(5)))
    assert await rig.live(DEFINITION) == 1
    word, _ = last(events := await rig.events())
    assert words(events) == ["started", "error"]
    assert word.error_message == "the disk is full"
    assert rig.bus.commits == []


async def test_a_store_that_stays_away_is_reported_as_a_wait(rig: Rig) -> None:
    # It is stopped before its patience is over, and what it has can not be drained.
    rig.environment |= {"STREAMFORGE_STORE_PATIENCE_SECONDS": "3600", "STREAMFORGE_DRAIN_SECONDS": "0.2"}
    rig.store.upserting = always("the disk is full")
    await rig.send(TOPIC, messages(candles(5)))
    supervisor = rig.supervisor(DEFINITION)
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(LIMIT_S):
        while (await rig.until_event("loading"))[-1].extra is None:
            pass
        await until(lambda: supervisor._progress.snapshot().waiting == "the disk is full")
    supervisor.stop.by_command()
    assert await running == 0


async def test_a_ping_is_answered_while_a_batch_is_stored(rig: Rig) -> None:
    rig.environment["STREAMFORGE_HEARTBEAT_SECONDS"] = "60"
    rig.store.gate = asyncio.Event()
    await rig.send(TOPIC, messages(candles(10_000)))
    supervisor = rig.supervisor(DEFINITION)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: rig.store.batches == [5000])
    for number in range(5):
        # Both in whole milliseconds: an answer within the same one is none of the past.
        await rig.command("ping", sent_at=rig.clock.now_ms() / 1000)
        await rig.until_event("pong", number + 1)
    assert rig.bus.commits == []
    rig.store.gate.set()
    await rig.close_stream()
    assert await running == 0
    pongs = [event for event in await rig.events() if event.event == "pong"]
    assert len(pongs) == 5
    assert all((event.ponged_at or 0) >= (event.ping_ts or 0) > 0 for event in pongs)


async def test_a_restarted_sink_loses_nothing_and_stores_nothing_twice(rig: Rig) -> None:
    rig.store.upserting = times(1, "down")
    rig.environment["STREAMFORGE_STORE_PATIENCE_SECONDS"] = "0"
    await rig.send(TOPIC, messages(candles(7000)))
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 1
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.stored.count(COLLECTION) == 7000


async def test_dead_letters_are_replayed_by_a_sink_that_reads_them(rig: Rig) -> None:
    rig.store.answers[candles(1)[0].key] = Answer(Outcome.REFUSED, "for now")
    await rig.send(TOPIC, [*messages(candles(2)), Message(b"k", b"bad")])
    await rig.close_stream()
    assert await rig.live(DEFINITION) == 0
    assert len(await rig.read(DLQ)) == 2
    rig.store.answers.clear()
    rig.environment |= {"KAFKA_TOPIC": DLQ, "STREAMFORGE_UPSTREAM": f"{QUEUE}-replay:1"}
    (marker,) = (m for m in await rig.read(TOPIC) if m.key == b"__eos__")
    await rig.send(DLQ, [Message(marker.key, marker.value.replace(LOADER.encode(), f"{QUEUE}-replay".encode()))])
    assert await rig.live(DEFINITION) == 0
    assert await rig.stored.count(COLLECTION) == 2
    letters = [m for m in await rig.read(DLQ) if m.key != b"__eos__"]
    assert [letter.value for letter in letters[2:]] == [b"bad"]
    assert headers(letters[-1])["topic"] == TOPIC
    assert headers(letters[-1])["offset"] == "2"


async def test_a_process_helps_with_a_backlog_and_nothing_of_it_stays(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers: list[int] = []
    begin = HelperProcess.__init__

    def noted(self: HelperProcess, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        helpers.append(self.pid)

    monkeypatch.setattr(HelperProcess, "__init__", noted)
    rig.store.gate = asyncio.Event()
    found = messages(candles(60_000))
    found[40_000] = Message(b"k", b"bad")
    await rig.send(TOPIC, found)
    await rig.close_stream()
    running = asyncio.create_task(rig.live(DEFINITION))
    await until(lambda: bool(helpers))
    rig.store.gate.set()
    assert await running == 0
    assert await rig.stored.count(COLLECTION) == 59_999
    assert [headers(letter)["offset"] for letter in await rig.read(DLQ)] == ["40000"]
    assert commits(rig)[-1] == 60_000
    await until(lambda: not any(map(_runs, helpers)))  # a slow one may have been replaced


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
