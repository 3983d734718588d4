"""Every fault of the exchange: what is stored is exactly what the exchange has, or the workflow says why it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge.exchange.faults import FAULTS
from tests.e2e import rig
from tests.e2e.rig import LOADER, SINK, step

SPAN = "2024-08-01:2024-08-03"
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
    "short": ["short:rows=400,count=3"],
    "reversed": ["reversed"],
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
    "timeout": ("timeout", ("HTTP 504", "-1007")),
    "451": ("451:path=klines", ("HTTP 451", "restricted location", "another base URL")),
    "451 to the loader": ("451:after=2,path=klines", ("HTTP 451", "restricted location")),
    "garbage": ("garbage", ("cannot be read",)),
    "stall": ("stall:seconds=0.1", ("no connection", "closed the connection")),
    "bad-number": ("bad-number:kind=nan", ("cannot be read", "'NaN' is no decimal number")),
    "cut": ("cut", ("broke off",)),
    "truncated": ("truncated", ("cannot be read",)),
}
"""Faults that do not pass, and the words that the reason of the failure must hold."""

SETTINGS = {
    "STREAMFORGE_REQUEST_ATTEMPTS": "2",
    "STREAMFORGE_MAX_ASKING_FAILURES": "2",
    "STREAMFORGE_MAX_FAILURES": "2",
}

OTHERWISE = {
    "waf",
    "held",
    "floor",
    "torn",
    "revised",
    *(name for name, kind in FAULTS.items() if kind.of_archive or kind.of_streams),
}
"""Faults that are waited for (`test_limits.py`) or last until a test lifts them, and those of ids, archive, streams and
live candles, which others test (`test_fault_matrix.py`, `test_stream_fault_matrix.py`).
"""


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
    tested = {name.split()[0] for name in (*PASSING, *LASTING)} | OTHERWISE
    assert tested == FAULTS.keys()


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_changes_nothing_of_what_is_stored(
    name: str, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    for fault in PASSING[name]:
        quiet.switch_on(fault)
    workflow = manager.loaded("BTCUSDT", "api_candles_1m", SPAN, again=True)
    assert all(quiet.struck(fault) for fault in PASSING[name]), "the fault struck"
    _assert_exact(quiet, manager, workflow)
    _forget(manager, workflow)


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_ends_in_a_reason_that_a_person_understands(
    name: str, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    fault, words = LASTING[name]
    workflow = _ended_in_a_reason(quiet, manager, fault, words)
    if "451" in fault:
        assert quiet.struck(fault) <= 4, "what cannot succeed is not asked again"
    if "to the loader" in name:
        quiet.reset()
        manager.post(f"/queues/{workflow['queue_id']}/retry")
        _assert_exact(quiet, manager, manager.finished(workflow["queue_id"]))
    _forget(manager, workflow)


def test_an_answer_that_never_comes_to_its_end_is_given_up(quiet: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", quiet.url, **SETTINGS, STREAMFORGE_REQUEST_TIMEOUT_SECONDS="1") as hasty:
        _ended_in_a_reason(quiet, hasty, "drip:bytes=1,ms=50,path=klines", ("no answer within 1 s",))


def _ended_in_a_reason(quiet: rig.Exchange, manager: rig.Manager, fault: str, words: tuple[str, ...]) -> rig.Json:
    quiet.switch_on(fault)
    workflow = manager.load("BTCUSDT", "api_candles_1m", SPAN, again=True)
    assert workflow["status"] == "error", manager.story(workflow["queue_id"])
    failure = workflow["failure"]
    assert [word for word in words if word not in failure["reason"]] == [], failure
    assert "BTCUSDT" in failure["reason"]
    assert failure["next_step"]
    assert quiet.requests() <= 20, "retries are bounded"
    return workflow


def test_rows_that_an_answer_left_out_are_loaded_by_a_new_attempt_on_the_holes(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on("missing:rows=2,after=3,count=1,path=klines,seed=5")
    workflow = manager.loaded("ETHUSDT", "api_candles_1m", SPAN)
    assert workflow["repairs"] == 1
    first, second = step(workflow, LOADER)["attempts"]
    assert first["ranges"] == ["2024-08-01:2024-08-03"]
    assert (first["progress"]["records"], second["progress"]["records"], len(second["ranges"])) == (2878, 2, 2)
    assert [attempt["progress"]["records"] for attempt in step(workflow, SINK)["attempts"]] == [2878, 2]
    _assert_exact(quiet, manager, workflow)


def _assert_exact(exchange: rig.Exchange, manager: rig.Manager, workflow: rig.Json) -> None:
    assert len(rig.assert_exact(exchange, manager, workflow)) == 2880
    assert [segment["verdict"] for segment in manager.coverage(workflow["queue_id"])] == ["stored"]


def _forget(manager: rig.Manager, workflow: rig.Json) -> None:
    manager.api.delete(f"/queues/{workflow['queue_id']}", params={"data": "true"}).raise_for_status()
