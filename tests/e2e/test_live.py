"""Live workflows end to end: what happens at the test exchange is stored, proven as it comes, and closed by a stop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests import cleanenv
from tests.e2e import rig
from tests.e2e.rig import DAY_MS, Json
from tests.e2e.test_stream_fault_matrix import assert_complete
from tests.limits import LIMIT_S

TRADES, CANDLES = "loader-ws-trades", "loader-ws-candles"
MIDNIGHT = 1_722_556_800_000
"""Where 2 August 2024 begins."""
QUICK = {"STREAMFORGE_COMPARE_SECONDS": "0.2", "STREAMFORGE_HOLE_SECONDS": "3"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    """28 trades a second of every symbol, as BTCUSDT has at Binance."""
    with rig.exchange("--trades", "1667", "--no-limits") as found:
        yield found


@pytest.fixture
def manager(exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", exchange.url, **QUICK) as found:
        yield found


def start(manager: rig.Manager, type_name: str, **more: str) -> str:
    answer = manager.api.post("/queues/start", json={"symbol": "BTCUSDT", "type": type_name, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def is_live(workflow: Json) -> bool:
    """Whether it is proven up to a moment ago, and its loader has told how its stream does."""
    live = workflow["live"]
    told = bool(live) and live["state"] == "live" and live["frame_age_seconds"] is not None
    return told and workflow["progress"]["records_stored"] > 50


def is_proven_beyond(trade_id: int, workflow: Json) -> bool:
    return is_live(workflow) and bool((workflow["live"]["proven_id"] or 0) > trade_id)


def stored(manager: rig.Manager, workflow: Json) -> dict[int, Json]:
    """Every record of the workflow's range by its id, wherever its coverage says that it lies."""
    segments = manager.coverage(workflow["queue_id"])
    assert {one["verdict"] for one in segments} == {"stored"}
    assert [one["end_ms"] for one in segments[:-1]] == [one["start_ms"] for one in segments[1:]]
    found: dict[int, Json] = {}
    for collection in {one["collection"] for one in segments}:
        found |= {one["trade_id"]: one for one in manager.records(collection)}
    span = workflow["time_range"]
    return {n: one for n, one in sorted(found.items()) if span["start_ms"] <= one["timestamp"] < span["end_ms"]}


def at_exchange(exchange: rig.Exchange, first: int, last: int) -> dict[int, tuple[float, float, int]]:
    found: dict[int, tuple[float, float, int]] = {}
    while first <= last:
        query: dict[str, str | int] = {"symbol": "BTCUSDT", "fromId": first, "limit": 1000}
        rows = httpx.get(f"{exchange.url}/api/v3/historicalTrades", params=query).raise_for_status().json()
        found |= {row["id"]: (float(row["price"]), float(row["qty"]), row["time"]) for row in rows if row["id"] <= last}
        first = rows[-1]["id"] + 1
    return found


def assert_equal(exchange: rig.Exchange, records: dict[int, Json]) -> None:
    ids = list(records)
    assert ids == list(range(ids[0], ids[-1] + 1))
    told = {n: (one["price"], one["quantity"], one["timestamp"]) for n, one in records.items()}
    assert told == at_exchange(exchange, ids[0], ids[-1])


