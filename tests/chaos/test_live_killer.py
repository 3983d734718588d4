"""A random killer of loaders, sinks, the manager and the exchange leaves live workflows without a hole and a double.

STREAMFORGE_CHAOS_KILLS: how many signals hit (40 by default). STREAMFORGE_CHAOS_SEED: which schedule.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest

from streamforge_utils.model.kinds.registry import kind_of_type
from tests.chaos import processes
from tests.chaos.disturbance import Watcher, check_jobs, running
from tests.chaos.rig import Api, ManagerKeeper
from tests.chaos.test_random_killer import REST_S, SEED, SETTINGS, Killer, check_disk
from tests.chaos.verdict import assert_history, assert_right, oracle_query, records_of
from tests.e2e.exchangeprocess import Exchange
from tests.limits import LIMIT_S

KILLS = int(os.environ.get("STREAMFORGE_CHAOS_KILLS", "40"))

WORKFLOWS = (("BTCUSDT", "ws_trades"), ("ETHUSDT", "ws_agg_trades"), ("SOLUSDT", "ws_candles_1s"))
LIVE_SETTINGS = SETTINGS | {"STREAMFORGE_COMPARE_SECONDS": "0.5", "STREAMFORGE_HOLE_SECONDS": "3"}
TROUBLE = (
    *("slow:ms=100", "missing:rows=2,p=0.05", "short:rows=100,p=0.05", "empty:p=0.02", "500:p=0.01"),
    *("stream-missing:p=0.01", "stream-duplicate:p=0.01", "stream-disordered:p=0.01", "stream-late:p=0.01,seconds=1"),
    *("stream-reset:p=0.002", "stream-frame:p=0.002", "stream-shutdown:p=0.002,seconds=1", "stream-refused:p=0.1"),
)
"""Of an exchange that is slow, and whose answers and streams are now and then wrong."""


class ExchangeKeeper:
    """An exchange that comes back at the same address, with the same records. kills: how many it has survived."""

    def __init__(self, *arguments: str) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._arguments = ("--no-limits", "--port", str(port), *arguments)
        self._process = Exchange(self._arguments)
        self._restarting: asyncio.Task[None] | None = None
        self.url = self._process.url

    async def kill(self, rest_s: float) -> bool:
        """SIGKILL, and a new one so much later; False: it is down."""
        if self._restarting is not None and not self._restarting.done():
            return False
        await asyncio.to_thread(self._process.kill)
        self._restarting = asyncio.create_task(self._restart(rest_s))
        return True

    async def _restart(self, rest_s: float) -> None:
        await asyncio.sleep(rest_s)
        self._process = await asyncio.to_thread(Exchange, self._arguments)

    async def calm(self) -> None:
        """It is up, and has no faults."""
        if self._restarting is not None:
            await self._restarting
        self._process.lift_faults()

    async def close(self) -> None:
        if self._restarting is not None:
            await asyncio.gather(self._restarting, return_exceptions=True)
        self._process.close()


class LiveKiller(Killer):
    """Strikes the exchange too, and asks for handovers. workflows: of which."""

    kinds: ClassVar = {
        "loader": 5,
        "sink": 5,
        "shim": 1,
        "both": 2,
        "manager": 4,
        "terminate": 3,
        "exchange": 4,
        "handover": 8,
    }

    def __init__(self, keeper: ManagerKeeper, exchange: ExchangeKeeper, seed: int, *, kills: int) -> None:
        super().__init__(keeper, seed, kills=kills, freezes=1, absence_s=None)
        self._exchange = exchange
        self.workflows: list[str] = []

    @property
    def killed(self) -> int:
        return super().killed - self.hits["handover"]

    async def _strike(self, kind: str) -> bool:
        if kind == "handover":
            return await self._hand_over()
        if kind != "exchange":
            return await super()._strike(kind)
        hit = await self._exchange.kill(self._random.uniform(*REST_S))
        if hit:
            self.struck.append(kind)
        return hit

    async def _hand_over(self) -> bool:
        """Another attempt is asked for in the place of a loader; False: the manager is down, or none runs."""
        url = self._keeper.url
        if url is None:
            return False
        try:
            async with httpx.AsyncClient(timeout=LIMIT_S) as client:
                answer = await client.post(f"{url}/queues/{self._random.choice(self.workflows)}/handover")
        except httpx.TransportError:
            return False
        if answer.is_success:
            self.struck.append("handover")
        return answer.is_success


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        yield client


@pytest.mark.timeout(1800 + 6 * KILLS)
async def test_nothing_that_happens_is_lost_duplicated_or_stuck(tmp_path: Path, client: httpx.AsyncClient) -> None:
    faults = (word for fault in TROUBLE for word in ("--fault", f"{fault},seed={SEED}"))
    exchange = ExchangeKeeper("--seed", "7", "--trades", "1667", *faults)
    try:
        keeper = ManagerKeeper(
            tmp_path / "data", tmp_path / "manager.log", LIVE_SETTINGS | {"STREAMFORGE_EXCHANGE_URL": exchange.url}
        )
        await survive(keeper, exchange, client)
    finally:
        await exchange.close()


async def survive(keeper: ManagerKeeper, exchange: ExchangeKeeper, client: httpx.AsyncClient) -> None:
    killer = LiveKiller(keeper, exchange, SEED, kills=KILLS)
    api, watcher = Api(keeper, client), Watcher(keeper)
    repeat = f"repeat it with STREAMFORGE_CHAOS_SEED={SEED} STREAMFORGE_CHAOS_KILLS={KILLS}"
    async with running(keeper, lambda: (repeat, f"struck: {killer.struck}")):
        begun = [
            await api.start(f"live-{number}", symbol=symbol, type=type_name)
            for number, (symbol, type_name) in enumerate(WORKFLOWS)
        ]
        killer.workflows = begun
        watching = asyncio.create_task(watcher.watch_processes())
        try:
            await killer.run()
        finally:
            watching.cancel()
        await exchange.calm()
        now_ms = (await client.get(f"{exchange.url}/control/stats")).json()["now_ms"]
        for queue_id in begun:
            await until_proven(api, queue_id, now_ms)
            await api.ask("POST", f"/queues/{queue_id}/stop")
        ended = await api.until_ended(begun, LIMIT_S)
        listed = (await api.ask("GET", "/queues", params={"limit": 1000}))["queues"]
        others = [one["queue_id"] for one in listed if one["queue_id"] not in ended]
        supplements = await api.until_ended(others, LIMIT_S)
        assert {one["supplements"] for one in supplements.values()} <= set(begun), "a request was accepted twice"
        rows = sum([await check(keeper, api, client, exchange.url, one) for one in ended.values()])
        for queue_id, one in (ended | supplements).items():
            assert_history(one, await api.events(queue_id))
        check_jobs(keeper.data, ended | supplements, overlap="loader-ws-")
        check_disk(keeper.data)
        assert [one for one in watcher.overlaps if "loader-ws-" not in one] == []
        assert killer.killed >= KILLS
        assert killer.hits["exchange"]
        assert killer.hits["handover"]
        assert "Traceback" not in keeper.log.read_text(errors="replace")
        assert await keeper.down() == 0
        assert processes.of_data(keeper.data) == []
        attempts = [attempt for one in ended.values() for step in one["steps"] for attempt in step["attempts"]]
        handed_over = sum(one["stop_reason"] == "handover" for one in attempts)
        assert handed_over
        print(
            f"\nseed {SEED}: {killer.killed} kills {dict(killer.hits)}; {len(attempts)} attempts, {handed_over} "
            f"handed over, {rows} rows, {len(supplements)} supplements"
        )


async def until_proven(api: Api, queue_id: str, now_ms: int) -> None:
    """The workflow is proven beyond `now_ms`, and has no hole. Raises AssertionError if it ends before."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = await api.show(queue_id)
            assert found["ended_at"] is None, (found["status"], found["failure"])
            if (found["live"]["proven_through_ms"] or 0) > now_ms and not found["live"]["open_holes"]:
                return
            await asyncio.sleep(0.2)


async def check(
    keeper: ManagerKeeper, api: Api, client: httpx.AsyncClient, exchange: str, workflow: dict[str, Any]
) -> int:
    """It is finished, and holds what has happened at the exchange; how many records these are."""
    queue_id = workflow["queue_id"]
    assert workflow["status"] == "finished", f"{queue_id}: {workflow['status']}, {workflow['failure']}"
    assert (await api.ask("GET", f"/queues/{queue_id}/dlq"))["dead_letters"] == []
    segments = (await api.ask("GET", f"/queues/{queue_id}/coverage"))["segments"]
    path, query = oracle_query(workflow)
    oracle = (await client.get(exchange + path, params=query)).raise_for_status().content
    decode, stored = msgspec.json.Decoder(kind_of_type(workflow["type"]).stored).decode_lines, list[Any]()
    for collection in sorted({one["collection"] for one in segments}):
        address = f"{keeper.url}/collections/{collection}/records"
        answer = await client.get(address, params={"limit": "all", "format": "jsonl"})
        stored += decode(answer.raise_for_status().content)
    return assert_right(workflow, segments, stored, records_of(workflow, oracle))
