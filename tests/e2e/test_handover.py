"""A live loader handed over to another process: what happens meanwhile is written once, and nothing lacks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge_utils.model.books.records import Depth, DepthInterval, interval_of, kind_name_of
from streamforge_utils.model.completeness.continuity import chains
from streamforge_utils.model.messages import EOS_KEY, Command, Live, decode_event, encode_command, progress_of
from streamforge_utils.ports.bus import Message, TopicSpec
from tests import backends, cleanenv
from tests.e2e import bus, rig
from tests.e2e import stored_books as books
from tests.e2e.rig import Json, eventually
from tests.e2e.test_live import QUICK, TRADES, assert_equal, is_live, is_proven_beyond, start, stored
from tests.e2e.test_live import exchange as exchange
from tests.limits import LIMIT_S

NO_SNAPSHOT = "500:path=depth"
QUEUE, TOPIC = "wf-btcusdt-ws_orderbook-20240801-abc123", "wf-btcusdt-ws_orderbook-20240801-abc123-data"


@pytest.fixture
def manager(exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", exchange.url, **(QUICK | {"STREAMFORGE_HOLE_SECONDS": "60"})) as found:
        yield found


def is_handed_over(attempts: int, workflow: Json, target: str = TRADES) -> bool:
    """Whether the last one of so many attempts of the loader writes."""
    found = rig.step(workflow, target)
    live = workflow["live"]
    return (
        len(found["attempts"]) == attempts
        and found["handover"] is None
        and is_live(workflow)
        and live["last_id"] is not None
    )


@pytest.mark.long
def test_trades_go_on_over_handovers_and_over_the_end_of_the_one_that_writes(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    queue_id = start(manager, "ws_trades")
    manager.until(queue_id, "it is live", is_live)
    done = rig.ended("-m", "streamforge.cli", "handover", queue_id, "--server", str(manager.api.base_url))
    assert (done.returncode, queue_id in done.stdout) == (0, True), done.stderr
    live = manager.until(queue_id, "another attempt writes", partial(is_handed_over, 2))["live"]
    manager.until(queue_id, "it goes on", partial(is_proven_beyond, live["last_id"] + 60))

    manager.post(f"/queues/{queue_id}/handover")
    manager.until(queue_id, "another one listens", lambda found: _listens(found) is not None)
    manager.kill()
    _kill(manager, queue_id, 2)
    manager.start()
    live = manager.until(queue_id, "it has taken over", partial(is_handed_over, 3))["live"]
    manager.until(queue_id, "it goes on", partial(is_proven_beyond, live["last_id"] + 60))
    ended = manager.stopped(queue_id)
    assert_equal(exchange, stored(manager, ended))
    sink = rig.step(ended, "arango-trades")
    assert len(sink["attempts"]) == 1
    assert sink["progress"]["unchanged"] == 0  # no record was on the topic twice
    words = [(one["attempt"], one["event"]) for one in manager.events(queue_id) if one["target"] == TRADES]
    assert [word for word in words if word[1] not in ("loading", "started")] == [
        (1, "interrupted"),
        (2, "error"),
        (3, "interrupted"),
    ]


def _listens(workflow: Json) -> int | None:
    """The number of the attempt that holds what follows, once it is sure to."""
    handover = rig.step(workflow, TRADES)["handover"]
    return handover["attempt"] if handover and handover["state"] in ("listening", "ready", "taking over") else None


def _kill(manager: rig.Manager, queue_id: str, number: int) -> None:
    os.kill(rig.worker_pid(manager.data, _job(TRADES, queue_id, number)), signal.SIGKILL)


def _job(target: str, queue_id: str, number: int) -> str:
    return f"job-{target}-btcusdt-{queue_id[-6:]}" + (f"-{number}" if number > 1 else "")


def _has_process(manager: rig.Manager, job: str) -> bool | None:
    try:
        return rig.worker_pid(manager.data, job) > 0
    except (OSError, ValueError):
        return None


def hand_over_to_one_that_is_ready(
    manager: rig.Manager, queue_id: str, target: str, killing: AbstractContextManager[None]
) -> None:
    """The attempt that writes is killed in the block `killing`, with the manager away, once the shadow is ready."""
    number = len(rig.step(manager.show(queue_id), target)["attempts"])
    manager.post(f"/queues/{queue_id}/handover")
    manager.until(queue_id, "another one listens", lambda one: rig.step(one, target)["handover"] is not None)
    eventually(lambda: _has_process(manager, _job(target, queue_id, number + 1)), "its process is there")
    manager.kill()

    def is_ready() -> bool | None:
        read = bus.read(manager.data, backends.events_topic(manager.data))
        told = [one for one in map(decode_event, (one.value for one in read)) if one.queue_id == queue_id]
        mine = (one for one in told if (one.target, one.attempt) == (target, number + 1))
        return any((live := progress_of(one).live) and live.shadow == "ready" for one in mine) or None

    eventually(is_ready, "it is ready", story=manager.log)
    with killing:
        os.kill(rig.worker_pid(manager.data, _job(target, queue_id, number)), signal.SIGKILL)
    manager.start()

    def writes(workflow: Json) -> bool:
        found, live = rig.step(workflow, target), workflow["live"]
        return len(found["attempts"]) == number + 1 and found["handover"] is None and live["last_id"] is not None

    manager.until(queue_id, "it writes", writes)


@pytest.mark.long
def test_an_order_book_stays_verified_over_handovers_of_a_manager(exchange: rig.Exchange, manager: rig.Manager) -> None:
    queue_id = books.start(manager)
    for number in (2, 3):
        begun_ms = exchange.stats()["now_ms"]
        manager.until(queue_id, "it is verified", partial(books.is_verified, beyond_ms=begun_ms))
        if number == 2:
            manager.post(f"/queues/{queue_id}/handover")
            manager.until(queue_id, "another attempt writes", partial(is_handed_over, 2, target=books.LOADER))
        else:
            hand_over_to_one_that_is_ready(manager, queue_id, books.LOADER, nullcontext())
    assert_verified(exchange, manager, queue_id)


@pytest.mark.long
def test_a_book_that_is_left_to_the_next_attempt_needs_no_snapshot(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    queue_id = books.start(manager)
    manager.until(queue_id, "it is verified", books.is_verified)
    exchange.switch_on(NO_SNAPSHOT)
    try:
        manager.post(f"/queues/{queue_id}/handover")
        manager.until(queue_id, "another attempt writes", partial(is_handed_over, 2, target=books.LOADER))
        beyond_ms = exchange.stats()["now_ms"] + 1000
        manager.until(queue_id, "it goes on", lambda one: (one["live"]["proven_through_ms"] or 0) > beyond_ms)
        segments, _ = books.checked(manager, exchange, manager.stopped(queue_id))
    finally:
        exchange.lift_faults()
    doubts = [one.get("cause", "") for one in segments]
    assert doubts[doubts.index("") :] == [""], segments
    assert segments[-1]["verdict"] == "stored"


def assert_verified(exchange: rig.Exchange, manager: rig.Manager, queue_id: str) -> None:
    """The book goes on to be verified; nothing of it was lost, and nothing speaks against any of it."""
    now_ms = exchange.stats()["now_ms"]
    manager.until(queue_id, "it is verified", partial(books.is_verified, beyond_ms=now_ms + 1000))
    segments, _ = books.checked(manager, exchange, manager.stopped(queue_id))
    assert {one["verdict"] for one in segments} == {"stored"}
    doubts = {one.get("cause", "") for one in segments}
    assert doubts <= {"", "unverifiable: awaiting snapshot", "unverifiable: loader ended"}


class Loader:
    """An attempt of a loader of order books as a process without a manager."""

    def __init__(self, data: Path, url: str, attempt: int) -> None:
        self.attempt = attempt
        self._data = data
        environment = cleanenv.environment() | {
            "QUEUE_ID": QUEUE,
            "SYMBOL": "BTCUSDT",
            "TYPE": "ws_orderbook",
            "KAFKA_TOPIC": TOPIC,
            "COLLECTION_NAME": "c",
            "STREAMFORGE_DATA_DIR": str(data),
            "STREAMFORGE_EXCHANGE_URL": url,
            "STREAMFORGE_METRICS_PORT": "0",
            "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
            "STREAMFORGE_ATTEMPT": str(attempt),
            "STREAMFORGE_SHADOW": "true" if attempt > 1 else "false",
        }
        self._log = (data / f"{attempt}.log").open("wb")
        command = [sys.executable, "-m", "streamforge.workers", books.LOADER]
        self.process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)

    def tell(self, name: str, payload: dict[str, Any] | None = None) -> None:
        command = Command(command=name, queue_id=QUEUE, attempt=self.attempt, payload=payload)
        bus.send(self._data, "queue-control", [Message(QUEUE.encode(), encode_command(command))])

    def until(self, what: str, holds: Any) -> Live:
        def look() -> Live | None:
            assert self.process.poll() is None, (self._data / f"{self.attempt}.log").read_text()[-3000:]
            events = [decode_event(one.value) for one in bus.read(self._data, "queue-events")]
            live = next((progress_of(one).live for one in reversed(events) if one.attempt == self.attempt), None)
            return live if live is not None and holds(live) else None

        return eventually(look, what)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)
        self._log.close()


def test_an_order_book_stays_verified_and_its_chain_of_diffs_goes_on(exchange: rig.Exchange, tmp_path: Path) -> None:
    async def topics(found: Any) -> None:
        for name in (TOPIC, "queue-control", "queue-events"):
            await found.create_topic(TopicSpec(name=name))

    bus.on_bus(tmp_path, topics)
    first = Loader(tmp_path, exchange.url, 1)
    second = None
    try:
        first.until("its book is verified", lambda live: live.trust == "verified" and live.verified > 20)
        second = Loader(tmp_path, exchange.url, 2)
        second.until("it is ready", lambda live: live.shadow == "ready")
        first.tell("stop", {"handover": True})
        assert first.process.wait(LIMIT_S) == 0
        before = len(_diffs(tmp_path))
        second.tell("takeover")
        second.until("it writes", lambda live: not live.shadow and live.last_id and live.verified > 20)
        eventually(lambda: len(_diffs(tmp_path)) > before + 50 or None, "diffs go on")
        second.tell("stop")
        assert second.process.wait(LIMIT_S) == 0
    finally:
        for one in (first, second):
            if one is not None:
                one.close()
    diffs = _diffs(tmp_path)
    assert all(b.first_update_id <= a.last_update_id + 1 <= b.last_update_id for a, b in pairwise(diffs))
    records = bus.read(tmp_path, TOPIC)
    ledger = {
        (one.key or b""): msgspec.json.decode(one.value, type=DepthInterval)
        for one in records
        if kind_name_of(one.key or b"") == "depth_interval"
    }
    (chain,) = chains(map(interval_of, ledger.values()))
    assert (chain.first_id, chain.last_id) == (diffs[0].first_update_id, diffs[-1].last_update_id)
    assert [one.cause for one in ledger.values() if one.cause] == ["stopped"]
    assert [one.trust.value for one in ledger.values()][-2:] == ["verified", "verified"]
    assert len([one for one in records if one.key == EOS_KEY]) == 1
    top = msgspec.json.decode([one for one in records if kind_name_of(one.key or b"") == "depth_top"][-1].value)
    books.assert_equal(exchange, "BTCUSDT", top["last_update_id"], (top["bids"], top["asks"]))


def _diffs(data: Path) -> list[Depth]:
    found = [one for one in bus.read(data, TOPIC) if one.key != EOS_KEY and kind_name_of(one.key or b"") == "depth"]
    return [msgspec.json.decode(one.value, type=Depth) for one in found]
