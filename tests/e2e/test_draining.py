"""A workflow that is stopped stores first what its loader has sent, and names what it has left."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import LOADER, SINK, latest, step

DAY, MONTH = "2024-01-01", "2024-01"
SENT = 3_000


@contextmanager
def held(data: Path, symbol: str) -> Iterator[None]:
    """Nobody stores anything in the collection of the symbol."""
    (file,) = data.glob(f"store/**/{symbol.lower()}_api_candles_1m_2024_01_01*.db")
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


def sent(manager: rig.Manager, symbol: str) -> str:
    """A workflow whose loader has sent some pages, and whose sink waits for the store."""
    queue_id: str = manager.start_load(symbol, "api_candles_1m", MONTH)["queue_id"]
    manager.until(queue_id, "some is sent", lambda w: step(w, LOADER)["records"] >= SENT)
    return queue_id


@pytest.mark.parametrize(
    ("symbol", "killed"), [("BTCUSDT", False), ("ETHUSDT", True)], ids=["stopped", "killed without a marker"]
)
def test_what_the_loader_sent_is_stored_though_the_sink_is_behind(
    symbol: str, killed: bool, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    manager.load(symbol, "api_candles_1m", DAY)
    quiet.switch_on(rig.HELD)
    with held(manager.data, symbol):
        queue_id = sent(manager, symbol)
        if killed:
            manager.kill_worker(queue_id, LOADER, signal.SIGSTOP)
        manager.post(f"/queues/{queue_id}/stop")
        if killed:
            manager.kill_worker(queue_id, LOADER)
        found = manager.until(queue_id, "its loader has ended", lambda w: latest(w, LOADER)["ended_at"])
        assert latest(found, SINK)["last_word"] is None
        assert step(found, SINK)["records"] == 0
    stopped = manager.wait(queue_id)
    assert stopped["status"] == "interrupted", manager.story(queue_id)
    sink = latest(stopped, SINK)
    assert (sink["last_word"], sink["exit_code"]) == ("interrupted", 0)
    assert sink["message"] == "stopped by command; all that was sent is stored"
    written = len(manager.csv(stopped["collection"])) - 1 - 1440
    # What one that was killed had sent since its last heartbeat it could not count.
    assert (
        written >= step(stopped, LOADER)["records"] >= SENT if killed else written == step(stopped, LOADER)["records"]
    )
    assert step(stopped, SINK)["records"] == written
    segments = [s for s in manager.coverage(queue_id) if s["verdict"] == "stored"]
    assert sum(s["records"] for s in segments) == 1440 + written


@pytest.mark.long
def test_what_could_not_be_stored_in_time_is_told(quiet: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", quiet.url, STREAMFORGE_DRAIN_SECONDS="0.5") as manager:
        manager.load("BTCUSDT", "api_candles_1m", DAY)
        quiet.switch_on(rig.HELD)
        with held(manager.data, "BTCUSDT"):
            queue_id = sent(manager, "BTCUSDT")
            manager.post(f"/queues/{queue_id}/stop")
            stopped = manager.wait(queue_id)
        assert stopped["status"] == "interrupted", manager.story(queue_id)
        loaded = step(stopped, LOADER)["records"]
        told = latest(stopped, SINK)["message"]
        # The marker at the end is a message, too.
        assert told in [f"stopped by command; up to {loaded + more} messages are left unstored" for more in (0, 1)]
        quiet.lift_faults()
        manager.post(f"/queues/{queue_id}/retry")
        manager.finished(queue_id)
        assert len(manager.csv(stopped["collection"])) == 1 + 44_640
