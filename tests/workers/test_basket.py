"""A basket of loaders on the test exchange: they share a connection, and each begins, goes on and ends for itself.

The exchange's clock stands still between its steps, so that a second of it says nothing of how many messages may come.
"""

# ruff: noqa: ASYNC110 - events lie on a bus, which sets no event

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from streamforge.exchange.config import ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_server import serve
from streamforge.workers import loader_ws_orderbook, loader_ws_trades
from streamforge_utils.model.books.records import DepthInterval, kind_name_of
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.messages import EOS_KEY, Event, Live, decode_marker, progress_of
from streamforge_utils.ports.basket_members import (
    BASKET,
    BASKET_DIR,
    BASKET_REPORT,
    STOP,
    Member,
    divided,
    note_exits,
    read_exits,
    read_members,
    written,
)
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.runtime.life.worker_definition import Definition
from streamforge_utils.runtime.live.basket_process import Basket
from tests.cleanenv import environment
from tests.exchange.conftest import MINUTE, NOW, Peer, peer
from tests.limits import LIMIT_S
from tests.runtime.rig import CONTROL, EVENTS, words
from tests.workers.live import LiveRig


class BasketRig(LiveRig):
    """Loaders of several symbols; what belongs to one is found by its symbol."""

    definition: Definition[Any] = loader_ws_trades.DEFINITION
    type_name = "ws_trades"

    def __init__(self, folder: Path, exchange: Peer, symbols: Sequence[str], **settings: str) -> None:
        super().__init__(folder, exchange.exchange, self.type_name)
        self.peer = exchange
        self.symbols = symbols
        self.jobs = folder / "jobs"
        self.own: dict[str, dict[str, str]] = {symbol: {} for symbol in symbols}
        for name in ("QUEUE_ID", "SYMBOL", "KAFKA_TOPIC", "COLLECTION_NAME", "STREAMFORGE_UPSTREAM"):
            del self.environment[name]
        self.environment |= {"STREAMFORGE_HEARTBEAT_SECONDS": "0.5", **settings}

    def members(self) -> list[Member]:
        return [
            Member(
                symbol,
                {
                    **self.environment,
                    "QUEUE_ID": queue_of(symbol),
                    "SYMBOL": symbol,
                    "KAFKA_TOPIC": topic_of(symbol),
                    "COLLECTION_NAME": "c",
                    **self.own[symbol],
                },
            )
            for symbol in self.symbols
        ]

    async def prepare(self) -> None:
        for topic in (CONTROL, EVENTS, *map(topic_of, self.symbols)):
            await self.seen.create_topic(TopicSpec(name=topic))
        for symbol in self.symbols:
            (self.jobs / symbol).mkdir(parents=True)

    @asynccontextmanager
    async def basket(self) -> AsyncIterator[asyncio.Task[int]]:
        """The basket runs; afterwards it has ended, by commands where it had not."""
        basket = Basket(self.definition, self, self.members(), folder=self.jobs, version="9.9.9")
        running = asyncio.create_task(basket.run())
        try:
            yield running
            for symbol in self.symbols:
                await self.command("stop", queue_id=queue_of(symbol))
            async with asyncio.timeout(LIMIT_S):
                await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def told_by(self) -> dict[str, Live]:
        """What the newest event of each member tells of its stream, by symbol."""
        found = {event.symbol: progress_of(event).live for event in await self.events() if event.event == "loading"}
        return {symbol: live for symbol, live in found.items() if live is not None}

    async def until(self, condition: Callable[[Mapping[str, Live]], bool]) -> dict[str, Live]:
        """What is told once the condition holds."""
        async with asyncio.timeout(LIMIT_S):
            while not condition(told := await self.told_by()):
                await asyncio.sleep(0.1)
            return told

    async def happened(self, symbol: str) -> list[int]:
        """The ids of the symbol's trades until now, at the exchange."""
        bounds = {"startTime": NOW - MINUTE, "endTime": self.peer.clock.now_ms() + 1}
        answer = await self.peer.get("/oracle/historicalTrades", symbol=symbol, **bounds)
        return [row["id"] for row in msgspec.json.decode(answer.body, type=list[dict[str, Any]])]

    async def until_whole(self, *symbols: str) -> None:
        """Every trade until now is on the topic of its symbol, each once and in order."""
        for symbol in symbols or self.symbols:
            last = (await self.happened(symbol))[-1]
            async with asyncio.timeout(LIMIT_S):
                while last not in (found := await self.positions_of(symbol)):
                    await asyncio.sleep(0.05)
            assert found == [*range(found[0], last + 1)]

    async def positions_of(self, symbol: str) -> list[int]:
        keys = [one.key or b"" for one in await self.read(topic_of(symbol)) if one.key != EOS_KEY]
        return [p for p in (self.kind.position_of(key.decode()) for key in keys) if p is not None]

    async def events_of(self, symbol: str) -> list[Event]:
        return [event for event in await self.events() if event.queue_id == queue_of(symbol)]

    async def reasons(self, symbol: str) -> list[str]:
        """How the member has closed its stream."""
        return [decode_marker(one.value).reason for one in await self.read(topic_of(symbol)) if one.key == EOS_KEY]

    def exit_code(self, symbol: str) -> int:
        return int((self.jobs / symbol / "exit").read_text())


