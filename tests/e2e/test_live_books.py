"""Order books as whole workflows: what is called verified is the exchange's, and all that is not stored is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import cleanenv
from tests.e2e import rig
from tests.e2e.rig import Json
from tests.e2e.stored_books import LOADER, SINK, checked, is_verified, start
from tests.limits import LIMIT_S

SETTINGS = {"STREAMFORGE_COMPARE_SECONDS": "0.2", "STREAMFORGE_HOLE_SECONDS": "1"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--no-limits") as found:
        yield found


@pytest.fixture
def manager(exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", exchange.url, **SETTINGS) as found:
        yield found


def verified(manager: rig.Manager, queue_id: str, beyond_ms: int = 0) -> Json:
    return manager.until(queue_id, "its book is verified", partial(is_verified, beyond_ms=beyond_ms))


def causes(segments: list[Json], verdict: str) -> set[str]:
    return {one.get("cause", "") for one in segments if one["verdict"] == verdict}


def test_a_book_is_proven_while_it_is_recorded_and_the_stop_closes_the_ledger(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    queue_id = start(manager)
    live = verified(manager, queue_id)["live"]
    live = verified(manager, queue_id, live["proven_through_ms"] + 2000)["live"]
    assert live["verified_share"] > 0
    assert live["verified_share"] + live["clean_share"] == pytest.approx(1)
    assert (live["lost_seconds"], live["open_holes"], live["supplement"]) == (0, 0, None)
    workflow = manager.stopped(queue_id)
    segments, diffs = checked(manager, exchange, workflow)
    assert {one["verdict"] for one in segments} == {"stored"}
    assert causes(segments, "stored") <= {"", "unverifiable: awaiting snapshot"}
    assert workflow["progress"]["records_stored"] == workflow["progress"]["records_expected"] == len(diffs) > 10
    assert workflow["coverage"]["complete"] is True
    refused = manager.api.post("/queues/start", json={"symbol": "BTCUSDT", "type": "ws_orderbook", "since": "-1h"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "since")


def is_told(workflow: Json, attempt: int = 1) -> bool:
    """Whether the book is verified, and that attempt of the sink has stored some of what is told of it, no segment."""
    told = (workflow["live"] or {}).get("trust") == "verified"
    if not told:
        return False
    latest = rig.latest(workflow, SINK)
    return bool(latest["number"] == attempt and latest["progress"]["records"] > 8)


@pytest.mark.long
def test_what_passed_while_it_was_stopped_is_lost_and_what_the_sink_had_left_is_stored_by_the_retry(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    loader = {"checkpoint_seconds": 1, "top_seconds": 0.5}
    queue_id = start(manager, parameters={LOADER: loader, SINK: {"segment_seconds": 3600}})
    manager.until(queue_id, "its book is reported", is_told)
    manager.kill_worker(queue_id, SINK, signal.SIGSTOP)
    manager.post(f"/queues/{queue_id}/stop")
    manager.until(queue_id, "its loader has ended", lambda one: rig.step(one, LOADER)["status"] == "interrupted")
    manager.kill_worker(queue_id, SINK, signal.SIGKILL)
    assert manager.wait(queue_id)["status"] == "interrupted"
    manager.post(f"/queues/{queue_id}/retry")
    manager.until(queue_id, "its book is reported again", partial(is_told, attempt=2))
    segments, _ = checked(manager, exchange, manager.stopped(queue_id))
    assert causes(segments, "lost") == {"stopped"}
    assert {one["verdict"] for one in segments} == {"stored", "lost"}


def test_kills_of_loader_sink_and_manager_lose_what_the_loader_missed_and_nothing_else(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    queue_id = start(manager)
    proven_ms = verified(manager, queue_id)["live"]["proven_through_ms"]
    for target in (SINK, None, LOADER):
        if target is None:
            manager.kill()
            manager.start()
        else:
            manager.kill_worker(queue_id, target, signal.SIGKILL)
        killed_ms = max(proven_ms, exchange.stats()["now_ms"])
        proven_ms = verified(manager, queue_id, killed_ms)["live"]["proven_through_ms"]
    segments, _ = checked(manager, exchange, manager.stopped(queue_id))
    assert causes(segments, "lost") == {"loader ended"}
    assert [one["verdict"] for one in segments].count("lost") == 1


def _came(workflow: Json) -> int:
    """Diffs that are stored, or wait until their segment is closed."""
    return int(workflow["progress"]["records_stored"] + (workflow["live"] or {}).get("records_waiting", 0))


@pytest.mark.long
def test_a_batch_of_books_is_live_and_stopped_together(exchange: rig.Exchange, manager: rig.Manager) -> None:
    body = {"symbols": ["BTCUSDT", "ETHUSDT"], "type": "ws_orderbook"}
    answer = manager.api.post("/batches", json=body)
    assert answer.status_code == 202, answer.text
    path = f"/batches/{answer.json()['batch_id']}"

    def shown() -> Json:
        found: Json = manager.api.get(path).raise_for_status().json()
        return found

    def told() -> bool | None:
        workflows = manager.api.get("/queues", params={"type": "ws_orderbook"}).json()["queues"]
        return True if len(workflows) == 2 and all(_came(one) > 3 for one in workflows) else None

    rig.eventually(told, "of both books something came", story=manager.log)
    manager.post(f"{path}/stop")
    ended = rig.eventually(lambda: found if (found := shown())["status"] == "finished" else None, "both have finished")
    workflows = manager.api.get("/queues", params={"type": "ws_orderbook"}).json()["queues"]
    assert ended["counts"]["finished"] == 2, [manager.story(one["queue_id"]) for one in workflows]
    assert ended["progress"]["records_stored"] == ended["progress"]["records_expected"] > 0
    for workflow in workflows:
        segments, _ = checked(manager, exchange, manager.show(workflow["queue_id"]))
        assert {one["verdict"] for one in segments} == {"stored"}


@pytest.mark.parametrize(
    "fault",
    ["held:path=depth,symbol={}", pytest.param("429:path=depth,symbol={},retry_after=1", marks=pytest.mark.long)],
)
def test_while_a_snapshot_is_slow_or_refused_the_other_books_of_the_basket_stay_verified(
    fault: str, tmp_path: Path
) -> None:
    symbol, others = "BTCUSDT", ["ETHUSDT", "SOLUSDT"]
    refused, lost = fault.format(symbol), f"stream-missing:symbol={symbol},stream=*@depth*,count=1"
    with rig.exchange() as exchange, rig.manager(tmp_path / "data", exchange.url, **SETTINGS) as manager:
        ids = {name: start(manager, name) for name in (symbol, *others)}
        for queue_id in ids.values():
            verified(manager, queue_id)
        assert exchange.stats()["streams"]["open"] == 1  # one process asks for all
        exchange.switch_on(refused)
        exchange.switch_on(lost)
        rig.eventually(lambda: exchange.struck(refused) or None, "a snapshot is asked for again")
        refused_ms = exchange.stats()["now_ms"]
        for name in others:
            verified(manager, ids[name], refused_ms + 3000)
        assert manager.show(ids[symbol])["live"]["trust"] != "verified"
        exchange.lift_faults()
        verified(manager, ids[symbol], exchange.stats()["now_ms"])
        stats = exchange.stats()
        assert stats["max_weight_in_a_minute"] <= stats["weight_limit"]
        assert (stats["bans"], stats["asked_in_pause"]) == ([], 0)
        for name, queue_id in ids.items():
            segments, _ = checked(manager, exchange, manager.stopped(queue_id))
            assert causes(segments, "lost") == ({"sequence gap"} if name == symbol else set())
            if name != symbol:
                assert causes(segments, "stored") <= {"", "unverifiable: awaiting snapshot"}


def test_load_records_a_book_until_ctrl_c(exchange: rig.Exchange, tmp_path: Path) -> None:
    words = ["load", "BTCUSDT", "ws_orderbook", "--data", str(tmp_path / "data"), "--exchange", exchange.url]
    environment = cleanenv.environment() | rig.IMPATIENT | SETTINGS
    command = [sys.executable, "-m", "streamforge.cli", *words]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as process:
        assert process.stderr is not None
        line = next((line for line in process.stderr if "on their way" in line), "")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert "last frame" in line, err
    assert process.returncode == 0, err
    assert "finished" in out
    assert "proven complete" in out
