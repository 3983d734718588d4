"""A live workflow is stopped while its store is slow, or does not answer, or its sink hangs.

    make test ARGS="tests/e2e/test_live_stop.py -s"

prints how long the stop took.

That it took no longer than it may is no test of speed: without the limits it would take a minute, which the settings
here give to all else, or for ever. By the manager's own clock it may take the limit, and what the manager and the
workers compute meanwhile, which takes as many times longer as measured beside it.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from streamforge.manager.__main__ import main
from streamforge.manager.coverage.service import LEFT
from streamforge.manager.engine.execution import basket_gathering
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.policy import Policy
from tests.e2e import rig, stored_books
from tests.e2e.rig import Json, step
from tests.e2e.test_baskets import workflows
from tests.e2e.test_live import QUICK, assert_equal, is_live, is_proven_beyond, start, stored
from tests.limits import LIMIT_S

SINK = "arango-trades"
STOP_S = Policy().live_stop_s
WORK_S = 3.0
"""What the manager and the workers compute, and write to the disk, to end one workflow: at most, of an idle machine."""
DEFAULT = {"STREAMFORGE_LIVE_STOP_SECONDS": f"{STOP_S:g}"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    """Five thousand trades a second: 20,000 a minute of a clock that runs fifteen times as fast."""
    with rig.exchange("--trades", "20000", "--speed", "15", "--no-limits") as found:
        yield found


@pytest.fixture(scope="module")
def calm_exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--trades", "1667", "--no-limits") as found:
        yield found


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Nobody stores anything in the collections of BTCUSDT that there are."""
    with ExitStack() as open_files:
        for file in data.glob("store/**/btcusdt_ws_*.db"):
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


@contextmanager
def slowness() -> Iterator[list[float]]:
    """How many times longer computing takes during the block than alone on the machine, once it has ended."""
    over, took, found = threading.Event(), [0.0, 0.0], list[float]()

    def compute() -> None:
        while not over.wait(0.1):
            began, work = time.monotonic(), time.thread_time()
            while time.thread_time() < work + 0.01:
                pass
            took[0], took[1] = took[0] + time.monotonic() - began, took[1] + time.thread_time() - work

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found.append(max(1.0, took[0] / took[1]) if took[1] else 1.0)


def stop(manager: rig.Manager, queue_id: str) -> Json:
    """Stop the workflow, which must end in its time."""
    with slowness() as found:
        manager.post(f"/queues/{queue_id}/stop")
        ended = manager.wait(queue_id)
    took_s, times = asyncio.run(_stop_took_s(manager, queue_id)), found[0]
    print(f"\nstopped after {took_s:.1f} s, where computing takes {times:.1f} times as long as alone")
    assert took_s <= STOP_S + WORK_S * times, manager.story(queue_id)
    return ended


async def _stop_took_s(manager: rig.Manager, queue_id: str) -> float:
    """From the stop to the end, by the manager's clock."""
    async with stored_books.opened_store(manager) as store:
        found = await WorkflowStore(store).get(queue_id)
    assert found is not None
    assert found.workflow.stop_asked_ms is not None
    assert found.workflow.ended_ms is not None
    return (found.workflow.ended_ms - found.workflow.stop_asked_ms) / 1000


def has_sent(beyond: int, workflow: Json) -> bool:
    return bool(((workflow["live"] or {}).get("last_id") or 0) > beyond)


def has_begun(workflow: Json) -> bool:
    """Whether it is live, and both how far it was sent and how far it is proven have been told."""
    return is_live(workflow) and has_sent(0, workflow) and is_proven_beyond(0, workflow)