def queue_of(symbol: str) -> str:
    return f"wf-{symbol.lower()}-ws_trades-20240801-abc123"


def topic_of(symbol: str) -> str:
    return f"{symbol.lower()}-data"


def connected(symbols: Sequence[str]) -> Callable[[Mapping[str, Live]], bool]:
    return lambda told: all(one in told and told[one].frame_age_s is not None for one in symbols)


MANY = [f"S{number:02}USDT" for number in range(100)]


@pytest.mark.long
async def test_a_hundred_series_share_a_connection_and_change_it_without_a_gap(tmp_path: Path) -> None:
    specs = [
        SymbolSpec(symbol=name, base=name[:3], quote="USDT", listed_ms=NOW - 86_400_000, trades_a_minute=60)
        for name in MANY
    ]
    async with peer(ExchangeConfig(symbols=tuple(specs), weight_limit=None, message_limit=None)) as exchange:
        rig = BasketRig(tmp_path, exchange, MANY, STREAMFORGE_WEIGHT_PER_MINUTE="1000000")
        await rig.prepare()
        async with rig.basket():
            await rig.until(connected(MANY))
            exchange.clock.advance(10_000)
            await rig.until_whole()
            assert exchange.state.streams.connects == 1
            told = before = await rig.told_by()
            assert (await exchange.send("POST", "/control/shutdown", {"notice_s": 3600})).status == 200
            async with asyncio.timeout(LIMIT_S):
                while any(one.rotations == 0 for one in told.values()):
                    exchange.clock.advance(500)
                    await asyncio.sleep(0.2)
                    told = await rig.told_by()
            await rig.until_whole()
            assert exchange.state.streams.connects == 2
            assert {one.reconnects for one in told.values()} == {0}
            assert {symbol: one.backfilled for symbol, one in told.items()} == {
                symbol: one.backfilled for symbol, one in before.items()
            }
        assert {rig.exit_code(symbol) for symbol in MANY} == {0}
        assert [await rig.reasons(symbol) for symbol in MANY] == [["interrupted"]] * 100
        assert exchange.state.streams.open == 0
        await rig.close()


_LEDGER = "depth_interval"


class BookBasketRig(BasketRig):
    definition = loader_ws_orderbook.DEFINITION
    type_name = "ws_orderbook"

    async def trust(self, symbol: str) -> list[tuple[str, str, str]]:
        """Of the symbol's ledger: trust, why and cause, the last version of each entry, in the order of the ids."""
        found = [(one.key or b"", one.value) for one in await self.read(topic_of(symbol)) if one.key != EOS_KEY]
        told = [msgspec.json.decode(value, type=DepthInterval) for key, value in found if kind_name_of(key) == _LEDGER]
        newest = {one.first_update_id: one for one in told}
        return [(one.trust.value, one.why, one.cause) for _, one in sorted(newest.items())]