def test_trades_are_proven_while_they_come_and_the_stop_closes_the_ledger(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    queue_id = start(manager, "ws_trades")
    first = manager.until(queue_id, "it is live", partial(is_proven_beyond, 0))["live"]
    assert first["frame_age_seconds"] < 60
    later = manager.until(queue_id, "more is proven", partial(is_proven_beyond, first["proven_id"] + 100))
    assert later["live"]["proven_through_ms"] > first["proven_through_ms"]
    ended = manager.stopped(queue_id)
    assert ended["coverage"]["complete"] is True
    assert_equal(exchange, stored(manager, ended))


def test_since_a_time_history_and_stream_are_one_series(exchange: rig.Exchange, manager: rig.Manager) -> None:
    queue_id = start(manager, "ws_trades", since="-3m")
    manager.until(queue_id, "history and stream are proven", is_live)
    ended = manager.stopped(queue_id)
    records = stored(manager, ended)
    assert_equal(exchange, records)
    span = ended["time_range"]
    query: dict[str, str | int] = {"symbol": "BTCUSDT", "startTime": span["start_ms"], "limit": 1}
    (first,) = httpx.get(f"{exchange.url}/api/v3/aggTrades", params=query).raise_for_status().json()
    assert min(records) == first["f"]
    assert span["end_ms"] - span["start_ms"] >= 180_000
    history = manager.api.get("/queues", params={"type": "api_trades"}).json()["queues"]
    assert [(one["supplements"], one["status"]) for one in history] == [(queue_id, "finished")]


@pytest.mark.long
def test_since_yesterday_files_requests_and_stream_are_one_series(tmp_path: Path) -> None:
    with (
        rig.exchange("--trades", "24", "--no-limits", "--now", "2024-08-03T00:05:00Z") as exchange,
        rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_ARCHIVE_URL=exchange.url, **QUICK) as manager,
    ):
        queue_id = start(manager, "ws_trades", since="2024-08-02")
        begun_ms = manager.until(queue_id, "it has begun", lambda one: one["parts"] != [])["parts"][0]["start_ms"]
        through_ms = begun_ms + 10_000
        manager.until(queue_id, "all is proven", partial(is_proven, through_ms=through_ms))
        (history,) = manager.api.get("/queues", params={"type": "api_trades"}).json()["queues"]
        history, ended = manager.finished(history["queue_id"]), manager.stopped(queue_id)
        assert history["supplements"] == queue_id
        parts = [(one["source"], one["start_ms"], one["end_ms"]) for one in history["parts"]]
        until_ms = parts[-1][-1]
        assert parts == [("archive", MIDNIGHT, MIDNIGHT + DAY_MS), ("rest", MIDNIGHT + DAY_MS, until_ms)]
        assert begun_ms < until_ms, "stream and requests have a moment in common"
        assert {one["source"] for one in ended["parts"]} == {"stream"}
        assert_complete(exchange, manager, ended)
        found = manager.coverage(queue_id)
        assert [one["last_id"] + 1 for one in found[:-1]] == [one["first_id"] for one in found[1:]]
        times = {n: one["timestamp"] for n, one in stored(manager, ended).items()}
        for seam_ms in (MIDNIGHT + DAY_MS, begun_ms, until_ms):
            assert {time_ms < seam_ms for time_ms in times.values()} == {True, False}
        ids = list(times)
        assert ids == list(range(ids[0], ids[-1] + 1))


def test_kills_of_loader_sink_and_manager_leave_no_hole(exchange: rig.Exchange, manager: rig.Manager) -> None:
    queue_id = start(manager, "ws_trades")
    proven = manager.until(queue_id, "it is live", partial(is_proven_beyond, 0))["live"]["proven_id"]
    for target in (TRADES, "arango-trades", None):
        if target is None:
            manager.kill()
            manager.start()
        else:
            manager.kill_worker(queue_id, target, signal.SIGKILL)
        proven = manager.until(queue_id, "it goes on", partial(is_proven_beyond, proven + 60))["live"]["proven_id"]
    assert_equal(exchange, stored(manager, manager.stopped(queue_id)))


def test_what_was_lost_of_it_is_loaded_again_while_it_runs(exchange: rig.Exchange, manager: rig.Manager) -> None:
    queue_id = start(manager, "ws_trades")
    workflow = manager.until(queue_id, "it is live", is_live)
    last = workflow["live"]["proven_id"] - 5
    held = {one["collection"] for one in manager.coverage(queue_id)}
    lost = sum(asyncio.run(remove(manager, collection, last - 30, last)) for collection in held)
    assert lost == 30
    found = manager.post("/coverage/BTCUSDT/api_trades/verify", 200)
    assert found["records_missing"] == 30
    whole_again(manager, queue_id)
    repairs = manager.api.get("/queues", params={"type": "api_trades"}).json()["queues"]
    assert {(one["supplements"], manager.finished(one["queue_id"])["status"]) for one in repairs} == {
        (queue_id, "finished")
    }
    assert_equal(exchange, stored(manager, manager.stopped(queue_id)))


def whole_again(manager: rig.Manager, queue_id: str) -> None:
    """Wait until what lacked is loaded, and more is proven."""

    def loaded() -> int | None:
        found = manager.api.get("/queues", params={"type": "api_trades"}).raise_for_status().json()["queues"]
        ended = [one for one in found if one["supplements"] == queue_id and one["ended_at"]]
        return manager.show(queue_id)["live"]["proven_id"] if ended else None

    proven = rig.eventually(loaded, "a supplement has ended", story=lambda: manager.story(queue_id))
    manager.until(queue_id, "it is whole again", partial(is_proven_beyond, proven + 60))


async def remove(manager: rig.Manager, collection: str, first: int, end: int) -> int:
    store = EmbeddedStore(manager.data / "store")
    await store.connect()
    try:
        return await store.delete(collection, first=f"BTCUSDT_{first:012}", last=f"BTCUSDT_{end:012}")
    finally:
        await store.close()


