"""The exchange says when to ask again, or bans the address: nobody asks before, it is seen who waits, all goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import MINUTE_MS

LOADER = "loader-api-candles"
ONE_AT_A_TIME = {LOADER: {"concurrency": 1}}
"""What is refused is then one request, with no other under way."""
SPAN = "2024-08-01:2024-08-03"
START_MS, END_MS = 1_722_470_400_000, 1_722_643_200_000
"""2880 minutes, three pages."""
OF_THE_LOADER = "after=2,path=klines"
"""The first two requests for candles are the manager's."""


@pytest.fixture
def manager(quiet: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    """A manager that knows nothing of the exchange yet."""
    with rig.manager(tmp_path / "data", quiet.url) as found:
        yield found


def test_a_pause_that_the_exchange_asks_for_is_seen_and_kept_to(quiet: rig.Exchange, manager: rig.Manager) -> None:
    fault = f"429:retry_after=5,{OF_THE_LOADER},count=1"
    quiet.switch_on(fault)
    queue_id = _start(manager)
    _loader_waits(manager, queue_id, lambda reason: "rate limit" in reason)
    (pause,) = quiet.stats()["pauses"]
    assert pause["until_ms"] - pause["from_ms"] == 5000
    workflow = _resumed(quiet, manager, queue_id)
    assert quiet.struck(fault) == 1
    assert [len(step["attempts"]) for step in workflow["steps"]] == [1, 1]


@pytest.mark.parametrize("retry_after", [2, -1], ids=["with a time", "until the next minute"])
def test_a_pause_before_the_workflow_has_a_plan_is_kept_to(
    retry_after: int, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    _near_the_end_of_a_minute(quiet)
    quiet.switch_on(f"429:retry_after={retry_after},path=klines,count=1")
    queue_id = _start(manager)
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert len(quiet.stats()["pauses"]) == 1
    assert quiet.stats()["asked_in_pause"] == 0
    _assert_exact(quiet, manager, workflow)


def test_without_a_time_the_next_minute_is_waited_for(quiet: rig.Exchange, manager: rig.Manager) -> None:
    _near_the_end_of_a_minute(quiet)
    quiet.switch_on(f"429:retry_after=-1,{OF_THE_LOADER},count=1")
    queue_id = _start(manager)
    loader = _loader_waits(manager, queue_id, lambda reason: reason == "request weight")
    (pause,) = quiet.stats()["pauses"]
    assert pause["until_ms"] % MINUTE_MS == 0
    assert loader["waiting_until"] is not None
    workflow = _resumed(quiet, manager, queue_id)
    assert [len(step["attempts"]) for step in workflow["steps"]] == [1, 1]


@pytest.mark.parametrize("clock_off_ms", [0, -90_000], ids=["same clock", "the exchange is behind"])
def test_a_ban_that_is_renewed_is_waited_for_each_time(
    clock_off_ms: int, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    if clock_off_ms:
        quiet.set_clock(quiet.stats()["now_ms"] + clock_off_ms)
    fault = f"418:seconds=5,{OF_THE_LOADER},count=2"
    quiet.switch_on(fault)
    queue_id = _start(manager)
    for number in (1, 2):
        ban = rig.eventually(partial(_ban, quiet, number), f"ban {number}")
        waits = partial(_banned_until, until_ms=ban["until_ms"] - clock_off_ms)
        waiting = manager.until(queue_id, "it says until when it waits", waits)
        assert waiting["status"] == "running"
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert len(quiet.stats()["bans"]) == 2
    assert quiet.stats()["refused_while_banned"] == 0
    _assert_exact(quiet, manager, workflow)


def test_a_ban_without_end_is_waited_for_and_once_it_is_over_all_goes_on(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    fault = "418:seconds=1,path=klines"
    quiet.switch_on(fault)
    queue_id = _start(manager)
    # More often than anything else may fail.
    rig.eventually(lambda: True if quiet.struck(fault) >= 5 else None, "it is banned again and again")
    assert quiet.stats()["refused_while_banned"] == 0
    until_ms = quiet.stats()["bans"][-1]["until_ms"]
    waiting = manager.until(queue_id, "it says until when it waits", lambda w: _banned_until(w, until_ms, 5000))
    assert waiting["status"] == "running"
    quiet.lift_faults()
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert quiet.stats()["refused_while_banned"] == 0
    _assert_exact(quiet, manager, workflow)


def test_a_workflow_that_waits_for_the_end_of_a_ban_can_be_stopped(quiet: rig.Exchange, manager: rig.Manager) -> None:
    quiet.switch_on(f"418:seconds=600,{OF_THE_LOADER}")
    queue_id = _start(manager)
    rig.eventually(lambda: quiet.stats()["bans"] or None, "it is banned")
    until_ms = quiet.stats()["bans"][0]["until_ms"]
    manager.until(queue_id, "it says until when it waits", lambda w: _banned_until(w, until_ms))
    asked = quiet.requests()
    manager.post(f"/queues/{queue_id}/stop")
    assert manager.wait(queue_id)["status"] == "interrupted"
    assert quiet.requests() == asked


def _near_the_end_of_a_minute(exchange: rig.Exchange) -> None:
    """As the exchange sees it, the minute ends soon."""
    now_ms = exchange.stats()["now_ms"]
    exchange.set_clock(now_ms - now_ms % MINUTE_MS + MINUTE_MS - 8000)


def _start(manager: rig.Manager) -> str:
    queue_id: str = manager.start_load("BTCUSDT", "api_candles_1m", SPAN, parameters=ONE_AT_A_TIME)["queue_id"]
    return queue_id


def _loader_waits(manager: rig.Manager, queue_id: str, holds: Callable[[str], bool]) -> rig.Json:
    """The progress of the loader with which it said that it waits, and what for; it may have gone on since."""

    def said() -> rig.Json | None:
        told = [event.get("extra") or {} for event in manager.events(queue_id) if event.get("target") == LOADER]
        return next((progress for progress in told if holds(progress.get("waiting") or "")), None)

    return rig.eventually(said, "the loader says what it waits for")


def _resumed(exchange: rig.Exchange, manager: rig.Manager, queue_id: str) -> rig.Json:
    """The workflow at its end; nothing was asked for while the exchange wanted a pause."""
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert exchange.stats()["asked_in_pause"] == 0
    _assert_exact(exchange, manager, workflow)
    return workflow


def _ban(exchange: rig.Exchange, number: int) -> rig.Json | None:
    bans: list[rig.Json] = exchange.stats()["bans"]
    return bans[number - 1] if len(bans) >= number else None


def _banned_until(workflow: rig.Json, until_ms: int, off_ms: int = 2000) -> bool:
    """Whether it says that it waits for the end of the ban, and when that is."""
    told = re.search(r"ban at ([-0-9T:.]+Z)", workflow["waiting_for"] or "")
    return told is not None and abs(datetime.fromisoformat(told[1]).timestamp() * 1000 - until_ms) <= off_ms


def _assert_exact(exchange: rig.Exchange, manager: rig.Manager, workflow: rig.Json) -> None:
    rows = exchange.oracle("BTCUSDT", "1m", START_MS, END_MS)
    assert len(rows) == (END_MS - START_MS) // MINUTE_MS
    assert manager.csv(workflow["collection"]) == rig.expected_csv("BTCUSDT", "1m", rows)
    assert workflow["coverage"]["complete"] is True
