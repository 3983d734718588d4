"""What goes wrong around the workers: they and the manager are killed, hang, come back, or do not belong here."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge_utils.adapters.embedded.launcher.suspended import blocks_others, is_suspended
from streamforge_utils.model.events import Event, encode_event
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.launcher import JobSpec
from tests import busenv, storeenv
from tests.e2e import bus, rig

LOADER, SINK = "loader-api-candles", "arango-candles"
SLOW = "slow:ms=300,path=klines"
WEEK = "2024-05-01:2024-05-21"
"""29 pages: with `SLOW` more than two seconds of work."""
START_MS, END_MS = 1_714_521_600_000, 1_716_249_600_000


@pytest.fixture(scope="module")
def manager(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    settings = {
        # A worker that nobody disturbs must never seem silent: on a busy machine it takes seconds to its first word.
        # On a broker its group takes its time to let a killed member go.
        "STREAMFORGE_SILENT_SECONDS": "8",
        "STREAMFORGE_STUCK_SECONDS": "12",
        "STREAMFORGE_REQUEST_TIMEOUT_SECONDS": "20",
        "STREAMFORGE_STOP_SECONDS": "10",  # so long a frozen worker is asked to end
    }
    with rig.manager(tmp_path_factory.mktemp("trouble") / "data", exchange.url, **settings) as found:
        yield found


@pytest.fixture(autouse=True)
def _quiet(quiet: rig.Exchange) -> None:
    """Each test begins without faults."""


def test_a_killed_manager_finds_its_workers_again_and_nothing_is_done_twice(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on(SLOW)
    queue_id = _half_loaded(manager, "BTCUSDT")
    manager.kill()
    manager.start()
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert [len(step["attempts"]) for step in workflow["steps"]] == [1, 1]
    words = [event["event"] for event in manager.events(queue_id) if event["event"] != "loading"]
    assert sorted(words) == ["finished", "finished", "started", "started"]
    _assert_exact(quiet, manager, workflow)


@pytest.mark.parametrize("target", [LOADER, SINK])
def test_a_killed_worker_is_spoken_for_and_started_again_at_once(
    target: str, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on(SLOW)
    symbol = "ETHUSDT" if target == LOADER else "BNBUSDT"
    queue_id = _half_loaded(manager, symbol)
    os.kill(rig.worker_pid(manager.data, _job(manager, queue_id, target)), signal.SIGKILL)
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    first, second = _step(workflow, target)["attempts"]
    assert (first["status"], first["signal"], first["exit_code"]) == ("error", 9, None)
    assert second["last_word"] == "finished"
    said = [event for event in manager.events(queue_id) if event["target"] == target and event.get("attempt", 1) == 1]
    assert [event["event"] for event in (said[0], said[-1])] == ["started", "error"]
    assert "queue-manager" in said[-1]["message"]
    assert "signal 9" in said[-1]["error_message"]
    _assert_exact(quiet, manager, workflow)


def test_a_frozen_worker_is_ended_and_what_it_would_say_later_counts_no_more(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on(SLOW)
    queue_id = _half_loaded(manager, "SOLUSDT")
    _suspend(rig.worker_pid(manager.data, _job(manager, queue_id, LOADER)))
    again = manager.until(queue_id, "a second attempt runs", lambda w: len(_step(w, LOADER)["attempts"]) == 2)
    first = _step(again, LOADER)["attempts"][0]
    assert (first["stop_reason"], first["signal"]) == ("stuck", 9)
    assert "said nothing for" in first["reason"]
    late = Event(
        event="finished",
        status="finished",
        queue_id=queue_id,
        producer=_step(again, LOADER)["telemetry_id"],
        target=LOADER,
        attempt=1,
        records_written=1_000_000,
        finished=True,
    )
    bus.send(manager.data, busenv.events_topic(manager.data), [Message(queue_id.encode(), encode_event(late))])
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    attempts = _step(workflow, LOADER)["attempts"]
    assert len(attempts) == 2
    assert attempts[0]["last_word"] == "error"
    assert attempts[0]["progress"]["records"] < 28_800
    assert 0 < attempts[1]["progress"]["records"] <= 28_800
    _assert_exact(quiet, manager, workflow)


def test_a_loader_that_gets_nowhere_is_ended_and_started_again(quiet: rig.Exchange, manager: rig.Manager) -> None:
    quiet.switch_on("stall:seconds=30,path=klines,after=8,count=1")
    # One request at a time: with several, the order of their arrival decides how many stalls an attempt uses up.
    one = {LOADER: {"concurrency": 1}}
    workflow = manager.load("NEWUSDT", "api_candles_1m", WEEK, parameters=one)
    assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
    assert len(_step(workflow, LOADER)["attempts"]) == 2, manager.story(workflow["queue_id"])
    first, second = _step(workflow, LOADER)["attempts"]
    assert first["stop_reason"] == "stuck"
    assert "got nowhere for" in first["reason"]
    assert (first["last_word"], first["exit_code"]) == ("interrupted", 1)
    assert second["last_word"] == "finished"
    assert len(_step(workflow, SINK)["attempts"]) == 1, manager.story(workflow["queue_id"])
    _assert_exact(quiet, manager, workflow)


def test_a_job_that_belongs_to_no_workflow_is_ended(manager: rig.Manager) -> None:
    workflow = manager.load("BTCUSDT", "api_candles_1h", "2024-05-01")
    step = _step(workflow, SINK)
    name = f"{step['attempts'][0]['job']}-9"
    spec = JobSpec(
        name=name,
        target=SINK,
        queue_id=workflow["queue_id"],
        attempt=9,
        environment={
            "QUEUE_ID": workflow["queue_id"],
            "SYMBOL": "BTCUSDT",
            "TYPE": "api_candles_1h",
            "TIME_RANGE": "2024-05-01",
            "KAFKA_TOPIC": workflow["topic"],
            "COLLECTION_NAME": workflow["collection"],
            "STREAMFORGE_ATTEMPT": "9",
            "STREAMFORGE_UPSTREAM": "nobody",
            "STREAMFORGE_METRICS_PORT": "0",
        },
    )

    async def start() -> None:
        launcher = wiring.make_launcher(bus.settings(manager.data), environment=_world(manager.data))
        await launcher.start(spec)
        await launcher.close()

    asyncio.run(start())
    exit_file = manager.data / "jobs" / name / "exit"
    rig.eventually(lambda: True if exit_file.exists() else None, "the orphan is ended", story=manager.log)
    assert manager.show(workflow["queue_id"])["status"] == "finished"
    assert [len(s["attempts"]) for s in manager.show(workflow["queue_id"])["steps"]] == [1, 1]


def test_a_ban_is_kept_to_by_everybody_and_over_a_restart(quiet: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", quiet.url) as manager:
        assert manager.load("BTCUSDT", "api_candles_1h", "2024-05-01")["status"] == "finished"
        quiet.switch_on(SLOW)
        one = _half_loaded(manager, "BTCUSDT")
        # Long beside a start of the manager, which comes in the middle of it.
        ban_s = max(20, round(8 * manager.start_took_s))
        quiet.switch_on(f"418:seconds={ban_s},count=1,path=klines")
        manager.until(one, "its loader was banned", lambda w: len(_step(w, LOADER)["attempts"]) == 1 and _ended(w))
        banned = manager.until(one, "it waits", lambda w: "ban" in (w["waiting_for"] or ""))
        assert "418" in banned["waiting_for"]
        until_ms = quiet.stats()["bans"][0]["until_ms"]
        under_way = quiet.stats()["refused_while_banned"]
        assert under_way <= 3, "no more than were under way when the ban was issued"
        asked = quiet.requests("klines"), quiet.requests("exchangeInfo"), quiet.requests("time")
        manager.kill()
        manager.start()
        two = manager.start_load("ETHUSDT", "api_candles_1h", "2024-05-01")["queue_id"]
        found = manager.until(two, "it waits", lambda w: "ban" in (w["waiting_for"] or ""))
        assert "418" in found["waiting_for"]
        assert (quiet.requests("klines"), quiet.requests("exchangeInfo"), quiet.requests("time")) == asked
        assert quiet.stats()["now_ms"] < until_ms
        for queue_id in (one, two):
            assert manager.wait(queue_id)["status"] == "finished", manager.story(queue_id)
        stats = quiet.stats()
        assert len(stats["bans"]) == 1
        assert stats["refused_while_banned"] == under_way
        assert stats["now_ms"] >= until_ms


def test_retention_removes_the_topics_of_ended_workflows(quiet: rig.Exchange, tmp_path: Path) -> None:
    settings = {"STREAMFORGE_TOPIC_RETENTION_SECONDS": "1", "STREAMFORGE_DLQ_RETENTION_SECONDS": "3"}
    with rig.manager(tmp_path / "data", quiet.url, **settings) as manager:
        workflow = manager.load("BTCUSDT", "api_candles_1h", "2024-05-01")
        topic, dlq = workflow["topic"], f"{workflow['topic']}-dlq"
        assert {topic, dlq} <= set(bus.topics(manager.data))
        rig.eventually(lambda: True if topic not in bus.topics(manager.data) else None, "the topic is gone")
        assert dlq in bus.topics(manager.data)
        jobs = manager.data / "jobs"
        rig.eventually(lambda: None if list(jobs.glob("*")) else True, "the jobs are forgotten")
        rig.eventually(lambda: True if dlq not in bus.topics(manager.data) else None, "the DLQ is gone")
        assert manager.show(workflow["queue_id"])["status"] == "finished"
        assert len(manager.csv(workflow["collection"])) == 25
        assert manager.api.get(f"/queues/{workflow['queue_id']}/dlq").json()["dead_letters"] == []


def _suspend(pid: int) -> None:
    """SIGSTOP at a moment at which the process holds no lock that another one waits for."""
    for _ in range(1000):
        os.kill(pid, signal.SIGSTOP)
        while not is_suspended(pid):
            os.kill(pid, 0)  # raises if it is gone
            time.sleep(0.001)
        if not blocks_others(pid, ()):
            return
        os.kill(pid, signal.SIGCONT)
    raise AssertionError(f"process {pid} held a lock each time that it was suspended")


def _half_loaded(manager: rig.Manager, symbol: str) -> str:
    queue_id: str = manager.start_load(symbol, "api_candles_1m", WEEK)["queue_id"]
    manager.until(queue_id, "some is stored", lambda w: bool(_step(w, SINK)["records"]))
    return queue_id


def _step(workflow: rig.Json, target: str) -> rig.Json:
    found: rig.Json = next(step for step in workflow["steps"] if step["target"] == target)
    return found


def _ended(workflow: rig.Json) -> bool:
    return _step(workflow, LOADER)["attempts"][-1]["ended_at"] is not None


def _job(manager: rig.Manager, queue_id: str, target: str) -> str:
    return str(_step(manager.show(queue_id), target)["attempts"][-1]["job"])


def _assert_exact(exchange: rig.Exchange, manager: rig.Manager, workflow: rig.Json) -> None:
    rows = exchange.oracle(workflow["symbol"], "1m", START_MS, END_MS)
    assert len(rows) == 28_800
    assert manager.csv(workflow["collection"]) == rig.expected_csv(workflow["symbol"], "1m", rows)


def _world(data: Path) -> dict[str, str]:
    """What a worker learns about bus and store."""
    return busenv.environment(data) | storeenv.environment(data)