def test_load_tells_how_far_it_is_and_ctrl_c_ends_it_in_order(exchange: rig.Exchange, tmp_path: Path) -> None:
    words = ["load", "BTCUSDT", "ws_trades", "--data", str(tmp_path / "data"), "--exchange", exchange.url]
    environment = cleanenv.environment() | rig.IMPATIENT | QUICK
    command = [sys.executable, "-m", "streamforge.cli", *words]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as process:
        assert process.stderr is not None
        told = (
            "live, proven through",
            "last frame",
        )  # the first record may be proven before its loader has told of itself
        line = next((line for line in process.stderr if all(one in line for one in told)), "")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert line, err
    assert process.returncode == 0, err
    assert "finished" in out
    assert "proven complete" in out


def test_many_are_live_at_once_and_stopped_together(exchange: rig.Exchange, manager: rig.Manager) -> None:
    body = {"symbols": ["BTCUSDT", "ETHUSDT"], "type": "ws_agg_trades"}
    answer = manager.api.post("/batches", json=body)
    assert answer.status_code == 202, answer.text
    path = f"/batches/{answer.json()['batch_id']}"

    def shown() -> Json:
        found: Json = manager.api.get(path).raise_for_status().json()
        return found

    rig.eventually(lambda: shown()["live"] == {"live": 2} or None, "both are live", story=manager.log)
    manager.post(f"{path}/stop")
    ended = rig.eventually(lambda: found if (found := shown())["status"] == "finished" else None, "both have finished")
    assert ended["counts"]["finished"] == 2
    assert ended["progress"]["records_stored"] == ended["progress"]["records_expected"] > 0


def test_closed_candles_are_proven_as_they_come(exchange: rig.Exchange, manager: rig.Manager) -> None:
    queue_id = start(manager, "ws_candles_1s", since="-2m")
    workflow = manager.until(
        queue_id,
        "history and candles are proven",
        lambda one: (one["live"] or {}).get("state") == "live" and one["progress"]["records_stored"] > 2,
    )
    through = workflow["live"]["proven_through_ms"]
    manager.until(queue_id, "more are proven", lambda one: one["live"]["proven_through_ms"] > through + 3000)
    ended = manager.stopped(queue_id)
    span = ended["time_range"]
    rows = exchange.oracle("BTCUSDT", "1s", span["start_ms"], span["end_ms"])
    assert ended["progress"]["records_stored"] == len(rows) == (span["end_ms"] - span["start_ms"]) // 1000
    opens = set[int]()
    for collection in {one["collection"] for one in manager.coverage(queue_id)}:
        opens |= {int(line.split(",")[2]) for line in manager.csv(collection)[1:]}
    assert {row[0] for row in rows} <= opens


@pytest.mark.long
def test_over_midnight_a_day_begins_another_collection(tmp_path: Path) -> None:
    """Loaders and sinks are killed meanwhile; what comes again lies where it belongs."""
    live = {"ws_trades": "trades", "ws_candles_1s": "candles"}
    with (
        rig.exchange("--trades", "1667", "--no-limits", "--now", "2024-08-01T23:59:50Z") as exchange,
        rig.manager(tmp_path / "data", exchange.url, **QUICK) as manager,
    ):
        begun = {name: start(manager, name, since="2024-08-01T23:59:30Z") for name in live}
        later: dict[str, int] = {}
        for name, queue_id in begun.items():
            found = manager.until(queue_id, "it is proven", is_proven)["live"]["proven_through_ms"]
            later[name] = max(found, MIDNIGHT) + 3000  # what comes after the kill
            for target in (f"arango-{live[name]}", f"loader-ws-{live[name]}"):
                manager.kill_worker(queue_id, target, signal.SIGKILL)
        for name, queue_id in begun.items():
            manager.until(queue_id, "the day is proven", partial(is_proven, through_ms=later[name]))
            ended, base = manager.stopped(queue_id), f"btcusdt_{name}"
            held = [one["collection"] for one in manager.coverage(queue_id)]
            assert set(held) == {f"{base}_20240801", f"{base}_20240802"}
            before, after, both = (manager.records(one) for one in (*sorted(set(held)), base))
            assert before + after == both
            time = "timestamp" if name == "ws_trades" else "open_time"
            assert {one[time] < MIDNIGHT for one in before} == {True}
            assert {one[time] >= MIDNIGHT for one in after} == {True}
            assert ended["coverage"]["complete"] is True
            if name == "ws_trades":
                assert_equal(exchange, stored(manager, ended))


def is_proven(workflow: Json, through_ms: int = 0) -> bool:
    return ((workflow["live"] or {}).get("proven_through_ms") or 0) > through_ms
