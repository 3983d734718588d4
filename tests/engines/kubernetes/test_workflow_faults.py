"""Workflows while the API server answers with faults, forgets, or the clock jumps: nothing is lost or done twice, and
one who asks meanwhile reads what is wrong.

The manager has the rights that ship, and no others. It is a process of its own, or runs here where its clock is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.manager_settings import load_manager
from streamforge.manager.running_manager import running
from streamforge.manager.startup import ports_of
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.ports.instrumentation import NullObserver
from tests.e2e import rig
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.faulty import FaultyServer
from tests.engines.kubernetes.jobs import Namespace
from tests.engines.kubernetes.test_launcher_kubernetes import DAY_MS, Jumping

LIMIT_S = 600.0
SILENT_S = 10.0
DAY = ("BTCUSDT", "api_candles_1m", "2024-08-01")


@pytest.fixture
def server(kube_cluster: Cluster) -> Iterator[FaultyServer]:
    with FaultyServer(kube_cluster) as found:
        yield found


@pytest.fixture
def manager(
    kube_cluster: Cluster,
    kube_namespace: str,
    server: FaultyServer,
    exchange: rig.Exchange,
    folder: Path,
    tmp_path: Path,
) -> Iterator[rig.Manager]:
    account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig", server=server.url)
    patience = {"STREAMFORGE_SILENT_SECONDS": str(SILENT_S)}
    settings = launchers.manager_settings(kube_cluster, kube_namespace, kubeconfig=account, **patience)
    module = "tests.engines.kubernetes.manager_without_pauses"
    with rig.manager(folder / "data", exchange.url, module=module, **settings) as found:
        try:
            yield found
        finally:
            server.heal()
            exchange.reset()


def loading(manager: rig.Manager, exchange: rig.Exchange, time_range: str = "2024-08", *, pause_ms: int = 300) -> str:
    """A workflow that is in the middle of its loading. pause_ms: before each answer of the exchange."""
    exchange.switch_on(f"slow:ms={pause_ms},path=klines")
    queue_id: str = manager.start_load("BTCUSDT", "api_candles_1m", time_range)["queue_id"]
    # Not what the whole range has: some of it may be stored before, and a stop before the launch leaves no Job.
    manager.until(queue_id, "it loads", lambda w: bool(rig.step(w, rig.SINK)["records"]), limit_s=LIMIT_S)
    return queue_id


def told(manager: rig.Manager, queue_id: str, *words: str) -> dict[str, Any]:
    """The workflow, once all of these words are in what it waits for."""

    def holds(workflow: dict[str, Any]) -> bool:
        return all(word in (workflow["waiting_for"] or "") for word in words)

    return manager.until(queue_id, f"it says {words}", holds, limit_s=LIMIT_S)


def finished_at_first(manager: rig.Manager, namespace: Namespace, queue_id: str) -> dict[str, Any]:
    """The workflow, which ended as if nothing had been: each step by its first attempt, by one pod."""
    workflow = manager.wait(queue_id, limit_s=LIMIT_S)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert [segment["verdict"] for segment in manager.coverage(queue_id)] == ["stored"]
    for step in workflow["steps"]:
        assert [attempt["number"] for attempt in step["attempts"]] == [1], manager.story(queue_id)
        assert len(namespace.pods(step["attempts"][0]["job"])) == 1
    return workflow


RIGHT_MISSING = 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch"'


def test_a_server_that_makes_no_jobs_is_named_and_waited_for(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace
) -> None:
    """403: as one does that has just started and has not read the Roles. 409: one that lost against others that count
    in the quota too; it hands the conflict on after three tries."""
    server.refuse("create jobs", 503)
    queue_id = manager.start_load(*DAY)["queue_id"]
    for status, message, word in (
        (503, "a fault of the test", "(HTTP 503)"),
        (429, "a fault of the test", "(HTTP 429)"),
        (403, RIGHT_MISSING, "a right is missing, create jobs"),
    ):
        server.refuse("create jobs", status, message)
        workflow = told(manager, queue_id, "the start of its workers, tried again and again: ", word, message)
        assert (workflow["status"], workflow["failure"]) == ("running", None)
    server.heal()
    server.refuse("create jobs", 409, 'Operation cannot be fulfilled on resourcequotas "jobs": modified', times=1)
    finished_at_first(manager, namespace, queue_id)
    assert server.counts["create jobs 503"] > 1
    assert server.counts["create jobs 409"] == 1


@pytest.mark.long
def test_a_right_that_stays_missing_ends_the_workflow_and_is_named(manager: rig.Manager, server: FaultyServer) -> None:
    server.refuse("create jobs", 403, RIGHT_MISSING)
    workflow = manager.wait(manager.start_load(*DAY)["queue_id"], limit_s=LIMIT_S)
    assert workflow["status"] == "error"
    assert "a right is missing, create jobs" in workflow["failure"]["reason"]
    assert "streamforge doctor" in workflow["failure"]["reason"]


@pytest.mark.long
def test_what_is_not_seen_is_told_and_the_workers_go_on(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace, exchange: rig.Exchange
) -> None:
    """Watches are cut, their place is forgotten (410: as an event of the watch, and as the answer to the next one),
    the right to look is taken away, the server is away; and each comes back."""
    queue_id = loading(manager, exchange, "2024-07-01:2024-09-30", pause_ms=3000)
    assert _again_and_again(manager, queue_id, server.cut_watches, server) >= 5
    listed = server.counts["list jobs"]
    assert _again_and_again(manager, queue_id, server.forget_places, server) >= 5
    server.refuse("watch .*", 410)
    server.cut_watches()
    wanted = server.counts["watch jobs 410"] + 3
    manager.until(queue_id, "it is refused", lambda _: server.counts["watch jobs 410"] >= wanted, limit_s=LIMIT_S)
    server.heal()
    assert server.counts["list jobs"] >= listed + 5, "it lists again"

    message = 'pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace'
    for what, status, text, word in (
        ("(list|watch) pods", 403, message, "a right is missing, list pods"),
        (".*", 503, "a fault of the test", "(HTTP 503)"),
    ):
        server.refuse(what, status, text)
        server.cut_watches()
        workflow = told(manager, queue_id, "the launcher: Jobs and pods are not seen, they go on: ", word)
        assert workflow["status"] == "running"
        ready = manager.api.get("/readyz")
        assert (ready.status_code, ready.json()["ready"], ready.json()["degraded"]) == (200, True, True)
        assert word in ready.json()["parts"]["launcher"]
        stored = workflow["progress"]["records_stored"]
        manager.until(
            queue_id,
            "they go on",
            lambda w, stored=stored: w["progress"]["records_stored"] > stored,  # type: ignore[misc]
            limit_s=LIMIT_S,
        )
        server.heal()
        manager.until(queue_id, "it is told no more", lambda w: not w["waiting_for"], limit_s=LIMIT_S)
    exchange.reset()
    finished_at_first(manager, namespace, queue_id)
    ready = manager.api.get("/readyz")
    assert (ready.json()["degraded"], ready.json()["parts"]["launcher"]) == (False, None)


@pytest.mark.long
def test_workers_that_end_unseen_are_neither_stuck_nor_tried_again(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace, exchange: rig.Exchange
) -> None:
    queue_id = loading(manager, exchange)
    server.refuse(".*", 503)
    server.cut_watches()
    exchange.reset()

    def all_said(workflow: dict[str, Any]) -> bool:
        return all(step["attempts"][-1]["last_word"] == "finished" for step in workflow["steps"])

    manager.until(queue_id, "they said their last words", all_said, limit_s=LIMIT_S)
    # Longer than a worker may be silent.
    manager.until(
        queue_id,
        "it is told",
        lambda w: (w["waiting_for"] or "").startswith("the launcher: ") and _silent_s(w) > SILENT_S + 2,
        limit_s=LIMIT_S,
    )
    server.heal()
    workflow = finished_at_first(manager, namespace, queue_id)
    for step in workflow["steps"]:
        assert step["attempts"][0]["stop_reason"] in (None, ""), manager.story(queue_id)


def _silent_s(workflow: dict[str, Any]) -> float:
    """For how long none of its workers has been heard, in seconds."""
    seen = [datetime.fromisoformat(step["attempts"][-1]["seen_at"]) for step in workflow["steps"]]
    return (datetime.now(UTC) - max(seen)).total_seconds()


def _again_and_again(manager: rig.Manager, queue_id: str, strike: Any, server: FaultyServer) -> int:
    """Strike both watches five times, each time as soon as they are back; how often one was struck."""

    def begun() -> int:
        return server.counts["watch jobs"] + server.counts["watch pods"]

    def both(at_least: int) -> None:
        def open_again(_: dict[str, Any]) -> bool:
            return server.watches == 2 and begun() >= at_least

        manager.until(queue_id, "both watches are open", open_again, limit_s=LIMIT_S)

    struck = 0
    both(2)
    for _ in range(5):
        before = begun()
        struck += int(strike())
        both(before + 2)
    return struck


# A clock that is set


async def _reached(manager: WorkflowService, queue_id: str, holds: str) -> Workflow:
    """The workflow once it loads, or has ended."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            workflow = await manager.get(queue_id)
            loads = any(step.attempt is not None and step.attempt.progress.records > 0 for step in workflow.steps)
            if workflow.ended or (holds == "loads" and loads):
                return workflow
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "ahead_ms", [pytest.param(DAY_MS, id="ahead"), pytest.param(-DAY_MS, id="back", marks=pytest.mark.long)]
)
async def test_a_clock_that_jumps_a_day_ends_no_worker_and_fails_no_workflow(
    kube_cluster: Cluster, kube_namespace: str, exchange: rig.Exchange, folder: Path, tmp_path: Path, ahead_ms: int
) -> None:
    account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig")
    clock = Jumping()
    settings = load_manager(
        {
            "STREAMFORGE_DATA_DIR": str(folder / "data"),
            "STREAMFORGE_EXCHANGE_URL": exchange.url,
            "STREAMFORGE_PORT": "0",
            **rig.IMPATIENT,
            **launchers.manager_settings(kube_cluster, kube_namespace, kubeconfig=account),
        }
    )
    ports = ports_of(settings, NullObserver(), clock)
    async with running(ports, settings) as found:
        exchange.switch_on("slow:ms=300,path=klines")
        try:
            before, *_ = await found.manager.start(
                StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01:2024-08-15")
            )
            await _reached(found.manager, before.queue_id, "loads")
            clock.ahead_ms = ahead_ms
            after, *_ = await found.manager.start(
                StartRequest(symbol="ETHUSDT", type="api_candles_1m", time_range="2024-08-01")
            )
            await _reached(found.manager, after.queue_id, "loads")
        finally:
            exchange.reset()
        for queue_id in (before.queue_id, after.queue_id):
            workflow = await _reached(found.manager, queue_id, "has ended")
            assert workflow.status is Status.FINISHED, workflow
            told = [(a.job, a.outcome, a.reason, a.error) for step in workflow.steps for a in step.attempts]
            assert len(told) == 2, told
            assert [one.verdict.value for one in (await found.manager.coverage(queue_id)).segments] == ["stored"]
