"""A symbol that is halted, traded again and then delisted while it is recorded live: nothing of that is a hole.

The clock of the manager is moved as that of the exchange is, so that it sees at once that nothing comes for a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.e2e import rig
from tests.e2e.rig import MINUTE_MS, Json
from tests.e2e.test_stream_fault_matrix import assert_complete

SYMBOL, TRADES, CANDLES = "SOLUSDT", "ws_trades", "ws_candles_1s"
NOON_MS = 1_722_513_600_000
"""2024-08-01T12:00Z."""
HALT_MS, LATER_MS, AGAIN_MS = (NOON_MS + n * MINUTE_MS for n in (10, 14, 22))
"""The halt, half-open, and a time in it."""
PATIENT = {"STREAMFORGE_SILENT_SECONDS": "100000", "STREAMFORGE_STUCK_SECONDS": "100000"}
"""The clocks of the workers are not moved."""
SETTINGS = {"STREAMFORGE_COMPARE_SECONDS": "0.2", "STREAMFORGE_HOLE_SECONDS": "3"}


class Market:
    """An exchange, a manager whose clock is moved with it, and the live workflows. ids: by their types."""

    def __init__(self, exchange: rig.Exchange, manager: rig.Manager, timed: Path) -> None:
        self.exchange, self.manager, self._timed = exchange, manager, timed
        self.ids = {
            name: str(manager.api.post("/queues/start", json={"symbol": SYMBOL, "type": name}).json()["queue_id"])
            for name in (TRADES, CANDLES)
        }

    def jump(self, now_ms: int, end_ms: int | None = None) -> None:
        """Let the clocks show `now_ms`, the manager's once all is proven that happened before `end_ms`.

        Who has measured the exchange's clock, or asked for the status, does that again only after a minute or more:
        these are killed, and begin anew.
        """
        by_ms = now_ms - int(self.exchange.stats()["now_ms"])
        self.exchange.set_clock(now_ms)
        self.manager.kill_worker(self.ids[CANDLES], "loader-ws-candles")
        if end_ms is not None:
            self.until(TRADES, self._last_before(end_ms))
            self.until(CANDLES, end_ms)
        self.manager.kill()
        offset = self._timed / "offset"
        offset.write_text(str(int(offset.read_text()) + by_ms))
        self.manager.start()

    def until(self, name: str, time_ms: int) -> None:
        holds = partial(is_proven, through_ms=time_ms)
        self.manager.until(self.ids[name], f"{name} are proven to {time_ms}", holds)

    def closed_through(self, time_ms: int, status: str) -> None:
        """Wait until both series are `closed` to that time, or later; nothing lacks then, and the reason is told."""
        for queue_id in self.ids.values():
            story = partial(self.manager.story, queue_id)
            rig.eventually(partial(self._closed, queue_id, time_ms), f"closed to {time_ms}", story=story)
            live = self.manager.show(queue_id)["live"]
            assert (live["untraded"], live["open_holes"]) == (status, 0)

    def _closed(self, queue_id: str, time_ms: int) -> bool | None:
        closed = [one["end_ms"] for one in self.manager.coverage(queue_id) if one["verdict"] == "closed"]
        return max(closed, default=0) >= time_ms or None

    def _last_before(self, end_ms: int) -> int:
        """When the last trade before a time happened."""
        query: dict[str, str | int] = {"symbol": SYMBOL, "startTime": end_ms - MINUTE_MS, "endTime": end_ms}
        rows = httpx.get(f"{self.exchange.url}/oracle/historicalTrades", params=query).raise_for_status().json()
        return int(rows[-1]["time"])


def is_proven(workflow: Json, through_ms: int) -> bool:
    return ((workflow["live"] or {}).get("proven_through_ms") or 0) >= through_ms


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    timed = tmp_path / "timed"
    timed.mkdir()
    (timed / "offset").write_text("0")
    settings = {**PATIENT, **SETTINGS, "TIMED_BY": str(timed)}
    hole = f"{SYMBOL}@2024-08-01T12:10:00Z:2024-08-01T12:22:00Z"
    with (
        rig.exchange("--no-limits", "--trades", "600", "--now", "2024-08-01T12:00:00Z", "--hole", hole) as exchange,
        rig.manager(tmp_path / "data", exchange.url, module="tests.e2e.timed_manager", **settings) as manager,
    ):
        yield Market(exchange, manager, timed)


@pytest.mark.long
def test_a_halt_and_a_delisting_are_closed_and_what_is_between_is_whole(market: Market) -> None:
    manager, exchange = market.manager, market.exchange
    for name in market.ids:
        market.until(name, NOON_MS)
    exchange.set_status(SYMBOL, "HALT")
    market.jump(LATER_MS, HALT_MS)
    market.closed_through(LATER_MS - 2_000, "HALT")
    exchange.set_status(SYMBOL, "TRADING")
    market.jump(AGAIN_MS + 2_000)
    for name, queue_id in market.ids.items():
        market.until(name, AGAIN_MS + 1_000)
        manager.until(queue_id, "it is traded again", lambda one: one["live"]["untraded"] is None)
    end_ms = exchange.set_status(SYMBOL, "BREAK")["delisted_ms"]
    market.jump(end_ms + 2 * MINUTE_MS, end_ms)
    market.closed_through(end_ms + MINUTE_MS, "BREAK")

    for name, queue_id in market.ids.items():
        ended = manager.stopped(queue_id)
        told = [(one["verdict"], one["start_ms"], one["end_ms"]) for one in manager.coverage(queue_id)]
        # From the last question to the end of the halt the exchange has no bars: that it was not traded it did not say.
        tail = ["exchange"] if name == CANDLES else []
        assert [one[0] for one in told] == ["stored", "closed", *tail, "stored", "closed"]
        assert HALT_MS - 10_000 < told[1][1] <= HALT_MS
        assert LATER_MS - 2_000 <= told[1][2] < AGAIN_MS
        assert end_ms - 10_000 < told[-1][1] <= end_ms
        if name == TRADES:
            assert_complete(exchange, manager, ended)
            continue
        rows = exchange.oracle(SYMBOL, "1s", told[0][1], told[-1][2])
        progress = ended["progress"]
        assert progress["records_stored"] == progress["records_expected"] == len(rows)
        assert {row[0] for row in rows} == {one["open_time"] for one in manager.records(ended["collection"])}
