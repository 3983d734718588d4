"""arango-connector on the embedded bus and store: what it stores of anybody's topic, and what becomes a dead letter."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from streamforge.workers.arango_connector import DEFINITION
from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import ConfigError, TopicFull
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.model.names import consumer_group
from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.runtime.input.dead_letter_replay import Offsets
from streamforge_utils.runtime.life.worker_process import load_worker
from streamforge_utils.runtime.output.topic_specs import dead_letters_topic
from tests.doubles.faulty import always, times
from tests.limits import LIMIT_S
from tests.runtime.rig import DLQ, QUEUE, Rig, headers, last, words

FOREIGN, COLLECTION = "orders", "orders_of_shop"
GROUP = consumer_group(QUEUE, DEFINITION.target)
HOSTILE = [
    b"",
    b"no JSON",
    b"[1]",
    b"7",
    b'{"a":NaN}',
    b'{"_key":"a/b"}',
    b'{"_from":"a/1"}',
    b'{"a":1,"a":2}',
    b"\xff",
]
HOSTILE += [b'{"a":' * 100_000, b'{"x":"' + b"y" * 900_000]


class Shop(Rig):
    """A worker of a topic that another producer writes."""

    def __init__(self, folder: Path, until: str = "end") -> None:
        super().__init__(folder)
        for name in ("STREAMFORGE_UPSTREAM", "TIME_RANGE", "SYMBOL", "TYPE"):
            del self.environment[name]
        self.environment |= {
            "KAFKA_TOPIC": FOREIGN,
            "COLLECTION_NAME": COLLECTION,
            "STREAMFORGE_UNTIL": until,
        }

    async def open(self, *values: bytes, key: bytes | None = b"k") -> None:
        await self.prepare()
        await self.seen.create_topic(TopicSpec(name=FOREIGN))
        await self.write(*values, key=key)

    async def write(self, *values: bytes, key: bytes | None = b"k") -> None:
        await self.send(FOREIGN, [Message(key, value) for value in values])

    async def mark(self, producer: str) -> None:
        marker = EndOfStream(producer=producer, attempt=1, records=0, reason="finished")
        await self.write(encode_marker(marker), key=EOS_KEY)

    async def until_stored(self, count: int) -> None:
        """Return once so many documents are there."""
        while True:
            if len(await self.contents()) >= count:
                return

    async def contents(self) -> dict[str, Any]:
        return {one.key: json.loads(one.body) for one in await self.stored.read(COLLECTION, limit=10_000)}


async def test_objects_are_stored_and_all_else_is_dead_with_its_reason(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    good = [b'{"_key":"%d","n":%d}' % (n, n) for n in range(20)] + [b'{"no":"key"}', b'{ "no" : "key" }']
    await rig.open(*good[:11], *HOSTILE, *good[11:])
    assert await rig.live(DEFINITION) == 0
    found = await rig.contents()
    assert len(found) == 21
    assert found["7"] == {"n": 7}
    assert [one for key, one in found.items() if len(key) == 32] == [{"no": "key"}]
    letters = await rig.read(DLQ)
    assert [letter.value for letter in letters] == HOSTILE
    assert [int(headers(letter)["offset"]) for letter in letters] == list(range(11, 11 + len(HOSTILE)))
    assert all(headers(letter)["reason"] and headers(letter)["topic"] == FOREIGN for letter in letters)
    event, progress = last(await rig.events())
    assert (event.event, progress.records, progress.refused) == ("finished", 22, len(HOSTILE))
    # Nothing is written where others write, and nothing is made beside it.
    assert len(await rig.read(FOREIGN)) == len(good) + len(HOSTILE)
    assert f"{FOREIGN}-dlq" not in await rig.seen.topics()
    await rig.close()


async def test_what_retention_removed_before_it_was_read_is_told_before_the_last_word_and_with_it(
    tmp_path: Path,
) -> None:
    rig = Shop(tmp_path)
    await rig.prepare()
    await rig.seen.create_topic(TopicSpec(name=FOREIGN, max_bytes=100_000))
    for number in range(30):
        await rig.write(b'{"n":%d,"x":"%s"}' % (number, secrets.token_hex(5000).encode()))
    ((first, end),) = (await rig.seen.offsets(FOREIGN)).values()
    assert (first > 3, end) == (True, 30)
    rig.environment["STREAMFORGE_OFFSETS"] = "0:3:30"
    assert await rig.live(DEFINITION) == 0
    assert sorted(one["n"] for one in (await rig.contents()).values()) == [*range(first, end)]
    told = [(event.event, event.extra["skipped"]) for event in await rig.events() if "skipped" in (event.extra or {})]  # type: ignore[index]
    assert told == [("loading", [f"0:3:{first}"]), ("finished", [f"0:3:{first}"])]
    await rig.close()


async def test_doing_it_twice_leaves_one_and_the_message_that_was_sent_later_wins(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    await rig.open(b'{"_key":"a","n":1}', b'{"x":1}', b'{"_key":"a","n":2}', b'{"_key":"b","_version":9,"n":1}')
    assert await rig.live(DEFINITION) == 0
    before = await rig.contents()
    rig.environment |= {"STREAMFORGE_GROUP": "again", "STREAMFORGE_ATTEMPT": "2"}
    await rig.write(b'{"_key":"b","_version":8,"n":2}')
    assert await rig.live(DEFINITION) == 0
    assert await rig.contents() == before
    assert before["a"] == {"n": 2}
    assert before["b"] == {"n": 1}
    _, progress = last(await rig.events())
    assert (progress.records, progress.stale) == (5, 1)
    await rig.close()


async def test_a_sink_that_fails_before_each_commit_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    await rig.open(*(b'{"n":%d}' % n for n in range(50)), b"bad", *(b'{"n":%d}' % n for n in range(50, 60)))
    rig.bus.commit = always("the bus is away")
    rig.environment["STREAMFORGE_STOP_GRACE_SECONDS"] = "1"

    async def crash() -> None:
        supervisor = rig.supervisor(DEFINITION)
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(LIMIT_S):
            await rig.until_stored(60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await rig.bus.close()  # a process that is gone is no member of its group

    await crash()
    rig.bus.commit = times(0, "")
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert sorted(one["n"] for one in (await rig.contents()).values()) == list(range(60))
    # A letter may be there twice after a crash; it names one place.
    assert {headers(letter)["offset"] for letter in await rig.read(DLQ)} == {"50"}
    await rig.close()


async def test_it_ends_at_the_marker_of_the_named_producer_and_stores_no_marker(tmp_path: Path) -> None:
    rig = Shop(tmp_path, "marker:shop")
    await rig.open(b'{"n":1}')
    await rig.mark("stranger")
    await rig.write(b'{"n":2}')
    await rig.mark("shop")
    await rig.write(b'{"n":3}', b'{"end_of_stream":1}', key=EOS_KEY)
    assert await rig.live(DEFINITION) == 0
    kept = [one for one in (await rig.contents()).values() if "n" in one]
    assert sorted(one["n"] for one in kept) == [1, 2, 3]
    assert await rig.read(DLQ) == []
    await rig.close()


@pytest.mark.e2e
async def test_stopped_by_command_it_ends_in_order_and_says_what_it_has_left(tmp_path: Path) -> None:
    rig = Shop(tmp_path, "stop")
    await rig.open(b'{"n":1}', b'{"n":2}')
    running = asyncio.create_task(rig.live(DEFINITION))
    async with asyncio.timeout(LIMIT_S):
        await rig.until_stored(2)
    await rig.command("stop")
    assert await running == 0
    events = await rig.events()
    assert words(events) == ["started", "interrupted"]
    assert (events[-1].extra or {})["left"] == 0
    await rig.close()


async def test_letters_are_replayed_without_replacing_what_is_newer(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    rig.environment["STREAMFORGE_JSON_SCHEMA"] = '{"required":["n"]}'
    await rig.open(b'{"_key":"a"}', b'{"_key":"b"}', b"bad")
    assert await rig.live(DEFINITION) == 0
    assert await rig.contents() == {}
    await rig.write(b'{"_key":"a","n":5}')
    assert await rig.live(DEFINITION) == 0
    rig.environment |= {
        "KAFKA_TOPIC": DLQ,
        "STREAMFORGE_REPLAY": "true",
        "STREAMFORGE_JSON_SCHEMA": "",
        "STREAMFORGE_ATTEMPT": "2",
    }
    assert await rig.live(DEFINITION) == 0
    assert await rig.contents() == {"a": {"n": 5}, "b": {}}
    letters = [headers(letter) for letter in await rig.read(DLQ)]
    assert [(one["topic"], one["offset"], one["attempt"]) for one in letters[3:]] == [(FOREIGN, "2", "2")]
    await rig.close()


async def test_chosen_letters_are_replayed_and_the_others_stay_to_be_chosen_later(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    rig.environment["STREAMFORGE_JSON_SCHEMA"] = '{"required":["n"]}'
    await rig.open(b'{"_key":"a"}', b'{"_key":"b"}', b"bad", b'{"_key":"c"}')
    assert await rig.live(DEFINITION) == 0
    rig.environment |= {"KAFKA_TOPIC": DLQ, "STREAMFORGE_REPLAY": "true", "STREAMFORGE_JSON_SCHEMA": ""}

    read = Offsets()

    async def replay(attempt: int, *offsets: int) -> list[tuple[str, str]]:
        """The letters that come back, each with the attempt that has refused it. offsets: in the topic of letters."""
        nonlocal read
        chosen = [PartitionRange(0, offset, offset + 1) for offset in offsets]
        rig.environment |= {
            "STREAMFORGE_REPLAY_LETTERS": ",".join(map(str, chosen)),
            "STREAMFORGE_REPLAY_PASSED": ",".join(map(str, read.ranges)),
            "STREAMFORGE_ATTEMPT": f"{attempt}",
        }
        there = len(await rig.read(DLQ))
        assert await rig.live(DEFINITION) == 0
        read = Offsets([*read.ranges, *chosen])
        return [(one["offset"], one["attempt"]) for one in map(headers, (await rig.read(DLQ))[there:])]

    assert await replay(2, 1, 2) == [("2", "2")], "one was refused again, two were not meant"
    assert await rig.contents() == {"b": {}}
    assert ((await rig.events())[-1].extra or {})["refused"] == 1
    assert (await rig.seen.lag(DLQ, GROUP)).records == 5, "the first of them stays"
    assert await replay(3, 0) == []
    assert (await rig.seen.lag(DLQ, GROUP)).records == 2, "all before the one that stays"
    assert await replay(4) == [("2", "4")]
    assert await rig.contents() == {"a": {}, "b": {}, "c": {}}
    await rig.close()


async def test_chosen_letters_are_replayed_also_where_the_topic_of_letters_is_full(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    await rig.open()
    spec = dead_letters_topic(DLQ, (GROUP,), 50_000)
    await rig.seen.create_topic(spec)
    impatient = EmbeddedBus(tmp_path / "bus", full_timeout_s=0)
    producer = await impatient.producer()
    letters = [b'{"_key":"k%d","x":"%s"}' % (n, secrets.token_hex(5000).encode()) for n in range(10)]

    async def fill() -> None:
        for value in letters:
            await producer.send(DLQ, [Message(None, value)])

    with pytest.raises(TopicFull):
        await fill()
    await impatient.close()
    rig.environment |= {"KAFKA_TOPIC": DLQ, "STREAMFORGE_REPLAY": "true", "STREAMFORGE_REPLAY_LETTERS": "0:2:3"}
    assert await rig.live(DEFINITION) == 0
    assert list(await rig.contents()) == ["k2"]
    await rig.close()


async def test_a_topic_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    await rig.prepare()
    assert await rig.live(DEFINITION) == 2
    assert FOREIGN in str((await rig.events())[-1].error_message)
    assert FOREIGN not in await rig.seen.topics()
    await rig.close()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STREAMFORGE_UNTIL", "tomorrow", "STREAMFORGE_UNTIL"),
        ("STREAMFORGE_OFFSETS", "0:9", "STREAMFORGE_OFFSETS"),
        ("STREAMFORGE_JSON_SCHEMA", '{"type":"nothing"}', "JSON Schema is not acceptable"),
        ("TYPE", "jsn", "type 'jsn' is not known"),
    ],
)
def test_a_bad_setting_is_named_before_anything_is_read(tmp_path: Path, name: str, value: str, told: str) -> None:
    rig = Shop(tmp_path)
    rig.environment[name] = value
    with pytest.raises(ConfigError, match=told):
        load_worker(DEFINITION, rig.environment)


async def test_a_store_that_is_away_for_long_ends_the_attempt_and_the_next_one_stores_all(tmp_path: Path) -> None:
    rig = Shop(tmp_path)
    await rig.open(b'{"n":1}', b'{"n":2}')
    rig.environment["STREAMFORGE_STORE_PATIENCE_SECONDS"] = "0"
    rig.store.upserting = always("the store is away")
    assert await rig.live(DEFINITION) == 1
    rig.store.upserting = None
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert len(await rig.contents()) == 2
    await rig.close()