@pytest.mark.e2e
async def test_order_books_are_verified_on_a_common_connection_and_on_the_next_one(tmp_path: Path) -> None:
    async with peer(ExchangeConfig(message_limit=None)) as exchange:
        rig = BookBasketRig(tmp_path, exchange, ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
        await rig.prepare()
        async with rig.basket():
            changed = False
            async with asyncio.timeout(LIMIT_S):
                while True:
                    exchange.clock.advance(500)
                    await asyncio.sleep(0.2)
                    told = await rig.told_by()
                    verified = len(told) == 3 and all(one.trust == "verified" for one in told.values())
                    if verified and not changed:
                        changed = (await exchange.send("POST", "/control/shutdown", {"notice_s": 3600})).status == 200
                    if changed and verified and all(one.rotations for one in told.values()):
                        break
            assert exchange.state.streams.connects == 2
        for symbol in rig.symbols:
            *before, last = await rig.trust(symbol)
            assert before in ([], [("unverifiable", "awaiting snapshot", "")])
            assert last == ("verified", "", "stopped")
            assert (rig.exit_code(symbol), await rig.reasons(symbol)) == (0, ["interrupted"])
        await rig.close()


async def test_a_member_that_fails_or_is_stopped_ends_alone_and_the_last_one_ends_the_process(tmp_path: Path) -> None:
    symbols = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "NOSUCHUSDT"]
    async with peer(ExchangeConfig(message_limit=None)) as exchange:
        rig = BasketRig(tmp_path, exchange, symbols)
        rig.own["SOLUSDT"]["STREAMFORGE_SPILL_BYTES"] = "much"
        rig.own["ETHUSDT"] |= {"STREAMFORGE_CONNECTS": "7", "STREAMFORGE_WEIGHT_PER_MINUTE": "77"}  # of another moment
        await rig.prepare()
        async with rig.basket() as running:
            await rig.until(connected(symbols[:3]))
            await rig.until_event("error", 2)
            assert [rig.exit_code(symbol) for symbol in ("SOLUSDT", "NOSUCHUSDT")] == [2, 1]
            errors = {event.symbol: event.error_message or "" for event in await rig.events() if event.event == "error"}
            assert "STREAMFORGE_SPILL_BYTES" in errors["SOLUSDT"]
            assert "NOSUCHUSDT" in errors["NOSUCHUSDT"]
            await rig.command("stop", queue_id=queue_of("BNBUSDT"))
            await rig.until_event("interrupted")
            (rig.jobs / "ETHUSDT" / STOP).touch()
            await rig.until_event("interrupted", 2)
            exchange.clock.advance(MINUTE)
            await rig.until_whole("BTCUSDT")
            assert not running.done()
            assert exchange.state.streams.connects == 1
        assert running.result() == 2
        assert [rig.exit_code(symbol) for symbol in symbols] == [0, 1, 0, 2, 1]
        for symbol in symbols[:3]:
            assert words(await rig.events_of(symbol)) == ["started", "interrupted"]
        await rig.close()


async def test_what_a_library_logs_names_no_member_but_how_many_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with peer(ExchangeConfig(message_limit=None)) as exchange:
        rig = BasketRig(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], STREAMFORGE_LOG_FORMAT="json")
        await rig.prepare()
        async with rig.basket():
            await rig.until(connected(rig.symbols))
            structlog.get_logger().warning("a broker is away")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        (said,) = [line for line in lines if line["event"] == "a broker is away"]
        assert (said["target"], said["members"], said.get("queue_id")) == ("loader-ws-trades", 2, None)
        started = {line["queue_id"] for line in lines if line["event"] == "started"}
        assert started == {queue_of(symbol) for symbol in rig.symbols}
        await rig.close()