@pytest.mark.long
def test_all_that_was_confirmed_is_stored_though_the_store_is_slow(exchange: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", exchange.url, **QUICK) as manager:
        queue_id = start(manager, "ws_trades")
        first = manager.until(queue_id, "it is live", has_begun)["live"]["proven_id"]
        with slowed(manager.data):
            manager.until(queue_id, "some more is proven", partial(is_proven_beyond, first + 5000))
            asked_at = time.monotonic()
            ended = manager.stopped(queue_id)
        print(f"\n5,000 trades a second, a store that takes a third of the time: {time.monotonic() - asked_at:.1f} s")
        assert step(ended, SINK)["messages_left"] in (None, 0)
        assert max(one["trade_id"] for one in manager.records(ended["collection"])) == ended["live"]["last_id"]
        assert_equal(exchange, stored(manager, ended))


@pytest.mark.parametrize("hangs", ["store", pytest.param("sink", marks=pytest.mark.long)])
def test_a_stop_ends_in_its_time_and_what_it_leaves_is_told_and_stored_by_a_retry(
    exchange: rig.Exchange, tmp_path: Path, hangs: str
) -> None:
    with rig.manager(tmp_path / "data", exchange.url, **QUICK, **DEFAULT) as manager:
        queue_id = start(manager, "ws_trades")
        first = manager.until(queue_id, "it is live", has_begun)["live"]["last_id"]
        with held(manager.data) if hangs == "store" else frozen(manager, queue_id):
            manager.until(queue_id, "some is sent and not stored", partial(has_sent, first + 5000))
            ended = stop(manager, queue_id)
        left, last_id = step(ended, SINK)["messages_left"], ended["live"]["last_id"]
        assert (ended["status"], left > 0) == ("interrupted", True)
        # A sink that is killed may have stored what it had not committed yet.
        assert ended["live"]["proven_id"] <= (last_id - left if hangs == "store" else last_id - 1)
        last = manager.coverage(queue_id)[-1]
        assert (last["verdict"], last["cause"]) == ("unknown", LEFT)
        manager.post(f"/queues/{queue_id}/retry")
        manager.until(queue_id, "it goes on", partial(is_proven_beyond, last_id))
        ended = manager.stopped(queue_id)
        assert step(ended, SINK)["messages_left"] in (None, 0)
        assert_equal(exchange, stored(manager, ended))


def is_storing(workflow: Json) -> bool:
    """Whether its sink has stored some of what its loader has told."""
    return has_sent(0, workflow) and all(one["records"] for one in workflow["steps"])


@pytest.mark.parametrize("type", ["ws_trades", "ws_orderbook"])
def test_a_stop_of_a_member_of_a_basket_ends_in_its_time_and_ends_no_other(
    calm_exchange: rig.Exchange, tmp_path: Path, type: str
) -> None:
    """Its store does nothing any more."""
    with rig.manager(tmp_path / "data", calm_exchange.url, module=__name__, **QUICK, **DEFAULT) as manager:
        answer = manager.api.post("/batches", json={"symbols": ["BTCUSDT", "ETHUSDT"], "type": type})
        assert answer.status_code == 202, answer.text

        def both() -> dict[str, str] | None:
            found = {symbol: one["queue_id"] for symbol, one in workflows(manager, type).items()}
            return found if len(found) == 2 and all(map(is_storing, map(manager.show, found.values()))) else None

        loader = f"loader-{type.replace('_', '-')}"
        found = rig.eventually(both, "both store", LIMIT_S, manager.log)
        jobs = [rig.latest(manager.show(one), loader)["job"] for one in found.values()]
        assert len({rig.worker_pid(manager.data, job) for job in jobs}) == 1
        first = manager.show(found["BTCUSDT"])["live"]["last_id"]
        with held(manager.data):
            manager.until(found["BTCUSDT"], "some is sent and not stored", partial(has_sent, first + 20))
            ended = stop(manager, found["BTCUSDT"])
        assert ended["status"] == "interrupted"
        sent = manager.show(found["ETHUSDT"])["live"]["last_id"]
        manager.until(found["ETHUSDT"], "it goes on", partial(has_sent, sent))
        assert rig.latest(manager.show(found["ETHUSDT"]), loader)["number"] == 1


if __name__ == "__main__":
    basket_gathering.GATHER_S = LIMIT_S  # both are in one, however slow the machine
    sys.exit(main())
