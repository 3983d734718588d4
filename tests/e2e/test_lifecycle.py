"""A workflow is stopped, retried, loaded again and forgotten; its events, its budget, its pongs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.verdict import LAST_WORDS, assert_history
from tests.e2e import bus, rig
from tests.e2e.rig import DAY_MS, HELD, LOADER, MINUTE_MS, SINK, SLOW, step


@pytest.fixture(scope="module")
def manager(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    settings = {"STREAMFORGE_MAX_RUNNING": "2"}
    with rig.manager(tmp_path_factory.mktemp("lifecycle") / "data", exchange.url, **settings) as found:
        yield found


@pytest.fixture(autouse=True)
def _quiet(quiet: rig.Exchange) -> None:
    """Each test begins without faults."""


def test_a_stop_in_the_middle_keeps_what_was_stored_and_a_retry_loads_only_the_rest(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on(HELD)
    queue_id = manager.half_loaded("BTCUSDT", "2023-01")
    answer = manager.post(f"/queues/{queue_id}/stop")
    assert answer["status"] == "stopping"
    assert manager.post(f"/queues/{queue_id}/stop")["status"] in ("stopping", "interrupted"), "asking twice is no error"
    stopped = manager.wait(queue_id)
    assert stopped["status"] == "interrupted"
    assert stopped["failure"] is None
    assert [step(stopped, target)["attempts"][-1]["exit_code"] for target in (LOADER, SINK)] == [0, 0]
    assert stopped["topic"] in bus.topics(manager.data), "what is on the topic stays for a while"

    segments = manager.coverage(queue_id)
    assert [s["verdict"] for s in segments] == ["stored", "unknown"]
    start_ms, until_ms, end_ms = segments[0]["start_ms"], segments[0]["end_ms"], segments[1]["end_ms"]
    written = step(stopped, LOADER)["records"]
    assert segments[0]["records"] == written == (until_ms - start_ms) // MINUTE_MS, "all that was sent is stored"
    assert 0 < written < 44_640
    assert manager.csv(stopped["collection"]) == rig.expected_csv(
        "BTCUSDT", "1m", quiet.oracle("BTCUSDT", "1m", start_ms, until_ms)
    )

    quiet.reset()
    assert manager.post(f"/queues/{queue_id}/retry")["status"] == "pending"
    finished = manager.finished(queue_id)
    second = step(finished, LOADER)["attempts"][1]
    assert second["progress"]["records"] == (end_ms - until_ms) // MINUTE_MS
    assert quiet.requests() <= 2 + -(-second["progress"]["records"] // 1000), "nothing was asked for twice"
    rig.assert_exact(quiet, manager, finished)
    assert manager.api.post(f"/queues/{queue_id}/retry").status_code == 409
    assert manager.api.post(f"/queues/{queue_id}/stop").status_code == 409
    _assert_history(manager, finished)


def test_what_is_covered_is_not_loaded_a_second_time_unless_asked_for(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    first = manager.loaded("ETHUSDT", "api_candles_1m", "2024-02-01")
    quiet.reset()
    second = manager.loaded("ETHUSDT", "api_candles_1m", "2024-02-01T06:00Z:2024-02-01T18:00Z")
    assert second["progress"] | {"rate": 0.0} == {
        "records_expected": 720,
        "records_stored": 720,
        "records_refused": 0,
        "records_there": 720,
        "share": 1.0,
        "rate": 0.0,
        "eta_seconds": None,
    }
    assert [one["attempts"] for one in second["steps"]] == [[], []]
    assert quiet.requests() == 0, "of what is stored as a whole nothing is asked"
    assert [(s["verdict"], s["collection"]) for s in manager.coverage(second["queue_id"])] == [
        ("stored", first["collection"])
    ]
    third = manager.loaded("ETHUSDT", "api_candles_1m", "2024-02-01", again=True)
    sink = step(third, SINK)
    assert sink["records"] == 1440
    assert sink["attempts"][0]["progress"]["unchanged"] == 1440
    assert len(manager.csv(first["collection"])) == 1441


def test_ranges_that_overlap_in_two_collections_are_each_exported_once(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    manager.loaded("SOLUSDT", "api_candles_1m", "2024-02-01", collection_name="first")
    overlapping = "2024-02-01T12:00Z:2024-02-02T12:00Z"
    manager.loaded("SOLUSDT", "api_candles_1m", overlapping, collection_name="second", again=True)
    # What was loaded again lies in one collection only.
    assert (len(manager.csv("first")), len(manager.csv("second"))) == (721, 1441)
    found = manager.api.get("/coverage/SOLUSDT/api_candles_1m").json()["segments"]
    assert [(s["collection"], s["start"], s["end"]) for s in found] == [
        ("first", "2024-02-01T00:00:00Z", "2024-02-01T12:00:00Z"),
        ("second", "2024-02-01T12:00:00Z", "2024-02-02T12:00:00Z"),
    ]
    lines = [rig.CSV_HEADER]
    for segment in found:
        lines += manager.csv(segment["collection"], f"{segment['start']}:{segment['end']}")[1:]
    rows = quiet.oracle("SOLUSDT", "1m", found[0]["start_ms"], found[-1]["end_ms"])
    assert lines == rig.expected_csv("SOLUSDT", "1m", rows)


def test_deleting_with_its_data_leaves_nothing_of_a_workflow(quiet: rig.Exchange, manager: rig.Manager) -> None:
    kept = manager.load("ETHUSDT", "api_candles_1h", "2024-03-01", collection_name="shared_by_two")
    gone = manager.load("ETHUSDT", "api_candles_1h", "2024-03-02", collection_name="shared_by_two")
    assert manager.api.delete(f"/queues/{gone['queue_id']}", params={"data": "true"}).status_code == 204
    for path in ("", "/events", "/coverage", "/dlq", "/logs"):
        assert manager.api.get(f"/queues/{gone['queue_id']}{path}").status_code == 404
    assert len(manager.csv("shared_by_two")) == 25
    found = manager.api.get("/coverage/ETHUSDT/api_candles_1h", params={"time_range": "2024-03-01:2024-03-03"}).json()
    assert [(s["verdict"], s["start"]) for s in found["segments"]] == [
        ("stored", "2024-03-01T00:00:00Z"),
        ("unknown", "2024-03-02T00:00:00Z"),
    ]
    assert not [topic for topic in bus.topics(manager.data) if topic.startswith(gone["queue_id"])]
    assert not list((manager.data / "jobs").glob(f"*{gone['queue_id'][-6:]}*"))
    # Without its data, only the workflow is forgotten.
    assert manager.api.delete(f"/queues/{kept['queue_id']}").status_code == 204
    assert len(manager.csv("shared_by_two")) == 25
    reloaded = manager.load("ETHUSDT", "api_candles_1h", "2024-03-01:2024-03-03")
    assert step(reloaded, SINK)["records"] == 24, "only the deleted day was loaded"
    assert (
        manager.csv(reloaded["collection"], "2024-03-02")[1:]
        == rig.expected_csv(
            "ETHUSDT", "1h", quiet.oracle("ETHUSDT", "1h", 1_709_337_600_000, 1_709_337_600_000 + DAY_MS)
        )[1:]
    )


def test_two_loaders_share_the_weight_pong_and_leave_a_third_workflow_pending(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on(SLOW)  # a year is a minute of work then: all of them are still loading when they are stopped
    one = manager.start_load("BTCUSDT", "api_candles_1m", "2020")["queue_id"]
    manager.until(one, "its loader runs", lambda w: _running(w, LOADER))
    two = manager.start_load("BTCUSDT", "api_candles_1m", "2021")["queue_id"]
    manager.until(two, "its loader runs", lambda w: _running(w, LOADER))

    three = manager.start_load("BTCUSDT", "api_candles_1m", "2022")["queue_id"]
    waiting = manager.until(three, "it waits for a slot", lambda w: "slot" in (w["waiting_for"] or ""))
    assert waiting["status"] == "pending"
    assert "slot" in waiting["waiting_for"]
    assert manager.api.delete(f"/queues/{three}").status_code == 409
    manager.post(f"/queues/{three}/stop")
    stopped = manager.wait(three)
    assert stopped["status"] == "interrupted"
    assert [one["attempts"] for one in stopped["steps"]] == [[], []]
    assert manager.events(three) == []

    manager.until(one, "its sink runs", lambda w: _running(w, SINK))  # who has not begun is not asked
    began = time.monotonic()
    answers = manager.api.post(f"/queues/{one}/ping", params={"timeout_s": 20}).json()["answers"]
    took = time.monotonic() - began
    assert sorted(answers) == sorted(each["telemetry_id"] for each in manager.show(one)["steps"])
    assert all(seconds is not None and 0 < seconds < took for seconds in answers.values()), (answers, took)

    def dealt(queue_id: str, weights: list[int]) -> None:
        rig.eventually(
            lambda: True if _budgets(manager, queue_id) == weights else None,
            f"{queue_id} was told {weights}",
            story=lambda: str(_budgets(manager, queue_id)),
        )

    dealt(one, [2100])  # it had all before the second came, which was launched with its half
    dealt(two, [])
    manager.post(f"/queues/{one}/stop")
    assert manager.wait(one)["status"] == "interrupted"
    dealt(two, [4200])
    manager.post(f"/queues/{two}/stop")
    ended = manager.wait(two)
    _assert_history(manager, ended)
    assert quiet.stats()["refused_while_banned"] == 0


@pytest.mark.long
def test_a_loader_keeps_to_its_share_of_the_weight(quiet: rig.Exchange, tmp_path: Path) -> None:
    settings = {"STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "40"}
    with rig.manager(tmp_path / "data", quiet.url, **settings) as manager:
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2024-06:2024-09")["queue_id"]
        found = manager.until(
            queue_id,
            "it waits for weight",
            lambda w: step(w, LOADER)["attempts"] and step(w, LOADER)["progress"]["waiting"] == "request weight",
        )
        assert step(found, LOADER)["progress"]["waiting_until"] is not None
        # The manager's own questions have a share beside the loaders': exchangeInfo alone weighs 20.
        assert quiet.stats()["max_weight_in_a_minute"] <= 40 + 60
        loaded = quiet.requests()
        assert loaded * 2 <= 2 * (40 + 4), "at most two minutes' share"
        manager.post(f"/queues/{queue_id}/stop")
        assert manager.wait(queue_id)["status"] == "interrupted"


def _assert_history(manager: rig.Manager, workflow: rig.Json) -> None:
    """Each attempt begins with `started`, counts up, and ends with its last word; attempts follow each other."""
    made = {(one["target"], attempt["number"]) for one in workflow["steps"] for attempt in one["attempts"]}

    def told() -> list[rig.Json] | None:
        """All events, once the manager has spoken for whom it ended, which it does after that is stored."""
        found = manager.events(workflow["queue_id"])
        ended = {(one["target"], one.get("attempt", 1)) for one in found if one["event"] in LAST_WORDS}
        return found if made <= ended else None

    events = rig.eventually(told, "each attempt has its last word")
    assert_history(workflow, events)
    for one in workflow["steps"]:
        for attempt in one["attempts"]:
            mine = (one["target"], attempt["number"])
            of_it = [event for event in events if (event["target"], event.get("attempt", 1)) == mine]
            assert of_it[0]["event"] == "started"
            records = [event.get("records_written", 0) for event in of_it]
            assert records == sorted(records)


def _running(workflow: rig.Json, target: str) -> bool:
    attempts = step(workflow, target)["attempts"]
    return bool(attempts) and attempts[-1]["status"] == "running" and attempts[-1]["started_at"] is not None


def _budgets(manager: rig.Manager, queue_id: str) -> list[int]:
    return [(one.payload or {})["weight_per_minute"] for one in bus.commands(manager.data, queue_id, "budget")]