async def test_what_a_slow_member_has_no_room_for_is_dropped_by_it_alone(tmp_path: Path) -> None:
    async with peer(ExchangeConfig(trades_a_minute=1667, message_limit=None)) as exchange:
        rig = BasketRig(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"])
        rig.own["BTCUSDT"] = {"STREAMFORGE_BUFFER_BYTES": "1000", "STREAMFORGE_SPILL_BYTES": "1000"}
        await rig.prepare()
        async with rig.basket():
            await rig.until(connected(rig.symbols))
            held = rig.bus.held[topic_of("BTCUSDT")] = asyncio.Event()
            for _ in range(20):
                exchange.clock.advance(3_000)
                await rig.until_whole("ETHUSDT")
            told = await rig.until(lambda told: told["BTCUSDT"].dropped > 0)
            assert told["ETHUSDT"].dropped == 0
            del rig.bus.held[topic_of("BTCUSDT")]
            held.set()
            exchange.clock.advance(3_000)
            await rig.until_whole()
            assert exchange.state.streams.connects == 1
        await rig.close()


@pytest.mark.e2e
async def test_a_process_does_the_jobs_that_its_environment_names_until_a_signal_ends_them(tmp_path: Path) -> None:
    async with await serve(ExchangeConfig(trades_a_minute=1667)) as exchange:
        rig = BasketRig(tmp_path, Peer(exchange, exchange.state.clock, None), ["BTCUSDT", "ETHUSDT"])  # type: ignore[arg-type]
        await rig.prepare()
        common, members = divided({one.job: one.environment for one in rig.members()})
        report = tmp_path / "report"
        report.touch()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "streamforge.workers", "loader-ws-trades"),
            env=environment(
                **common, **{BASKET: written(members), BASKET_DIR: str(rig.jobs), BASKET_REPORT: str(report)}
            ),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await rig.until(connected(rig.symbols))
            async with asyncio.timeout(LIMIT_S):
                while not all([len(await rig.positions_of(symbol)) > 20 for symbol in rig.symbols]):
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 1
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for symbol in rig.symbols:
            found = await rig.positions_of(symbol)
            assert found == [*range(found[0], found[0] + len(found))]
            assert words(await rig.events_of(symbol)) == ["started", "interrupted"]
            assert (rig.exit_code(symbol), await rig.reasons(symbol)) == (1, ["interrupted"])
        assert read_exits(report.read_text()) == [1, 1]
        assert exchange.state.streams.connects == 1
        await rig.close()


async def test_after_a_signal_all_go_on_until_others_take_over_and_the_report_tells_who_has_ended(
    tmp_path: Path,
) -> None:
    async with peer(ExchangeConfig(trades_a_minute=1667, message_limit=None)) as exchange:
        rig = BasketRig(tmp_path, exchange, ["BTCUSDT", "ETHUSDT"], STREAMFORGE_LEAVING_SECONDS="1000")
        await rig.prepare()
        report = tmp_path / "report"
        report.touch()
        basket = Basket(rig.definition, rig, rig.members(), report=report)
        running = asyncio.create_task(basket.run())
        try:
            await rig.until(connected(rig.symbols))
            assert report.read_text() == ""
            basket.signalled(signal.SIGTERM)
            await rig.until(lambda told: all(one.leaving for one in told.values()))
            await rig.command("stop", queue_id=queue_of("BTCUSDT"), payload={"handover": True})
            await rig.until_event("interrupted")
            async with asyncio.timeout(LIMIT_S):
                while read_exits(report.read_text()) != [0, None]:
                    await asyncio.sleep(0.02)
            exchange.clock.advance(MINUTE)
            await rig.until_whole("ETHUSDT")
            await rig.command("stop", queue_id=queue_of("ETHUSDT"), payload={"handover": True})
            async with asyncio.timeout(LIMIT_S):
                assert await running == 0
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert read_exits(report.read_text()) == [0, 0]
        assert [await rig.reasons(symbol) for symbol in rig.symbols] == [[], []]
        await rig.close()


def test_a_report_is_written_over_the_one_before_into_a_file_that_is_there(tmp_path: Path) -> None:
    report = tmp_path / "report"
    with pytest.raises(FileNotFoundError):
        note_exits(report, [None, 0])
    report.touch()
    sizes = set()
    for codes in ([None, 137, None], [0, 137, None], [0, 137, 1]):
        note_exits(report, codes)
        assert read_exits(report.read_text()) == codes
        sizes.add(report.stat().st_size)
    assert len(sizes) == 1
    assert read_exits("any last words") == ()


@pytest.mark.parametrize("text", ["{", "[]", '[{"job":"a","environment":{}},{"job":"a","environment":{}}]'])
def test_a_list_of_jobs_that_cannot_be_read_is_bad_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match=BASKET):
        read_members({BASKET: text})
