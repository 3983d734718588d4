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
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.store import Answer, Outcome
from streamforge_utils.runtime.sink.conversion import HelperProcess
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
    return [commit[0] for commit in rig.bus.commits]


BAD = [
    (b"k", b"no json"),
    (None, b'{"_key": "BTCUSDT_1m_1"}'),
    (b"BTCUSDT_1m_1", encode_candle(msgspec.structs.replace(candle(START), open="nan"))),
    (b"BTCUSDT_1m_1", encode_candle(candle(START))),
    (None, b""),
]


async def test_records_become_documents_with_numbers_or_dead_letters(rig: Rig) -> None:
    rig.store.upserting = times(3, "the disk is full")  # for a moment
    first, second, refused = candles(3, version=7)
    rig.store.answers[refused.key] = Answer(Outcome.REFUSED, "key too long")
    older = msgspec.structs.replace(second, version=4, close="9.0")
    bad = [Message(key, value) for key, value in BAD]
    await rig.send(TOPIC, [*messages([first]), *bad, *messages([second, refused, first, older])])
    await rig.close_stream()
    supervisor = rig.supervisor(DEFINITION)
    assert await supervisor.run() == 0

    found = await rig.stored.read(COLLECTION)
    assert [(document.key, document.version) for document in found] == [(first.key, 7), (second.key, 7)]
    body = msgspec.json.decode(found[0].body)
    assert (body["symbol"], body["interval"], body["open_time"]) == ("BTCUSDT", "1m", START)
    assert (body["volume"], body["number_of_trades"]) == (1.25, 3)
    letters = await rig.read(DLQ)
    assert [(letter.key, letter.value) for letter in letters] == [*BAD, (refused.key.encode(), encode_candle(refused))]
    assert [headers(letter)["offset"] for letter in letters] == ["1", "2", "3", "4", "5", "7"]
    assert {headers(letter)["topic"] for letter in letters} == {TOPIC}
    assert [bool(headers(letter)["reason"]) for letter in letters] == [True] * 6
    assert headers(letters[-1])["reason"] == "key too long"
    word, progress = last(await rig.events())
    assert (word.event, progress.records, progress.position) == ("finished", 4, 9)
    assert (progress.refused, progress.unchanged, progress.stale) == (6, 1, 1)
    assert commits(rig)[-1] == 10
    counted = supervisor._metrics.text().decode()
    assert 'streamforge_records_total{target="arango-candles"} 4.0' in counted
    assert 'streamforge_store_seconds_count{target="arango-candles"} 1.0' in counted


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
    assert max(rig.store.batches) <= 5000
    assert commits(rig)[-1] == 60_000
    assert commits(rig) == sorted(commits(rig))
    await until(lambda: not any(map(_runs, helpers)))  # a slow one may have been replaced


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
