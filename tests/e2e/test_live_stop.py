"""A live workflow is stopped while its store is slow, or does not answer, or its sink hangs.

    make test ARGS="tests/e2e/test_live_stop.py -s"

prints how long the stop took.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from streamforge.manager.coverage_report import LEFT
from tests.e2e import rig
from tests.e2e.rig import Json, step
from tests.e2e.test_live import QUICK, assert_equal, is_live, is_proven_beyond, start, stored

SINK = "arango-trades"


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    """Five thousand trades a second: 20,000 a minute of a clock that runs fifteen times as fast."""
    with rig.exchange("--trades", "20000", "--speed", "15", "--no-limits") as found:
        yield found


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Nobody stores anything in the collections that there are."""
    with ExitStack() as open_files:
        for file in data.glob("store/**/btcusdt_ws_trades_*.db"):
            db = open_files.enter_context(closing(sqlite3.connect(file, isolation_level=None, timeout=60)))
            db.execute("BEGIN IMMEDIATE")
            open_files.callback(db.execute, "ROLLBACK")
        yield


@contextmanager
def slowed(data: Path) -> Iterator[None]:
    """Two thirds of the time nobody stores anything."""
    over = threading.Event()

    def hold_and_let_go() -> None:
        while not over.is_set():
            with held(data):
                over.wait(0.2)
            over.wait(0.1)

    thread = threading.Thread(target=hold_and_let_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def frozen(manager: rig.Manager, queue_id: str) -> Iterator[None]:
    """The sink does nothing any more."""
    manager.kill_worker(queue_id, SINK, signal.SIGSTOP)
    yield


def has_sent(beyond: int, workflow: Json) -> bool:
    return bool((workflow["live"]["last_id"] or 0) > beyond)


def test_all_that_was_confirmed_is_stored_though_the_store_is_slow(exchange: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", exchange.url, **QUICK) as manager:
        queue_id = start(manager, "ws_trades")
        first = manager.until(queue_id, "it is live", is_live)["live"]["proven_id"]
        with slowed(manager.data):
            manager.until(queue_id, "some more is proven", partial(is_proven_beyond, first + 5000))
            asked_at = time.monotonic()
            ended = manager.stopped(queue_id)
        print(f"\n5,000 trades a second, a store that takes a third of the time: {time.monotonic() - asked_at:.1f} s")
        assert step(ended, SINK)["messages_left"] in (None, 0)
        assert max(one["trade_id"] for one in manager.records(ended["collection"])) == ended["live"]["last_id"]
        assert_equal(exchange, stored(manager, ended))


@pytest.mark.parametrize("hangs", ["store", "sink"])
def test_a_stop_ends_in_its_time_and_what_it_leaves_is_told_and_stored_by_a_retry(
    exchange: rig.Exchange, tmp_path: Path, hangs: str
) -> None:
    with rig.manager(tmp_path / "data", exchange.url, **QUICK, STREAMFORGE_LIVE_STOP_SECONDS="5") as manager:
        queue_id = start(manager, "ws_trades")
        first = manager.until(queue_id, "it is live", is_live)["live"]["last_id"]
        with held(manager.data) if hangs == "store" else frozen(manager, queue_id):
            manager.until(queue_id, "some is sent and not stored", partial(has_sent, first + 5000))
            asked_at = time.monotonic()
            manager.post(f"/queues/{queue_id}/stop")
            ended = manager.wait(queue_id)
        print(f"\na {hangs} that does nothing: stopped after {time.monotonic() - asked_at:.1f} s")
        left, last_id = step(ended, SINK)["messages_left"], ended["live"]["last_id"]
        assert (ended["status"], left > 0) == ("interrupted", True)
        assert ended["live"]["proven_id"] <= last_id - left
        last = manager.coverage(queue_id)[-1]
        assert (last["verdict"], last["cause"]) == ("unknown", LEFT)
        manager.post(f"/queues/{queue_id}/retry")
        manager.until(queue_id, "it goes on", partial(is_proven_beyond, last_id))
        ended = manager.stopped(queue_id)
        assert step(ended, SINK)["messages_left"] in (None, 0)
        assert_equal(exchange, stored(manager, ended))
