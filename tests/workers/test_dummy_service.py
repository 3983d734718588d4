"""dummy-service: what it plays, what it obeys, what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from streamforge.workers import arango_candles, definition, dummy_service, loader_api_candles
from streamforge.workers.dummy_service import MAX_RECORD_BYTES, Pace, padded
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.kinds.candles import encode_candle
from streamforge_utils.model.messages import EOS_KEY, Event, decode_marker
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime.life.supervisor import Supervisor
from tests.doubles.candles import candle
from tests.doubles.clock import FakeClock
from tests.limits import LIMIT_S
from tests.runtime.rig import COLLECTION, DLQ, QUEUE, TOPIC, Rig, last, until, words

START = 1_722_470_400_000
DAY = 1440


def made(rig: Rig, **settings: str) -> Supervisor[dummy_service.Parameters]:
    rig.environment["STREAMFORGE_STOP_GRACE_SECONDS"] = "20"  # a busy machine takes its time for the last word
    rig.environment |= {f"STREAMFORGE_{name.upper()}": value for name, value in settings.items()}
    return rig.supervisor(dummy_service.DEFINITION)


async def live(rig: Rig, **settings: str) -> int:
    async with asyncio.timeout(LIMIT_S):
        return await made(rig, **settings).run()


def loads(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if (event.extra or {}).get("simulated")]


async def until_loads(rig: Rig, count: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while len(loads(await rig.events())) < count:
            pass  # reading gives other tasks their turn


async def test_noop_needs_a_queue_and_a_bus_alone_and_publishes_started_and_finished(rig: Rig) -> None:
    needed = ("QUEUE_ID", "STREAMFORGE_DATA_DIR", "STREAMFORGE_METRICS_PORT")
    rig.environment = {name: rig.environment[name] for name in needed}
    assert await live(rig, noop="true") == 0
    events = await rig.events()
    assert events[0].symbol == "DUMMY"
    assert [event.event for event in events] == ["started", "finished"]
    assert {(event.target, event.producer) for event in events} == {("dummy-service", "dummy-service__abc123")}


@pytest.mark.parametrize("type_name", ["dummy", "api", "ws", "ws_orderbook", "api_candles_1h"])
async def test_any_type_will_do_and_is_told_in_its_events(rig: Rig, type_name: str) -> None:
    rig.environment |= {"TYPE": type_name, "INTERVAL": "" if type_name == "ws_orderbook" else "1h"}
    assert await live(rig, simulate_loading="true", events="2", rate="1000") == 0
    assert {event.type for event in await rig.events()} == {type_name}


async def test_a_loader_that_is_played_needs_a_type_that_a_loader_takes(rig: Rig) -> None:
    rig.environment["TYPE"] = "dummy"
    with pytest.raises(ConfigError, match="TYPE: type 'dummy' is not known: choose one of api_agg_trades, "):
        made(rig, imitate="loader-api-candles")


async def test_a_type_that_is_no_word_is_refused(rig: Rig) -> None:
    rig.environment["TYPE"] = "a b"
    with pytest.raises(ConfigError, match="TYPE: 'a b' is not accepted"):
        made(rig)


async def test_a_simulated_loading_of_so_many_events_is_told_whole_and_then_over(rig: Rig) -> None:
    assert await live(rig, simulate_loading="true", events="250", rate="100000", record_size="64") == 0
    events = await rig.events()
    told = loads(events)
    assert [event.extra["number"] for event in told if event.extra] == list(range(1, 251))
    assert [event.records_written for event in told] == list(range(1, 251))
    assert {len((event.extra or {})["padding"]) for event in told} == {64}
    word, progress = last(events)
    assert (word.event, word.records_written, progress.share) == ("finished", 250, 1.0)


async def test_a_rate_is_kept_on_the_whole_and_what_was_late_is_caught_up_with() -> None:
    clock = FakeClock()
    pace = Pace(clock, 20)
    assert pace.step == 2
    for _ in range(3):
        await pace.let(2)
    assert clock.slept == pytest.approx([0.1, 0.1])
    await clock.sleep(0.25)
    await pace.let(2)
    await pace.let(2)
    await pace.let(2)
    assert clock.slept == pytest.approx([0.1, 0.1, 0.25, 0.05])
    assert (Pace(clock, 0).step, Pace(clock, 0.1).step, Pace(clock, 1e6).step) == (1000, 1, 1000)


async def test_the_command_simulates_a_loading_and_the_service_goes_on(rig: Rig) -> None:
    work = asyncio.create_task(live(rig))
    await rig.command("simulate-loading", payload={"events": 2, "rate": 1000})
    await until_loads(rig, 2)
    await rig.command("simulate-loading", payload={"events": 3, "rate": 1000})
    await until_loads(rig, 5)
    assert not work.done()
    await rig.command("stop")
    assert await work == 0, rig.logs.getvalue()
    assert [event.extra["number"] for event in loads(await rig.events()) if event.extra] == [1, 2, 1, 2, 3]


async def test_a_loading_by_command_takes_the_place_of_the_one_under_way(rig: Rig) -> None:
    work = asyncio.create_task(live(rig, simulate_loading="true", rate="0.0001"))
    await until_loads(rig, 1)
    await rig.command("simulate-loading", payload={"events": 1})
    await until_loads(rig, 2)
    await rig.command("stop")
    assert await work == 0, rig.logs.getvalue()


async def test_it_fails_when_it_is_told_to_and_that_is_worth_another_attempt(rig: Rig) -> None:
    assert await live(rig, fail_after="0.05") == 1
    word, _ = last(await rig.events())
    assert (word.event, word.finished) == ("error", True)
    assert word.error_message == "dummy-service fails after 0.05 s, as it was started"
    assert "permanent" not in (word.extra or {})


async def test_it_fails_by_command_while_it_loads(rig: Rig) -> None:
    work = asyncio.create_task(live(rig, simulate_loading="true", rate="10", fail_after="3600"))
    await until_loads(rig, 3)
    await rig.command("fail-after", payload={"seconds": 0})
    assert await work == 1
    word, progress = last(await rig.events())
    assert word.error_message == "dummy-service fails after 0 s, as the command said"
    assert progress.records >= 3


async def test_payloads_that_do_not_fit_are_counted_and_change_nothing(rig: Rig) -> None:
    supervisor = made(rig)
    work = asyncio.create_task(supervisor.run())
    await rig.command("fail-after")
    await rig.command("fail-after", payload={"seconds": -1})
    await rig.command("fail-after", payload={"seconds": "1"})
    await rig.command("simulate-loading", payload={"record_size": MAX_RECORD_BYTES + 1})
    await rig.command("dance")
    await rig.command("ping", sent_at=1.0)
    await rig.until_event("pong")
    counted = supervisor._metrics.text().decode()
    assert 'streamforge_commands_total{command="invalid",target="dummy-service"} 4.0' in counted
    assert 'streamforge_commands_total{command="unknown",target="dummy-service"} 1.0' in counted
    assert not work.done()
    await rig.command("stop")
    assert await work == 0, rig.logs.getvalue()


async def test_it_is_done_after_so_long(rig: Rig) -> None:
    assert await live(rig, exit_after="0.05", simulate_loading="true", rate="100") == 0
    assert words(await rig.events()) == ["started", "finished"]


async def test_it_counts_in_families_of_its_own_beside_the_common_ones(rig: Rig) -> None:
    supervisor = made(rig)
    work = asyncio.create_task(supervisor.run())
    for number in (1, 2):
        await rig.command("ping", sent_at=float(number))
        await rig.until_event("pong", number)
    await rig.until_event("loading")
    await until(lambda: 'dummy_status_last{status="loading"} 1.0' in supervisor._metrics.text().decode())
    counted = supervisor._metrics.text().decode()
    for line in (
        'dummy_events_total{event="started"} 1.0',
        'dummy_events_total{event="pong"} 2.0',
        "dummy_pings_total 2.0",
        'dummy_status_last{status="started"} 0.0',
        'dummy_status_last{status="error"} 0.0',
        'streamforge_events_total{event="pong",target="dummy-service"} 2.0',
    ):
        assert f"\n{line}\n" in counted
    assert 'status="pong"' not in counted
    await rig.command("stop")
    assert await work == 0, rig.logs.getvalue()


async def test_it_plays_a_loader_whose_records_a_real_sink_stores(rig: Rig) -> None:
    assert await live(rig, imitate="loader-api-candles", record_size="700") == 0
    records = await rig.read(TOPIC)
    assert len(records) == DAY + 1
    assert {len(record.value) for record in records[:-1]} == {700}
    assert records[-1].key == EOS_KEY
    marker = decode_marker(records[-1].value)
    assert (marker.producer, marker.records, marker.reason) == ("loader-api-candles__abc123", DAY, "finished")
    events = await rig.events()
    assert {event.target for event in events} == {"loader-api-candles"}
    assert events[0].message == "dummy-service plays loader-api-candles"
    word, progress = last(events)
    assert (word.event, word.records_written, progress.share) == ("finished", DAY, 1.0)
    assert progress.position == START + (DAY - 1) * 60_000
    assert await rig.live(arango_candles.DEFINITION) == 0
    assert await rig.stored.count(COLLECTION) == DAY
    assert await rig.read(DLQ) == []


async def test_a_played_loader_writes_at_most_so_many_records_and_makes_its_topic(rig: Rig) -> None:
    await rig.seen.delete_topic(TOPIC)
    assert await live(rig, imitate="loader-api-candles", events="7") == 0
    assert len(await rig.read(TOPIC)) == 8


async def test_it_plays_a_sink_that_reads_all_and_stores_nothing(rig: Rig) -> None:
    found = [candle(START + n * 60_000) for n in range(30)]
    await rig.send(TOPIC, [Message(one.key.encode(), encode_candle(one)) for one in found])
    await rig.close_stream()
    assert await live(rig, imitate="arango-candles", rate="1000") == 0
    events = await rig.events()
    assert words(events) == ["started", "finished"]
    assert (events[-1].target, events[-1].records_written) == ("arango-candles", 30)
    assert (await rig.seen.lag(TOPIC, f"{QUEUE}-arango-candles")).records == 1  # the marker, which is read again
    assert await rig.stored.count(COLLECTION) == 0
    assert await live(rig, imitate="arango-candles") == 0
    assert (await rig.events())[-1].records_written == 0, "a restarted sink reads the marker alone"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"imitate": "nope"},
            "imitate 'nope' is not known: choose one of arango-candles, arango-connector, arango-orderbook, ",
        ),
        ({"imitate": "dummy-service"}, "imitate 'dummy-service' is not known"),
        ({"imitate": "arango-candles", "simulate_loading": "true"}, "leave simulate-loading out"),
        ({"noop": "true", "simulate_loading": "true"}, "noop ends at once"),
        ({"record_size": "500001"}, "STREAMFORGE_RECORD_SIZE: '500001' is not accepted"),
        ({"fail_after": "-1"}, "STREAMFORGE_FAIL_AFTER: '-1' is not accepted"),
    ],
)
async def test_what_does_not_go_together_is_refused(rig: Rig, settings: dict[str, str], said: str) -> None:
    with pytest.raises(Exception, match="settings: ") as refused:
        made(rig, **settings)
    assert said in str(refused.value)


def test_it_takes_topics_but_neither_exchange_nor_store_of_what_it_plays() -> None:
    played = dummy_service.DEFINITION.adapted(dummy_service.Parameters(imitate="loader-api-candles"))
    assert (played.role, played.uses) == (loader_api_candles.DEFINITION.role, frozenset({"output"}))
    played = dummy_service.DEFINITION.adapted(dummy_service.Parameters(imitate="arango-candles"))
    assert (played.role, played.uses) == (arango_candles.DEFINITION.role, frozenset({"input"}))
    assert definition("dummy-service").uses == frozenset()


@pytest.mark.parametrize("size", [0, 12, 13, 26, 27, 28, 1000])
def test_padding_reaches_the_size_where_there_is_room(size: int) -> None:
    record = b'{"a":"b","c":1}'
    result = padded(record, size)
    assert len(result) == max(size, len(record)) if size >= len(record) + 13 else result == record
    assert msgspec.json.decode(result)["c"] == 1
