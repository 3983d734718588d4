"""What came since the last load is loaded, and joins what was there without a seam."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from streamforge_utils.model.timeranges import parse_time_range
from tests.e2e import rig

NOW_MS = parse_time_range("2024-08-03").start_ms + 30_000


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--now", "2024-08-03T00:00:30Z") as found:
        yield found


def since_last(manager: rig.Manager, type_name: str, **more: str) -> rig.Json:
    body = {"symbol": "BTCUSDT", "type": type_name, "since": "last", **more}
    answer = manager.api.post("/queues/start", json=body)
    assert answer.status_code in (200, 202), answer.text
    found: rig.Json = answer.json()
    return found if answer.status_code == 200 else manager.finished(found["queue_id"])


@pytest.mark.parametrize("type_name", ["api_candles_1h", "api_trades"])
def test_what_is_new_since_the_last_load_joins_it_without_a_seam(
    type_name: str, exchange: rig.Exchange, tmp_path: Path
) -> None:
    trades = type_name == "api_trades"
    exchange.set_clock(NOW_MS)
    with rig.manager(tmp_path / "data", exchange.url) as manager:
        first = "2024-08-02T23:50Z" if trades else "2024-08-01"
        manager.loaded("BTCUSDT", type_name, "2024-08-02T23:50Z:2024-08-02T23:55Z" if trades else "2024-08-01")
        later_ms = NOW_MS + (rig.MINUTE_MS if trades else 6 * rig.HOUR_MS)
        manager.stop()
        exchange.set_clock(later_ms)
        manager.start()
        workflow = since_last(manager, type_name)
        start, requested = workflow["time_range"]["start"], workflow["time_range"]["requested"]
        assert (start, requested) == ("2024-08-02T23:55:00Z" if trades else "2024-08-02T00:00:00Z", "since last")
        known = manager.api.get(f"/coverage/BTCUSDT/{type_name}").raise_for_status().json()
        assert known["complete"]
        segments = known["segments"]
        assert {one["verdict"] for one in segments} == {"stored"}
        assert segments[0]["start_ms"] == parse_time_range(f"{first}:2025").start_ms
        assert segments[-1]["end_ms"] >= later_ms // rig.HOUR_MS * rig.HOUR_MS
        assert all(before["end_ms"] == after["start_ms"] for before, after in pairwise(segments))
        if trades:
            assert all(before["last_id"] + 1 == after["first_id"] for before, after in pairwise(segments))
            assert all(one["records"] == one["last_id"] - one["first_id"] + 1 > 0 for one in segments)
            return
        assert [one["records"] for one in segments] == [54]
        nothing = since_last(manager, type_name)
        assert (nothing["status"], nothing["until"]) == ("up-to-date", "2024-08-03T06:00:00Z")
        assert len(manager.api.get("/queues").json()["queues"]) == 2


def test_a_run_of_a_schedule_is_made_once_though_its_manager_is_killed(exchange: rig.Exchange, tmp_path: Path) -> None:
    exchange.set_clock(NOW_MS)
    symbols = exchange.symbols[:3]
    body = {
        "name": "all",
        "symbols": symbols,
        "type": "api_candles_1h",
        "cron": "0 0 1 1 *",
        "time_range": "2024-08-01",
    }
    with rig.manager(tmp_path / "data", exchange.url) as manager:
        assert manager.api.post("/schedules", json=body).status_code == 201
        for number in (1, 2, 3):
            manager.post("/schedules/all/run")
            manager.kill()
            manager.start()

            def ended(number: int = number) -> rig.Json | None:
                runs: list[rig.Json] = manager.api.get("/schedules/all/runs").raise_for_status().json()["runs"]
                return runs[0] if len(runs) == number else None

            run = rig.eventually(ended, f"run {number} has ended")
            assert (run["number"], run["state"]) == (number, "finished")
            assert [load["symbol"] for load in run["loads"]] == symbols
            queues = manager.api.get("/queues").raise_for_status().json()["queues"]
            assert len(queues) == number * len(symbols)


@pytest.mark.long
def test_a_cron_time_fires_and_makes_its_run_once_though_the_manager_is_killed_around_it(
    exchange: rig.Exchange, tmp_path: Path
) -> None:
    """The clock of the manager stands before a minute of this hour, then jumps to the machine's time."""
    exchange.set_clock(NOW_MS)
    now_ms = time.time_ns() // 1_000_000
    fire_ms = now_ms // rig.MINUTE_MS * rig.MINUTE_MS
    fire, timed = datetime.fromtimestamp(fire_ms // 1000, UTC), tmp_path / "timed"
    timed.mkdir()
    offset, go = timed / "offset", timed / "go"
    offset.write_text(str(fire_ms - 10 * rig.MINUTE_MS - now_ms))
    body = {
        "name": "once",
        "symbols": ["BTCUSDT"],
        "type": "api_candles_1h",
        "cron": f"{fire.minute} {fire.hour} {fire.day} {fire.month} *",
        "time_range": "2024-08-01",
    }
    with rig.manager(tmp_path / "data", exchange.url, module="tests.e2e.timed_manager", TIMED_BY=str(timed)) as manager:
        added = manager.api.post("/schedules", json=body).raise_for_status().json()
        assert added["next_at"] == f"{fire:%Y-%m-%dT%H:%M:%SZ}"
        # Killed before the run is noted, once it is, once its workflow is made, once that is noted, once it has ended.
        for number, place in enumerate(("before", "after", "after", "after", "after")):
            go.write_text(f"{place} 1")
            if number == 0:
                assert manager.api.get("/schedules/once").json()["current"] is None, "it does not fire early"
                jump = timed / "jump"
                jump.write_text("0")
                jump.replace(offset)
            assert manager.died() == -signal.SIGKILL
            go.unlink()
            manager.start()
        go.write_text("")

        def ended() -> rig.Json | None:
            found: rig.Json = manager.api.get("/schedules/once").raise_for_status().json()
            return found if found["latest"] is not None and found["current"] is None else None

        latest = rig.eventually(ended, "the run has ended")["latest"]
        assert (latest["number"], latest["state"], latest["fire_at"]) == (1, "finished", f"{fire:%Y-%m-%dT%H:%M:%SZ}")
        runs = manager.api.get("/schedules/once/runs").raise_for_status().json()["runs"]
        queues = manager.api.get("/queues").raise_for_status().json()["queues"]
        assert ([one["number"] for one in runs], len(queues)) == ([1], 1)
        (load,) = runs[0]["loads"]
        assert (load["queue_id"], load["joined"]) == (queues[0]["queue_id"], False)
