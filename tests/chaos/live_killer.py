"""Live workflows while their loaders, sinks, manager, exchange and bus are killed, several of them at once.

Afterwards all that has happened at the exchange is stored, once, and nothing is stuck.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import msgspec

from streamforge_utils.model.kinds.registry import kind_of_type
from tests import backends
from tests.chaos import processes
from tests.chaos.disturbance import Watcher, check_jobs, running
from tests.chaos.rig import Api, ManagerKeeper
from tests.chaos.test_random_killer import REST_S, SETTINGS, Killer, check_disk
from tests.chaos.verdict import assert_history, assert_right, oracle_query, records_of
from tests.e2e import stored_books
from tests.e2e.exchangeprocess import Exchange
from tests.e2e.stored_books import is_verified
from tests.limits import LIMIT_S

SERIES = (
    ("BTCUSDT", "ws_trades"),
    ("SOLUSDT", "ws_candles_1s"),
    ("ETHUSDT", "ws_orderbook"),
    ("ETHUSDT", "ws_agg_trades"),
    ("BTCUSDT", "ws_orderbook"),
    ("BNBUSDT", "ws_trades"),
)
BOOK = "ws_orderbook"
BOOK_MS = 3_000
"""So long a book is verified at the end, so that whole books are among it."""
LIVE_SETTINGS = SETTINGS | {
    "STREAMFORGE_COMPARE_SECONDS": "0.5",
    "STREAMFORGE_HOLE_SECONDS": "3",
    "STREAMFORGE_BACKOFF_SECONDS": "0.2",
    "STREAMFORGE_BACKOFF_CAP_SECONDS": "1",
    "STREAMFORGE_LIVE_STOP_SECONDS": "300",
    "STREAMFORGE_TOTAL_CONNECTS": "10000",
}
TROUBLE = (
    *("slow:ms=100", "missing:rows=2,p=0.05", "short:rows=100,p=0.05", "empty:p=0.02", "500:p=0.01"),
    *("stream-missing:p=0.01", "stream-duplicate:p=0.01", "stream-disordered:p=0.01", "stream-late:p=0.01,seconds=1"),
    *("stream-reset:p=0.002", "stream-frame:p=0.002", "stream-shutdown:p=0.002,seconds=1", "stream-refused:p=0.1"),
)
"""Of an exchange that is slow, and whose answers and streams are now and then wrong."""
WEIGHTS = {"loader": 9, "sink": 9, "shim": 2, "both": 3, "manager": 2, "terminate": 4, "exchange": 2, "handover": 5}

LISTENS = "loader-ws-"
"""The next attempt of such a target may begin before the one before has ended: it listens at first."""


class Returning:
    """A server that comes back after each kill. kill, start: do that, and block until it is done."""

    def __init__(self, kill: Callable[[], None], start: Callable[[], None]) -> None:
        self._kill, self._start = kill, start
        self._restarting: asyncio.Task[None] | None = None

    @property
    def down(self) -> bool:
        """Whether it has not come back yet."""
        return self._restarting is not None and not self._restarting.done()

    async def kill(self, rest_s: float) -> None:
        """End one that is up, and start it so much later. Raises what kept it from coming back before."""
        await self.back()
        await asyncio.to_thread(self._kill)
        self._restarting = asyncio.create_task(self._restart(rest_s))

    async def back(self) -> None:
        """Wait until it is up."""
        if self._restarting is not None:
            await self._restarting

    async def _restart(self, rest_s: float) -> None:
        await asyncio.sleep(rest_s)
        await asyncio.to_thread(self._start)


class LiveExchange:
    """An exchange that, when it was killed and started again, has the same address and the same records."""

    def __init__(self, *arguments: str) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._arguments = ("--no-limits", "--port", str(port), *arguments)
        self.process = Exchange(self._arguments)

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process = Exchange(self._arguments)


class LiveKiller(Killer):
    """Strikes others than workers and the manager too, by the names of `others`, and asks for handovers.

    weights: how many strikes of each kind there are in one deal of them, which come in random order. workflows: whose
    loaders are handed over, which kills nobody.
    """

    pause_s: ClassVar = (0.05, 0.6)
    most_at_once: ClassVar = 4

    def __init__(
        self,
        keeper: ManagerKeeper,
        others: Mapping[str, Returning],
        weights: Mapping[str, int],
        seed: int,
        *,
        kills: int,
        freezes: int,
    ) -> None:
        super().__init__(keeper, seed, kills=kills, freezes=freezes, absence_s=None)
        self._others, self.kinds = others, weights
        self._dealt: list[str] = []
        self.workflows: Sequence[str] = ()

    @property
    def killed(self) -> int:
        return super().killed - self.hits["handover"]

    def _draw(self) -> str:
        if not self._dealt:
            counts = list(self.kinds.values())
            self._dealt = self._random.sample(list(self.kinds), k=sum(counts), counts=counts)
        return self._dealt.pop()

    async def _restart(self, rest_s: float) -> None:
        await asyncio.sleep(rest_s)
        while True:
            hits, down = self._hits_of_others(), any(one.down for one in self._others.values())
            try:
                return await self._keeper.up()
            except AssertionError:
                if not down and hits == self._hits_of_others():
                    raise
                # A manager that does not find its bus says so and ends, and is started again.

    def _hits_of_others(self) -> int:
        return sum(self.hits[kind] for kind in self._others)

    async def _hit(self, kind: str) -> None:
        if kind not in self._others:
            await super()._hit(kind)
        elif self._others[kind].down:
            self._dealt.insert(0, kind)  # later, then
        else:
            await self._others[kind].kill(self._random.uniform(*REST_S))
            self.hits[kind] += 1
            self.struck.append(kind)

    async def _strike(self, kind: str) -> bool:
        return await (self._hand_over() if kind == "handover" else super()._strike(kind))

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


@asynccontextmanager
async def live_exchange(seed: int) -> AsyncIterator[tuple[LiveExchange, Returning]]:
    """An exchange in `TROUBLE`, and its kills."""
    faults = (word for fault in TROUBLE for word in ("--fault", f"{fault},seed={seed}"))
    exchange = LiveExchange("--seed", "7", "--trades", "1667", *faults)
    returning = Returning(exchange.kill, exchange.start)
    try:
        yield exchange, returning
    finally:
        await asyncio.gather(returning.back(), return_exceptions=True)
        exchange.process.close()


async def survive(
    folder: Path,
    *,
    kills: int,
    seed: int,
    weights: Mapping[str, int] = WEIGHTS,
    freezes: int = 1,
    series: Sequence[tuple[str, str]] = SERIES,
    settings: Mapping[str, str] = LIVE_SETTINGS,
    others: Mapping[str, Returning] | None = None,
) -> str:
    """Let a `LiveKiller` strike so often while the series are loaded; then nothing is lost, there twice or stuck.

    others: what is killed beside the exchange. Returns what was done, for a person.
    """
    async with live_exchange(seed) as (exchange, returning), httpx.AsyncClient(timeout=LIMIT_S) as client:
        url = exchange.process.url
        keeper = ManagerKeeper(folder / "data", folder / "manager.log", {**settings, "STREAMFORGE_EXCHANGE_URL": url})
        struck = {"exchange": returning, **(others or {})}
        killer = LiveKiller(keeper, struck, weights, seed, kills=kills, freezes=freezes)
        api, watcher = Api(keeper, client), Watcher(keeper)
        bus = "" if backends.bus_embedded() else " --kafka"
        repeat = f"repeat it with python -m tests.chaos{bus} --kills {kills} --seed {seed}"
        async with running(keeper, lambda: (repeat, f"struck: {killer.struck}")):
            begun = [
                await api.start(f"live-{number}", symbol=symbol, type=type_name, parameters=parameters_of(type_name))
                for number, (symbol, type_name) in enumerate(series)
            ]
            killer.workflows = begun
            began, watching = time.monotonic(), asyncio.create_task(watcher.watch_processes())
            try:
                await killer.run()
            finally:
                watching.cancel()
            struck_s = time.monotonic() - began
            for one in struck.values():
                await one.back()
            exchange.process.lift_faults()
            rows, supplements, attempts = await check_all(keeper, api, client, exchange.process, begun)
            assert [one for one in watcher.overlaps if LISTENS not in one] == []
            assert killer.killed >= kills
            assert kills < sum(weights.values()) or weights.keys() <= killer.hits.keys()
            assert "Traceback" not in keeper.log.read_text(errors="replace")
            assert await keeper.down() == 0
            assert processes.of_data(keeper.data) == []
            return (
                f"seed {seed}: {killer.killed} kills {dict(killer.hits)} in {struck_s:.0f} s, all is proven after "
                f"{time.monotonic() - began:.0f} s; {attempts} attempts, {rows} rows, {supplements} supplements"
            )


async def check_all(
    keeper: ManagerKeeper,
    api: Api,
    client: httpx.AsyncClient,
    exchange: Exchange,
    begun: Sequence[str],
    past: Sequence[str] = (),
) -> tuple[int, int, int]:
    """All are proven, then stopped, and have what happened at the exchange; the rows, supplements and attempts.

    past: workflows of history, which end by themselves.
    """
    now_ms = (await client.get(f"{exchange.url}/control/stats")).json()["now_ms"]
    for queue_id in begun:
        await until_proven(api, queue_id, now_ms)
        await api.ask("POST", f"/queues/{queue_id}/stop")
    ended = await api.until_ended([*begun, *past], LIMIT_S)
    listed = (await api.ask("GET", "/queues", params={"limit": 1000}))["queues"]
    supplements = await api.until_ended([one["queue_id"] for one in listed if one["queue_id"] not in ended], LIMIT_S)
    assert {one["supplements"] for one in supplements.values()} <= set(begun), "a request was accepted twice"
    rows = sum([await check(keeper, api, client, exchange, one) for one in ended.values()])
    for queue_id, one in (ended | supplements).items():
        assert_history(one, await api.events(queue_id))
    check_jobs(keeper.data, ended | supplements, overlap=LISTENS)
    check_disk(keeper.data)
    return rows, len(supplements), sum(len(step["attempts"]) for one in ended.values() for step in one["steps"])


async def until_proven(api: Api, queue_id: str, now_ms: int) -> None:
    """The workflow is proven beyond `now_ms`, and has no hole. Raises AssertionError if it ends before."""
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = await api.show(queue_id)
                assert found["ended_at"] is None, (found["status"], found["failure"])
                live = found["live"]
                done = (live["proven_through_ms"] or 0) > now_ms and not live["open_holes"]
                if done and (found["type"] != BOOK or is_verified(found, now_ms + BOOK_MS)):
                    return
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{queue_id} is stuck: {found.get('live')}, {found.get('waiting_for')}") from None


async def check(
    keeper: ManagerKeeper, api: Api, client: httpx.AsyncClient, exchange: Exchange, workflow: dict[str, Any]
) -> int:
    """It is finished, and holds what has happened at the exchange; how many records these are."""
    queue_id = workflow["queue_id"]
    assert workflow["status"] == "finished", f"{queue_id}: {workflow['status']}, {workflow['failure']}"
    assert (await api.ask("GET", f"/queues/{queue_id}/dlq"))["dead_letters"] == []
    segments = (await api.ask("GET", f"/queues/{queue_id}/coverage"))["segments"]
    if workflow["type"] == BOOK:
        return await check_book(keeper, exchange, workflow, segments)
    path, query = oracle_query(workflow)
    oracle = (await client.get(exchange.url + path, params=query)).raise_for_status().content
    decode, stored = msgspec.json.Decoder(kind_of_type(workflow["type"]).stored).decode_lines, list[Any]()
    for collection in sorted({one["collection"] for one in segments if one["collection"]}):
        address = f"{keeper.url}/collections/{collection}/records"
        answer = await client.get(address, params={"limit": "all", "format": "jsonl"})
        stored += decode(answer.raise_for_status().content)
    return assert_right(workflow, segments, stored, records_of(workflow, oracle))


def parameters_of(type_name: str) -> dict[str, Any]:
    """Of the workers: whole books come often, as the time is short."""
    return dict(stored_books.QUICK) if type_name == BOOK else {}


async def check_book(
    keeper: ManagerKeeper, exchange: Exchange, workflow: dict[str, Any], segments: Sequence[dict[str, Any]]
) -> int:
    """What lacks is lost and has its cause; what is called verified is the exchange's book; the number of diffs."""
    assert {one["verdict"] for one in segments} <= {"stored", "lost"}, segments
    assert all(one["cause"] for one in segments if one["verdict"] == "lost"), segments
    stage: Any = SimpleNamespace(data=keeper.data, coverage=lambda queue_id: segments, story=lambda queue_id: workflow)
    _, diffs = await asyncio.to_thread(stored_books.checked, stage, exchange, workflow)
    progress = workflow["progress"]
    assert progress["records_stored"] == progress["records_expected"] == len(diffs), (progress, len(diffs))
    return len(diffs)
