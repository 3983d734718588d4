"""A load whose records come from the archive of the test exchange and from its REST interface, and what goes wrong."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e import rig
from tests.e2e.rig import DAY_MS, Exchange, Json, Manager, assert_exact

RANGE = "2024-08-01:2024-08-11"
DAY = "2024-08-05T00:00:00Z"
ARCHIVE, REST = "loader-producer", "loader-api-candles"
LISTED_AND_GONE = "archive-missing:file=*2024-08-05*,listed=1"


@contextmanager
def running(exchange: Exchange, data: Path, *faults: str, samples: str = "some") -> Iterator[Manager]:
    """A manager that knows the archive of the exchange. faults: of both, from now on."""
    for fault in faults:
        exchange.switch_on(fault)
    try:
        settings = {"STREAMFORGE_ARCHIVE_URL": exchange.url, "STREAMFORGE_ARCHIVE_SAMPLES": samples}
        with rig.manager(data, exchange.url, **settings) as manager:
            yield manager
    finally:
        exchange.lift_faults()


def sources(workflow: Json) -> list[tuple[str, str]]:
    return [(part["start"][:10], part["source"]) for part in workflow["parts"]]


def test_files_take_the_place_of_requests_for_all_that_is_over(exchange: Exchange, tmp_path: Path) -> None:
    with running(exchange, tmp_path / "data") as manager:
        body = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": RANGE}
        told = manager.api.post("/plans", json=body).raise_for_status().json()
        before = exchange.requests()
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", RANGE)
        rows = assert_exact(exchange, manager, workflow)
        assert sources(workflow) == [("2024-08-01", "archive")]
        assert exchange.requests() - before <= 5, "the first candle, asked for twice, and a sample"
        assert (told["records_expected"], told["requests"]) == (len(rows), 1)
        assert told["download_bytes"] > 0
        assert [one["target"] for one in workflow["steps"]] == ["arango-candles", REST, ARCHIVE]
        today = manager.loaded("BTCUSDT", "api_candles_1m", "-7d")
        assert [part["source"] for part in today["parts"]] == ["archive", "rest"]
        assert_exact(exchange, manager, today)


@pytest.mark.long
def test_more_than_the_topic_holds_comes_from_files_after_requests_have_ended(
    exchange: Exchange, tmp_path: Path
) -> None:
    with running(exchange, tmp_path / "data") as manager:
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", "-200d")
        assert [part["source"] for part in workflow["parts"]] == ["archive", "rest"]
        assert workflow["progress"]["records_stored"] == workflow["progress"]["records_expected"] > 280_000


def test_long_candles_come_from_the_files_of_months(exchange: Exchange, tmp_path: Path) -> None:
    with running(exchange, tmp_path / "data") as manager:
        for interval in ("3d", "1w", "1M"):
            workflow = manager.loaded("ETHUSDT", f"api_candles_{interval}", "2024-02:2024-07", source="archive")
            assert [source for _, source in sources(workflow)] == ["archive"]
            assert len(assert_exact(exchange, manager, workflow)) >= 5


SPOILT = (
    LISTED_AND_GONE,
    "archive-corrupt:file=*2024-08-02*",
    "archive-rows:kind=skipped,file=*2024-08-07*",
)
"""A fault for each of these days: gone, a wrong byte, a row that lacks."""


def test_what_files_do_not_give_is_loaded_over_rest_by_itself(exchange: Exchange, tmp_path: Path) -> None:
    with running(exchange, tmp_path / "data", *SPOILT) as manager:
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", RANGE)
        assert_exact(exchange, manager, workflow)
        other = [part for part in workflow["parts"] if part["source"] == "rest"]
        assert [part["start"][:10] for part in other] == [f"2024-08-0{day}" for day in (2, 5, 7)]
        assert all(": its file was not loaded: " in remark for remark in workflow["remarks"])
        assert len(workflow["remarks"]) == len(other)
        assert workflow["repairs"] == 0, "it did not take the proof to notice"


LIE = "archive-rows:kind=altered,rows=0"


def test_files_with_other_candles_than_rest_are_noticed_and_rest_takes_over(exchange: Exchange, tmp_path: Path) -> None:
    with running(exchange, tmp_path / "data", LIE) as manager:
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", RANGE)
        assert_exact(exchange, manager, workflow)
        assert {source for _, source in sources(workflow)} == {"rest"}
        assert all(": archive-differs: 2024-08-" in remark for remark in workflow["remarks"])
        assert len(workflow["remarks"]) == 10


@pytest.mark.long
def test_a_file_of_other_trades_ends_a_load_of_files_alone_with_the_first_difference(
    exchange: Exchange, tmp_path: Path
) -> None:
    with running(exchange, tmp_path / "data", f"{LIE},file=*aggTrades-2024-08-05*") as manager:
        span = "2024-08-05:2024-08-06"
        workflow = manager.load("BTCUSDT", "api_agg_trades", span, source="archive")
        told = workflow["failure"]["reason"]
        (one,) = manager.coverage(workflow["queue_id"])
        assert (workflow["status"], one["verdict"], one["cause"] in told) == ("error", "unknown", True)
        quantity = r'quantity is "1([0-9.]+)" in the file and "\1" at the exchange'
        assert re.search(rf"BTCUSDT-aggTrades-2024-08-05\.zip: archive-differs: id \d+ differs: {quantity}", told), told
        assert workflow["progress"]["records_stored"] == 0
        right = manager.loaded("BTCUSDT", "api_agg_trades", span)
        assert [source for _, source in sources(right)] == ["rest"]
        start_ms = right["time_range"]["start_ms"]
        assert right["progress"]["records_stored"] == id_at(exchange, start_ms + DAY_MS) - id_at(exchange, start_ms)


@pytest.mark.long
def test_a_day_without_a_file_is_planned_over_rest(exchange: Exchange, tmp_path: Path) -> None:
    faults = ("archive-missing:file=*2024-08-05*", "archive-missing:file=*2024-08.zip*")
    with running(exchange, tmp_path / "data", *faults) as manager:
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", RANGE)
        assert_exact(exchange, manager, workflow)
        assert sources(workflow) == [("2024-08-01", "archive"), ("2024-08-05", "rest"), ("2024-08-06", "archive")]
        assert workflow["parts"][1]["reason"] == "no file of 2024-08-05"
        assert workflow["remarks"] == []


def test_a_wrong_checksum_of_a_right_file_is_a_verdict(exchange: Exchange, tmp_path: Path) -> None:
    with running(exchange, tmp_path / "data", "archive-checksum:file=*2024-08-05*") as manager:
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", RANGE)
        assert_exact(exchange, manager, workflow)
        doubted = [one for one in manager.coverage(workflow["queue_id"]) if "cause" in one]
        (one,) = doubted
        assert (one["verdict"], one["start"], one["records"]) == ("stored", DAY, 1440)
        assert one["cause"].startswith("checksum-disputed: ")


@pytest.mark.long
def test_the_verdict_outlives_a_loader_that_is_killed_and_a_load_that_is_stopped(
    exchange: Exchange, tmp_path: Path
) -> None:
    faults = ("archive-checksum:file=*2024-08-05*", "stall:path=archive,file=*2024-08-06*,seconds=3600")
    with running(exchange, tmp_path / "data", *faults, samples="none") as manager:  # one would wait for what stalls
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", RANGE)["queue_id"]
        manager.until(queue_id, "the file is stored", lambda found: found["progress"]["records_stored"] >= 5 * 1440)
        manager.kill_worker(queue_id, ARCHIVE, signal.SIGSTOP)
        manager.post(f"/queues/{queue_id}/stop")
        manager.kill_worker(queue_id, ARCHIVE)
        assert manager.wait(queue_id)["status"] == "interrupted"
        found = [one for one in manager.coverage(queue_id) if one["verdict"] == "stored"]
        assert [one["start"] for one in found if one.get("cause", "").startswith("checksum-disputed: ")] == [DAY]


def test_where_files_alone_are_wanted_a_bad_one_ends_the_load_with_the_cause(
    exchange: Exchange, tmp_path: Path
) -> None:
    with running(exchange, tmp_path / "data", "archive-corrupt:file=*2024-08-05*") as manager:
        before = exchange.requests()
        workflow = manager.load("BTCUSDT", "api_candles_1m", RANGE, source="archive")
        assert (workflow["status"], REST in {one["target"] for one in workflow["steps"]}) == ("error", False)
        assert "2024-08-05:2024-08-06 (" in workflow["failure"]["reason"]
        holes = [one for one in manager.coverage(workflow["queue_id"]) if one["verdict"] != "stored"]
        assert [(one["verdict"], one["start"]) for one in holes] == [("unknown", DAY)]
        assert holes[0]["cause"] in workflow["failure"]["reason"]
        assert exchange.requests() - before < 10
        exchange.lift_faults()
        retried = manager.loaded("BTCUSDT", "api_candles_1m", RANGE)
        assert sources(retried) == [("2024-08-05", "rest")], "what is stored is not loaded again"
        assert retried["coverage"]["complete"]


@pytest.mark.long
@pytest.mark.parametrize("seen", ["running", "remarks"])
def test_a_manager_that_is_killed_on_its_way_to_rest_gets_there(exchange: Exchange, tmp_path: Path, seen: str) -> None:
    with running(exchange, tmp_path / "data", LISTED_AND_GONE) as manager:
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", RANGE)["queue_id"]
        if seen == "remarks":
            manager.until(queue_id, "the round over REST", lambda found: bool(found["remarks"]))
        else:
            manager.until(queue_id, "its workers run", lambda found: found["status"] == "running")
        manager.kill()
        manager.start()
        workflow = manager.finished(queue_id)
        assert_exact(exchange, manager, workflow)
        assert len(workflow["remarks"]) == 1


@pytest.mark.long
def test_trades_before_the_first_one_that_rest_gives_come_from_files(exchange: Exchange, tmp_path: Path) -> None:
    start_ms = 1_722_556_800_000  # 2024-08-02
    first, floor, end = (id_at(exchange, start_ms + ms) for ms in (0, DAY_MS + 43_200_000, 2 * DAY_MS))
    span = "2024-08-02:2024-08-04"
    with running(exchange, tmp_path / "data", f"floor:id={floor},path=aggTrades") as manager:
        workflow = manager.loaded("BTCUSDT", "api_agg_trades", span)
        assert workflow["progress"]["records_stored"] == end - first
        segments = manager.coverage(workflow["queue_id"])
        assert [(one["verdict"], one["first_id"], one["last_id"]) for one in segments] == [("stored", first, end - 1)]
        assert f"the exchange gives no record before id {floor}" in workflow["parts"][0]["reason"]
        without = manager.load("BTCUSDT", "api_agg_trades", "2024-08-01", source="rest")
        assert (without["status"], without["parts"]) == ("error", [])
        assert f"the exchange gives no record before id {floor}" in without["failure"]["reason"]


@pytest.mark.long
def test_trades_that_only_files_have_and_the_store_loses_are_an_error_until_they_stay(
    exchange: Exchange, tmp_path: Path
) -> None:
    start_ms = 1_722_592_800_000  # 2024-08-02T10:00Z
    first, end, floor = (id_at(exchange, start_ms + ms) for ms in (0, 3_600_000, 7_200_000))
    with running(exchange, tmp_path / "data", f"floor:id={floor},path=aggTrades") as manager:
        manager.loaded("BTCUSDT", "api_agg_trades", "2024-08-02T13:00Z:2024-08-02T13:01Z")
        (file,) = manager.data.glob("store/**/btcusdt_api_agg_trades_2024_08_02*.db")
        with closing(sqlite3.connect(file)) as db:
            db.execute(
                f"CREATE TRIGGER lost AFTER INSERT ON records_1 WHEN NEW.position IN ({first}, {end - 1}) "
                "BEGIN DELETE FROM records_1 WHERE position = NEW.position; END"
            )
            failed = manager.load("BTCUSDT", "api_agg_trades", "2024-08-02T10:00Z:2024-08-02T11:00Z")
            assert failed["status"] == "error"
            told = [(one["verdict"], one["first_id"], one["last_id"]) for one in manager.coverage(failed["queue_id"])]
            assert told == [("ours", first, first), ("stored", first + 1, end - 2), ("ours", end - 1, end - 1)]
            db.execute("DROP TRIGGER lost")
        manager.post(f"/queues/{failed['queue_id']}/retry")
        workflow = manager.finished(failed["queue_id"])
        (segment,) = manager.coverage(workflow["queue_id"])
        assert (segment["verdict"], segment["first_id"], segment["last_id"]) == ("stored", first, end - 1)


def id_at(exchange: Exchange, time_ms: int) -> int:
    """The id of the first aggregated trade at a time or later."""
    query: dict[str, str | int] = {"symbol": "BTCUSDT", "startTime": time_ms, "limit": 1}
    answer = httpx.get(f"{exchange.url}/api/v3/aggTrades", params=query, timeout=60)
    return int(answer.raise_for_status().json()[0]["a"])
