"""The exchange asks for a pause, bans the address or is gone: nobody asks before its time, it is shown, all goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import LOADER, MINUTE_MS, SINK, latest, step

ONE_AT_A_TIME = {LOADER: {"concurrency": 1}}
"""What is refused is then one request, with no other under way."""
SPAN = "2024-08-01:2024-08-03"
"""2880 minutes, three pages."""
OF_THE_LOADER = "after=2,path=klines"
"""The first two requests for candles are the manager's."""


@pytest.fixture
def manager(quiet: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    """A manager that knows nothing of the exchange yet."""
    with rig.manager(tmp_path / "data", quiet.url) as found:
        yield found


def test_a_pause_of_a_loader_is_shown_and_kept_to(quiet: rig.Exchange, manager: rig.Manager) -> None:
    quiet.switch_on(f"429:retry_after=5,{OF_THE_LOADER},count=1")
    queue_id = _start(manager)
    loader = _loader_waits(manager, queue_id, lambda shown: "rate limit" in shown)
    assert loader["waiting_until"] is not None
    (pause,) = quiet.stats()["pauses"]
    assert pause["until_ms"] - pause["from_ms"] == 5000
    workflow = _finished(quiet, manager, queue_id)
    assert [len(one["attempts"]) for one in workflow["steps"]] == [1, 1]


@pytest.mark.long
def test_a_pause_until_the_next_minute_before_the_workflow_has_a_plan_is_kept_to(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    now_ms = quiet.stats()["now_ms"]
    quiet.set_clock(now_ms - now_ms % MINUTE_MS + MINUTE_MS - 8000)  # the minute ends soon
    quiet.switch_on("429:retry_after=-1,path=klines,count=1")
    _finished(quiet, manager, _start(manager))
    (pause,) = quiet.stats()["pauses"]
    assert pause["until_ms"] % MINUTE_MS == 0


@pytest.mark.long
def test_a_ban_that_is_renewed_is_waited_for_each_time_though_the_exchange_s_clock_is_behind(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.set_clock(quiet.stats()["now_ms"] - 90_000)
    quiet.switch_on(f"418:seconds=5,{OF_THE_LOADER},count=2")
    queue_id = _start(manager)
    for number in (1, 2):
        ban = rig.eventually(partial(_ban, quiet, number), f"ban {number}")
        waits = partial(_banned_until, until_ms=ban["until_ms"] + 90_000)
        waiting = manager.until(queue_id, "it shows until when it waits", waits)
        assert waiting["status"] == "running"
    _finished(quiet, manager, queue_id)
    assert len(quiet.stats()["bans"]) == 2


def test_a_ban_without_end_is_waited_for_and_once_it_is_over_all_goes_on(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    fault = "418:seconds=1,path=klines"
    quiet.switch_on(fault)
    queue_id = _start(manager)
    # More often than anything else may fail.
    rig.eventually(lambda: True if quiet.struck(fault) >= 5 else None, "it is banned again and again")
    until_ms = quiet.stats()["bans"][-1]["until_ms"]
    waiting = manager.until(queue_id, "it shows until when it waits", lambda w: _banned_until(w, until_ms, 5000))
    assert waiting["status"] == "running"
    quiet.lift_faults()
    _finished(quiet, manager, queue_id)


@pytest.mark.long
def test_a_ban_is_kept_to_by_everybody_and_over_a_restart(quiet: rig.Exchange, manager: rig.Manager) -> None:
    manager.loaded("BTCUSDT", "api_candles_1h", "2024-05-01")
    quiet.switch_on(rig.SLOW)
    one = manager.half_loaded("BTCUSDT", "2024-05-01:2024-05-21")
    # Long beside a start of the manager, which comes in the middle of it.
    ban_s = max(20, round(8 * manager.start_took_s))
    quiet.switch_on(f"418:seconds={ban_s},count=1,path=klines")
    manager.until(one, "its loader was banned", lambda w: latest(w, LOADER)["ended_at"] is not None)
    until_ms = quiet.stats()["bans"][0]["until_ms"]
    under_way = quiet.stats()["refused_while_banned"]
    assert under_way <= 3, "no more than were under way when the ban was issued"
    asked = _asked(quiet)
    manager.kill()
    manager.start()
    two = manager.start_load("ETHUSDT", "api_candles_1h", "2024-05-01")["queue_id"]
    for queue_id in (one, two):
        found = manager.until(queue_id, "it waits", lambda w: "ban" in (w["waiting_for"] or ""))
        assert "418" in found["waiting_for"]
    assert _asked(quiet) == asked
    assert quiet.stats()["now_ms"] < until_ms
    for queue_id in (one, two):
        manager.finished(queue_id)
    stats = quiet.stats()
    assert (len(stats["bans"]), stats["refused_while_banned"]) == (1, under_way)
    assert stats["now_ms"] >= until_ms


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (f"418:seconds=600,{OF_THE_LOADER}", ("418",)),
        ("waf:count=1,path=klines", ("HTTP 403", "firewall")),
        (f"waf:count=1,{OF_THE_LOADER}", ("HTTP 403", "firewall")),
    ],
    ids=["ban", "firewall before the plan", "firewall"],
)
def test_a_workflow_that_waits_for_the_end_of_a_ban_can_be_stopped_also_after_a_restart(
    fault: str, words: tuple[str, ...], quiet: rig.Exchange, manager: rig.Manager
) -> None:
    manager.loaded("BTCUSDT", "api_candles_1h", "2024-01-01")
    quiet.reset()
    quiet.switch_on(fault)
    queue_id = _start(manager)
    for restarted in (False, True):
        if restarted:
            manager.kill()
            manager.start()
        waiting = manager.until(queue_id, "it waits", lambda w: all(word in (w["waiting_for"] or "") for word in words))
        assert len(step(waiting, LOADER)["attempts"]) == (1 if OF_THE_LOADER in fault else 0)
    if OF_THE_LOADER in fault:
        assert quiet.struck(fault) == 1
    asked = quiet.requests()
    manager.post(f"/queues/{queue_id}/stop")
    assert manager.wait(queue_id)["status"] == "interrupted"
    assert quiet.requests() == asked, "nobody asked during the ban"


@pytest.mark.long
def test_while_the_exchange_is_dead_the_workflow_names_it_and_nothing_else(tmp_path: Path) -> None:
    settings = {"STREAMFORGE_REQUEST_ATTEMPTS": "20"}  # its first attempt is still trying when the test ends
    with rig.exchange() as exchange, rig.manager(tmp_path / "data", exchange.url, **settings) as manager:
        exchange.switch_on(rig.HELD)
        queue_id = manager.half_loaded("BTCUSDT", "2024-05-01:2024-05-21")
        exchange.close()
        manager.until(queue_id, "it names the exchange", lambda w: exchange.url in (w["waiting_for"] or ""))
        manager.until(queue_id, "the sink has nothing to do", _starved)
        assert exchange.url in manager.show(queue_id)["waiting_for"], manager.story(queue_id)
        listed = manager.api.get("/queues").raise_for_status().json()["queues"]
        assert exchange.url in listed[0]["waiting_for"]
        manager.post(f"/queues/{queue_id}/stop")
        assert manager.wait(queue_id)["status"] == "interrupted"


def _start(manager: rig.Manager) -> str:
    queue_id: str = manager.start_load("BTCUSDT", "api_candles_1m", SPAN, parameters=ONE_AT_A_TIME)["queue_id"]
    return queue_id


def _loader_waits(manager: rig.Manager, queue_id: str, holds: Callable[[str], bool]) -> rig.Json:
    """The progress in which the loader names what it waits for; it may have gone on since."""

    def shown() -> rig.Json | None:
        events = [event.get("extra") or {} for event in manager.events(queue_id) if event.get("target") == LOADER]
        return next((progress for progress in events if holds(progress.get("waiting") or "")), None)

    return rig.eventually(shown, "the loader shows what it waits for")


def _finished(exchange: rig.Exchange, manager: rig.Manager, queue_id: str) -> rig.Json:
    """The workflow at its end; nothing was asked for while the exchange wanted a pause or had banned the address."""
    workflow = manager.finished(queue_id)
    stats = exchange.stats()
    assert (stats["asked_in_pause"], stats["refused_while_banned"]) == (0, 0)
    assert len(rig.assert_exact(exchange, manager, workflow)) == 2880
    return workflow


def _asked(exchange: rig.Exchange) -> list[int]:
    return [exchange.requests(path) for path in ("klines", "exchangeInfo", "time")]


def _ban(exchange: rig.Exchange, number: int) -> rig.Json | None:
    bans: list[rig.Json] = exchange.stats()["bans"]
    return bans[number - 1] if len(bans) >= number else None


def _banned_until(workflow: rig.Json, until_ms: int, off_ms: int = 2000) -> bool:
    """Whether it shows that it waits for the end of the ban, and when that is."""
    shown = re.search(r"ban at ([-0-9T:.]+Z)", workflow["waiting_for"] or "")
    return shown is not None and abs(datetime.fromisoformat(shown[1]).timestamp() * 1000 - until_ms) <= off_ms


def _starved(workflow: rig.Json) -> bool:
    return f"end of stream of {LOADER}" in (step(workflow, SINK)["progress"]["waiting"] or "")
