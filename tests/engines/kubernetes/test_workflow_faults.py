"""Workflows while the API server answers with faults, forgets, or the clock jumps: nothing is lost or done twice, and
one who asks meanwhile reads what is wrong.

The manager is a process of its own with the rights that ship, and no others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import rig
from tests.engines.kubernetes import launchers, managers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.faulty import FaultyServer
from tests.engines.kubernetes.jobs import Namespace

pytestmark = pytest.mark.timeout(400)

LIMIT_S = 150.0
SILENT_S = 10.0
DAY = ("BTCUSDT", "api_candles_1m", "2024-08-01")


@pytest.fixture
def server(kube_cluster: Cluster) -> Iterator[FaultyServer]:
    with FaultyServer(kube_cluster) as found:
        yield found


@pytest.fixture
def manager(
    kube_cluster: Cluster, kube_namespace: str, server: FaultyServer, exchange: rig.Exchange, tmp_path: Path
) -> Iterator[rig.Manager]:
    account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig", server=server.url)
    patience = {"STREAMFORGE_SILENT_SECONDS": str(SILENT_S)}
    settings = managers.settings(kube_cluster, kube_namespace, kubeconfig=account, **patience)
    with launchers.shared_folder() as folder, rig.manager(folder / "data", exchange.url, **settings) as found:
        try:
            yield found
        finally:
            server.heal()
            exchange.reset()


def loading(manager: rig.Manager, exchange: rig.Exchange, time_range: str = "2024-08") -> str:
    """A workflow that is in the middle of its loading."""
    exchange.switch_on("slow:ms=300,path=klines")
    queue_id: str = manager.start_load("BTCUSDT", "api_candles_1m", time_range)["queue_id"]
    manager.until(queue_id, "it loads", lambda w: w["progress"]["records_stored"] > 0, limit_s=LIMIT_S)
    return queue_id


def finished_at_first(manager: rig.Manager, namespace: Namespace, queue_id: str) -> dict[str, Any]:
    """The workflow, which ended as if nothing had been: each step by its first attempt, by one pod."""
    workflow = manager.wait(queue_id, limit_s=LIMIT_S)
    assert workflow["status"] == "finished", manager.story(queue_id)
    assert [segment["verdict"] for segment in manager.coverage(queue_id)] == ["stored"]
    for step in workflow["steps"]:
        assert [attempt["number"] for attempt in step["attempts"]] == [1], manager.story(queue_id)
        assert len(namespace.pods(step["attempts"][0]["job"])) == 1
    return workflow


@pytest.mark.parametrize("status", [*(pytest.param(one, marks=pytest.mark.long) for one in (429, 500)), 503])
def test_a_server_that_makes_no_jobs_is_named_and_waited_for(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace, status: int
) -> None:
    server.refuse("create jobs", status)
    queue_id = manager.start_load(*DAY)["queue_id"]
    waiting = f"(HTTP {status})"
    workflow = manager.until(queue_id, "it says why", lambda w: waiting in (w["waiting_for"] or ""), limit_s=LIMIT_S)
    assert workflow["status"] == "running"
    assert workflow["waiting_for"].startswith("the start of its workers, tried again and again: POST /apis/batch/v1/")
    assert "a fault of the test" in workflow["waiting_for"]
    server.heal()
    finished_at_first(manager, namespace, queue_id)
    assert server.counts[f"create jobs {status}"] > 1


def test_rights_that_are_refused_for_a_moment_cost_nothing(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace
) -> None:
    """As an API server does that has just started: it has not read the Roles yet."""
    message = 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch"'
    server.refuse("create jobs", 403, message)
    queue_id = manager.start_load(*DAY)["queue_id"]
    missing = "a right is missing, create jobs"
    workflow = manager.until(queue_id, "it says why", lambda w: missing in (w["waiting_for"] or ""), limit_s=LIMIT_S)
    assert workflow["failure"] is None
    server.heal()
    finished_at_first(manager, namespace, queue_id)


def test_a_quota_that_others_count_in_too_costs_nothing(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace
) -> None:
    """The API server gives up to charge a Job after three tries, and hands the conflict on."""
    message = 'Operation cannot be fulfilled on resourcequotas "jobs": the object has been modified'
    server.refuse("create jobs", 409, message, times=1)
    queue_id = manager.start_load(*DAY)["queue_id"]
    finished_at_first(manager, namespace, queue_id)
    assert server.counts["create jobs 409"] == 1


@pytest.mark.long
def test_a_right_that_stays_missing_ends_the_workflow_and_is_named(manager: rig.Manager, server: FaultyServer) -> None:
    message = 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch"'
    server.refuse("create jobs", 403, message)
    workflow = manager.wait(manager.start_load(*DAY)["queue_id"], limit_s=LIMIT_S)
    assert workflow["status"] == "error"
    assert "a right is missing, create jobs" in workflow["failure"]["reason"]
    assert "streamforge doctor" in workflow["failure"]["reason"]


def test_watches_that_are_cut_again_and_again(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace, exchange: rig.Exchange
) -> None:
    queue_id = loading(manager, exchange)
    cut = _again_and_again(manager, queue_id, server.cut_watches, server)
    exchange.reset()
    finished_at_first(manager, namespace, queue_id)
    assert cut >= 5
    assert server.counts["watch jobs"] > 2, "it watches again"


def test_places_that_are_forgotten_again_and_again(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace, exchange: rig.Exchange
) -> None:
    """410: as an event of the watch, and as the answer to the next one."""
    queue_id = loading(manager, exchange)
    listed = server.counts["list jobs"]
    forgotten = _again_and_again(manager, queue_id, server.forget_places, server)
    server.refuse("watch .*", 410)
    wanted = server.counts["watch jobs 410"] + 3
    manager.until(queue_id, "it is refused", lambda _: server.counts["watch jobs 410"] >= wanted, limit_s=LIMIT_S)
    server.heal()
    exchange.reset()
    finished_at_first(manager, namespace, queue_id)
    assert forgotten >= 5
    assert server.counts["list jobs"] >= listed + 5, "it lists again"


def test_a_server_that_is_away_is_told_while_the_workers_go_on(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace, exchange: rig.Exchange
) -> None:
    queue_id = loading(manager, exchange, "2024-01:2024-07")
    server.refuse(".*", 503)
    server.cut_watches()
    unseen = "the launcher: Jobs and pods are not seen, they go on: "
    workflow = manager.until(
        queue_id, "it says so", lambda w: (w["waiting_for"] or "").startswith(unseen), limit_s=LIMIT_S
    )
    assert workflow["status"] == "running"
    assert "(HTTP 503)" in workflow["waiting_for"]
    ready = manager.api.get("/readyz")
    assert (ready.status_code, ready.json()["ready"], ready.json()["degraded"]) == (200, True, True)
    assert "(HTTP 503)" in ready.json()["parts"]["launcher"]
    stored = workflow["progress"]["records_stored"]
    manager.until(queue_id, "they go on", lambda w: w["progress"]["records_stored"] > stored, limit_s=LIMIT_S)
    server.heal()
    manager.until(queue_id, "it is told no more", lambda w: not w["waiting_for"], limit_s=LIMIT_S)
    exchange.reset()
    finished_at_first(manager, namespace, queue_id)
    ready = manager.api.get("/readyz")
    assert (ready.json()["degraded"], ready.json()["parts"]["launcher"]) == (False, None)


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


def test_rights_to_look_that_are_taken_away_are_named(
    manager: rig.Manager, server: FaultyServer, namespace: Namespace, exchange: rig.Exchange
) -> None:
    queue_id = loading(manager, exchange)
    message = 'pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace'
    server.refuse("(list|watch) pods", 403, message)
    server.cut_watches()
    manager.until(
        queue_id,
        "it says so",
        lambda w: "a right is missing, list pods" in (w["waiting_for"] or ""),
        limit_s=LIMIT_S,
    )
    server.heal()
    exchange.reset()
    finished_at_first(manager, namespace, queue_id)


def _again_and_again(manager: rig.Manager, queue_id: str, strike: Any, server: FaultyServer) -> int:
    """Strike both watches five times, each time as soon as they are back; how often one was struck."""
    struck = 0
    pause = threading.Event()
    for _ in range(5):
        watched = server.counts["watch jobs"] + server.counts["watch pods"]
        struck += int(strike())
        manager.until(
            queue_id,
            "it watches again",
            lambda _, before=watched: server.counts["watch jobs"] + server.counts["watch pods"] >= before + 2,  # type: ignore[misc]
            limit_s=LIMIT_S,
        )
        pause.wait(0.05)
    return struck
