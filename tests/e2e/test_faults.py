"""Every fault of the exchange: what is stored is exactly what the exchange has, or the workflow says why it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge.exchange.faults import FAULTS
from tests.e2e import rig
from tests.e2e.rig import MINUTE_MS

SPAN = "2024-08-01:2024-08-03"
START_MS, END_MS = 1_722_470_400_000, 1_722_643_200_000
"""2880 minutes, three pages."""

PASSING: dict[str, list[str]] = {
    "429": ["429:retry_after=0,count=1", "429:retry_after=0,after=3,count=2,path=klines"],
    "429 with a pause": ["429:retry_after=1,count=1", "429:retry_after=1,after=3,count=2,path=klines"],
    "418": ["418:seconds=1,count=1"],
    "500": ["500:count=1", "500:after=3,count=2,path=klines"],
    "502": ["502:count=1", "502:after=3,count=2,path=klines"],
    "503": ["503:count=1", "503:after=3,count=2,path=klines"],
    "504": ["504:count=1", "504:after=3,count=2,path=klines"],
    "timeout": ["timeout:count=1", "timeout:after=3,count=2,path=klines"],
    "garbage": ["garbage:count=1", "garbage:after=3,count=2,path=klines"],
    "stall": ["stall:seconds=0.2,count=1", "stall:seconds=0.2,after=3,count=2,path=klines"],
    "empty": ["empty"],
    "missing": ["missing:rows=3"],
    "duplicate": ["duplicate:rows=3"],
    "disordered": ["disordered"],
    "shifted": ["shifted:by=2"],
    "shifted back": ["shifted:by=-1"],
    "open-candle": ["open-candle"],
    "bad-number": [f"bad-number:kind={kind},count=1" for kind in FAULTS["bad-number"].choices["kind"]],
    "slow": ["slow:ms=200"],
    "drip": ["drip:bytes=20000,ms=20"],
    "cut": ["cut:count=1", "cut:after=3,count=2,path=klines"],
    "truncated": ["truncated:count=1", "truncated:after=3,count=2,path=klines"],
    "skew": ["skew:seconds=60"],
    "skew back": ["skew:seconds=-60"],
}
"""Faults that pass, or that can be lived with: the workflow finishes with everything."""

LASTING: dict[str, tuple[str, tuple[str, ...]]] = {
    "429": ("429:retry_after=0", ("HTTP 429", "rate limit")),
    "500": ("500", ("HTTP 500", "the exchange failed")),
    "500 to the loader": ("500:after=2,path=klines", ("HTTP 500", "the exchange failed")),
    "502": ("502", ("HTTP 502",)),
    "503": ("503", ("HTTP 503",)),
    "504": ("504", ("HTTP 504",)),
    "timeout": ("timeout", ("HTTP 504", "-1007")),
    "451": ("451:path=klines", ("HTTP 451", "restricted location", "another base URL")),
    "451 to the loader": ("451:after=2,path=klines", ("HTTP 451", "restricted location")),
    "garbage": ("garbage", ("cannot be read",)),
    "stall": ("stall:seconds=0.1", ("no connection", "closed the connection")),
    "bad-number": ("bad-number:kind=nan", ("cannot be read", "'NaN' is no decimal number")),
    "cut": ("cut", ("broke off",)),
    "truncated": ("truncated", ("cannot be read",)),
}
"""Faults that do not pass, and what of them the reason of the failure must name."""

SETTINGS = {
    "STREAMFORGE_REQUEST_ATTEMPTS": "2",
    "STREAMFORGE_MAX_ASKING_FAILURES": "2",
    "STREAMFORGE_MAX_FAILURES": "2",
}

OTHERWISE = {"waf": "test_a_block_by_the_firewall_is_waited_for"}
"""Faults with a test of their own."""


@pytest.fixture(scope="module")
def manager(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path_factory.mktemp("faults") / "data", exchange.url, **SETTINGS) as found:
        # The exchange's clock and the symbol are known then, so that faults strike what each test means.
        assert found.load("BTCUSDT", "api_candles_1h", "2024-01-01")["status"] == "finished"
        yield found


@pytest.fixture(autouse=True)
def _within_limits(quiet: rig.Exchange) -> Iterator[None]:
    yield
    stats = quiet.stats()
    assert stats["max_weight_in_a_minute"] <= stats["weight_limit"]
    assert stats["refused_while_banned"] == 0


def test_every_fault_has_a_test() -> None:
    tested = {name.split()[0] for name in (*PASSING, *LASTING)} | OTHERWISE.keys()
    assert tested == FAULTS.keys()


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_changes_nothing_of_what_is_stored(
    name: str, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    for fault in PASSING[name]:
        quiet.switch_on(fault)
    workflow = manager.load("BTCUSDT", "api_candles_1m", SPAN, again=True)
    assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
    assert all(quiet.struck(fault) for fault in PASSING[name]), "the fault struck"
    _assert_exact(quiet, manager, workflow)
    _forget(manager, workflow)


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_ends_in_a_reason_that_a_person_understands(
    name: str, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    fault, words = LASTING[name]
    _assert_ends_in_a_reason(quiet, manager, fault, words)


def test_an_answer_that_never_comes_to_its_end_is_given_up(quiet: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", quiet.url, **SETTINGS, STREAMFORGE_REQUEST_TIMEOUT_SECONDS="1") as hasty:
        _assert_ends_in_a_reason(quiet, hasty, "drip:bytes=1,ms=50,path=klines", ("no answer within 1 s",))


def _assert_ends_in_a_reason(quiet: rig.Exchange, manager: rig.Manager, fault: str, words: tuple[str, ...]) -> None:
    quiet.switch_on(fault)
    workflow = manager.load("BTCUSDT", "api_candles_1m", SPAN, again=True)
    assert workflow["status"] == "error", manager.story(workflow["queue_id"])
    failure = workflow["failure"]
    assert [word for word in words if word not in failure["reason"]] == [], failure
    assert "BTCUSDT" in failure["reason"]
    assert failure["next_step"]
    asked = quiet.requests()
    assert asked <= 20, "retries are bounded"
    if "451" in fault:
        assert quiet.struck(fault) <= 4, "what cannot succeed is not asked again"
    _forget(manager, workflow)


def test_what_failed_is_loaded_by_a_retry_once_the_fault_is_over(quiet: rig.Exchange, manager: rig.Manager) -> None:
    quiet.switch_on("500:after=3,path=klines")
    workflow = manager.load("BTCUSDT", "api_candles_1m", SPAN, again=True)
    assert workflow["status"] == "error"
    quiet.reset()
    manager.post(f"/queues/{workflow['queue_id']}/retry")
    workflow = manager.wait(workflow["queue_id"])
    assert workflow["status"] == "finished"
    _assert_exact(quiet, manager, workflow)
    _forget(manager, workflow)


def test_a_block_by_the_firewall_is_waited_for(quiet: rig.Exchange, tmp_path: Path) -> None:
    # A manager of its own: it does not ask again for minutes.
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        quiet.switch_on("waf:count=1,path=klines")
        _assert_waits(quiet, manager)


def test_a_loader_that_the_firewall_blocked_is_not_started_again_before_its_time(
    quiet: rig.Exchange, tmp_path: Path
) -> None:
    with rig.manager(tmp_path / "data", quiet.url, STREAMFORGE_MAX_FAILURES="2") as manager:
        assert manager.load("BTCUSDT", "api_candles_1h", "2024-01-01")["status"] == "finished"
        quiet.switch_on("waf:after=2,count=1,path=klines")
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", SPAN, again=True)["queue_id"]
        waiting = manager.until(queue_id, "it waits", lambda w: "ban" in (w["waiting_for"] or ""))
        assert "HTTP 403" in waiting["waiting_for"]
        assert "firewall" in waiting["waiting_for"]
        asked = quiet.requests()
        manager.kill()
        manager.start()
        waiting = manager.until(queue_id, "it still waits", lambda w: "firewall" in (w["waiting_for"] or ""))
        loader = waiting["steps"][1]
        assert (loader["role"], len(loader["attempts"])) == ("loader", 1)
        manager.post(f"/queues/{queue_id}/stop")
        assert manager.wait(queue_id)["status"] == "interrupted"
        assert quiet.requests() == asked, "nobody asked during the block"


def _assert_waits(quiet: rig.Exchange, manager: rig.Manager) -> None:
    queue_id = manager.start_load("BTCUSDT", "api_candles_1m", SPAN, again=True)["queue_id"]
    waiting = manager.until(queue_id, "it waits", lambda found: "HTTP" in (found["waiting_for"] or ""))
    assert "HTTP 403" in waiting["waiting_for"]
    assert "firewall" in waiting["waiting_for"]
    assert waiting["status"] == "running"
    asked = quiet.requests()
    manager.post(f"/queues/{queue_id}/stop")
    assert manager.wait(queue_id)["status"] == "interrupted"
    assert quiet.requests() == asked, "nobody asked during the block"


def test_rows_that_an_answer_left_out_are_loaded_by_a_new_attempt_on_the_holes(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on("missing:rows=2,after=3,count=1,path=klines,seed=5")
    workflow = manager.load("ETHUSDT", "api_candles_1m", SPAN)
    assert workflow["status"] == "finished"
    assert workflow["repairs"] == 1
    loader, sink = workflow["steps"][1], workflow["steps"][0]
    assert loader["role"] == "loader"
    first, second = loader["attempts"]
    assert first["ranges"] == ["2024-08-01:2024-08-03"]
    assert first["progress"]["records"] == 2878
    assert second["progress"]["records"] == 2
    assert len(second["ranges"]) == 2
    assert [attempt["progress"]["records"] for attempt in sink["attempts"]] == [2878, 2]
    assert {segment["verdict"] for segment in manager.coverage(workflow["queue_id"])} == {"stored"}
    _assert_exact(quiet, manager, workflow)


def _assert_exact(exchange: rig.Exchange, manager: rig.Manager, workflow: rig.Json) -> None:
    rows = exchange.oracle(workflow["symbol"], "1m", START_MS, END_MS)
    assert len(rows) == (END_MS - START_MS) // MINUTE_MS
    assert manager.csv(workflow["collection"]) == rig.expected_csv(workflow["symbol"], "1m", rows)
    assert workflow["coverage"]["complete"] is True
    assert workflow["progress"]["records_stored"] == len(rows)
    segments = manager.coverage(workflow["queue_id"])
    assert [(s["start_ms"], s["end_ms"], s["verdict"]) for s in segments] == [(START_MS, END_MS, "stored")]


def _forget(manager: rig.Manager, workflow: rig.Json) -> None:
    manager.api.delete(f"/queues/{workflow['queue_id']}", params={"data": "true"}).raise_for_status()
