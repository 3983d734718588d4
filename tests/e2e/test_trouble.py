"""Faults around the workers: they and the manager are killed, hang, come back, or belong to no workflow."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge_utils.adapters.embedded.launcher.job_processes import blocks_others, is_suspended
from streamforge_utils.model.messages import Event, encode_event
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.launcher import JobSpec
from tests import backends
from tests.e2e import bus, rig
from tests.e2e.rig import HELD, LOADER, SINK, latest, step

DAYS = "2024-05-01:2024-05-21"
"""29 pages: more than are given while answers are held."""


@pytest.fixture(scope="module")
def manager(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    settings = {
        # A worker that nobody disturbs must never seem silent: on a busy machine its first event takes seconds.
        # On a broker its group takes its time to let a killed member go.
        "STREAMFORGE_SILENT_SECONDS": "8",
        "STREAMFORGE_STUCK_SECONDS": "40",  # nor stuck, while answers are held
        "STREAMFORGE_REQUEST_TIMEOUT_SECONDS": "100",
        "STREAMFORGE_STOP_SECONDS": "10",  # so long a frozen worker is asked to end
    }
    with rig.manager(tmp_path_factory.mktemp("trouble") / "data", exchange.url, **settings) as found:
        yield found


@pytest.fixture(autouse=True)
def _quiet(quiet: rig.Exchange) -> None:
    """Each test begins without faults."""


def test_killed_workers_are_started_again_at_once_and_a_killed_manager_finds_its_workers(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    killed = {}
    for target, symbol in ((LOADER, "ETHUSDT"), (SINK, "BNBUSDT")):
        # Of this symbol alone: else the other one, which goes on, might use up the answers that are given.
        quiet.switch_on(f"{HELD},symbol={symbol}")
        killed[target] = manager.half_loaded(symbol, DAYS)
        manager.kill_worker(killed[target], target)
        quiet.lift_faults()
    for target, queue_id in killed.items():
        workflow = manager.finished(queue_id)
        first, second = step(workflow, target)["attempts"]
        assert (first["status"], first["signal"], first["exit_code"]) == ("error", 9, None)
        assert second["last_word"] == "finished"
        events = [event for event in manager.events(queue_id) if event["target"] == target]
        events = [event for event in events if event.get("attempt", 1) == 1]
        assert [event["event"] for event in (events[0], events[-1])] == ["started", "error"]
        assert "queue-manager" in events[-1]["message"]
        assert "signal 9" in events[-1]["error_message"]
        rig.assert_exact(quiet, manager, workflow)
    quiet.switch_on(HELD)
    queue_id = manager.half_loaded("BTCUSDT", DAYS)
    manager.kill()
    manager.start()
    quiet.lift_faults()
    workflow = manager.finished(queue_id)
    assert [len(one["attempts"]) for one in workflow["steps"]] == [1, 1]
    words = [event["event"] for event in manager.events(queue_id) if event["event"] != "loading"]
    assert sorted(words) == ["finished", "finished", "started", "started"]
    assert len(rig.assert_exact(quiet, manager, workflow)) == 28_800


@pytest.mark.long
def test_a_frozen_worker_is_ended_and_its_late_events_count_no_more(quiet: rig.Exchange, manager: rig.Manager) -> None:
    quiet.switch_on(HELD)
    queue_id = manager.half_loaded("SOLUSDT", DAYS)
    _suspend(rig.worker_pid(manager.data, latest(manager.show(queue_id), LOADER)["job"]))
    quiet.lift_faults()
    again = manager.until(queue_id, "a second attempt runs", lambda w: len(step(w, LOADER)["attempts"]) == 2)
    first = step(again, LOADER)["attempts"][0]
    assert (first["stop_reason"], first["signal"]) == ("stuck", 9)
    assert "sent nothing for" in first["reason"]
    late = Event(
        event="finished",
        status="finished",
        queue_id=queue_id,
        producer=step(again, LOADER)["telemetry_id"],
        target=LOADER,
        attempt=1,
        records_written=1_000_000,
        finished=True,
    )
    bus.send(manager.data, backends.events_topic(manager.data), [Message(queue_id.encode(), encode_event(late))])
    workflow = manager.finished(queue_id)
    attempts = step(workflow, LOADER)["attempts"]
    assert [attempt["last_word"] for attempt in attempts] == ["error", "finished"]
    assert attempts[0]["progress"]["records"] < 28_800
    assert 0 < attempts[1]["progress"]["records"] <= 28_800
    rig.assert_exact(quiet, manager, workflow)


@pytest.mark.long
def test_a_loader_without_progress_is_ended_and_started_again(quiet: rig.Exchange, manager: rig.Manager) -> None:
    quiet.switch_on("stall:seconds=100,path=klines,after=8,count=1")
    # One request at a time: with several, the order of their arrival decides how many stalls an attempt uses up.
    workflow = manager.loaded("NEWUSDT", "api_candles_1m", DAYS, parameters={LOADER: {"concurrency": 1}})
    assert [len(one["attempts"]) for one in workflow["steps"]] == [1, 2], manager.story(workflow["queue_id"])
    first, second = step(workflow, LOADER)["attempts"]
    assert first["stop_reason"] == "stuck"
    assert "got nowhere for" in first["reason"]
    assert (first["last_word"], first["exit_code"]) == ("interrupted", 1)
    assert second["last_word"] == "finished"
    rig.assert_exact(quiet, manager, workflow)


def test_a_job_that_belongs_to_no_workflow_is_ended(manager: rig.Manager) -> None:
    workflow = manager.loaded("BTCUSDT", "api_candles_1h", "2024-05-01")
    name = f"{latest(workflow, SINK)['job']}-9"
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
    world = backends.environment(manager.data)

    async def start() -> None:
        launcher = wiring.make_launcher(bus.settings(manager.data), environment=world)
        await launcher.start(spec)
        await launcher.close()

    asyncio.run(start())
    exit_file = manager.data / "jobs" / name / "exit"
    rig.eventually(lambda: True if exit_file.exists() else None, "the orphan is ended", story=manager.log)
    shown = manager.show(workflow["queue_id"])
    assert (shown["status"], [len(one["attempts"]) for one in shown["steps"]]) == ("finished", [1, 1])


@pytest.mark.long
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
