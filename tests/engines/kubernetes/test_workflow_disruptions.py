"""A workflow whose cluster is against it ends as a user would expect, and says why.

The manager has the rights that ship, and no others.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import rig
from tests.engines.kubernetes import launchers, managers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace
from tests.engines.kubernetes.kubelet import faults

pytestmark = pytest.mark.timeout(300)

LIMIT_S = 120.0
DAY = ("BTCUSDT", "api_candles_1m", "2024-08-01")


def loading(manager: rig.Manager, exchange: rig.Exchange, time_range: str = "2024-08") -> str:
    """A workflow that is in the middle of its loading."""
    exchange.switch_on("slow:ms=300,path=klines")
    queue_id: str = manager.start_load("BTCUSDT", "api_candles_1m", time_range)["queue_id"]
    manager.until(queue_id, "it loads", lambda w: w["progress"]["records_stored"] > 0, limit_s=LIMIT_S)
    return queue_id


def attempts(workflow: dict[str, Any], target: str) -> list[dict[str, Any]]:
    (step,) = [step for step in workflow["steps"] if step["target"] == target]
    found: list[dict[str, Any]] = step["attempts"]
    return found


def test_a_worker_that_ends_against_its_will_is_told_and_made_again_as_the_next_attempt(
    settings: dict[str, str], namespace: Namespace, exchange: rig.Exchange, folder: Path
) -> None:
    def again(target: str) -> None:
        manager.until(queue_id, "a second attempt", lambda w: len(attempts(w, target)) > 1, limit_s=LIMIT_S)

    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = loading(manager, exchange)
        loader, sink = (f"job-{one}-btcusdt-{queue_id[-6:]}" for one in ("loader-api-candles", "arango-candles"))
        namespace.delete(loader)
        again("loader-api-candles")
        namespace.fault(namespace.running(sink), faults.OOM_KILLED)
        again("arango-candles")
        exchange.reset()
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        for target, job, reason in (
            ("loader-api-candles", loader, "deleted by somebody else"),
            ("arango-candles", sink, "OOMKilled"),
        ):
            first, second = attempts(workflow, target)
            assert (first["job"], second["job"]) == (job, f"{job}-2")
            assert reason in first["reason"], manager.story(queue_id)


def test_an_image_that_is_not_there_ends_the_workflow_with_the_setting_to_correct(
    settings: dict[str, str], exchange: rig.Exchange, folder: Path
) -> None:
    settings |= {
        "STREAMFORGE_IMAGES": "arango-candles=local/arango-candles:missing",
        "STREAMFORGE_START_SECONDS": "5",
        "STREAMFORGE_MAX_FAILURES": "1",
    }
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = manager.start_load(*DAY)["queue_id"]
        manager.until(
            queue_id,
            "it says what it waits for",
            lambda w: "local/arango-candles:missing cannot be pulled" in (w["waiting_for"] or ""),
            limit_s=LIMIT_S,
        )
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "error", manager.story(queue_id)
        assert "local/arango-candles:missing cannot be pulled" in workflow["failure"]["reason"]
        assert "STREAMFORGE_IMAGES" in workflow["failure"]["next_step"]


def test_a_quota_that_is_used_up_is_waited_for_and_named(
    settings: dict[str, str], namespace: Namespace, exchange: rig.Exchange, folder: Path
) -> None:
    namespace.use_up("pods")
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = manager.start_load(*DAY)["queue_id"]
        manager.until(
            queue_id,
            "it says what it waits for",
            lambda w: "quota is used up" in (w["waiting_for"] or ""),
            limit_s=LIMIT_S,
        )
        namespace.make_room("pods")
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)


def test_a_namespace_that_is_deleted_ends_its_workflows_and_is_named(
    kube_cluster: Cluster, exchange: rig.Exchange, folder: Path, tmp_path: Path
) -> None:
    name = f"test-{secrets.token_hex(4)}"
    kube_cluster.create_namespace(name)
    # Its account and its Role go with the namespace.
    account = launchers.manager_account(kube_cluster, name, tmp_path / "kubeconfig")
    settings = managers.settings(kube_cluster, name, kubeconfig=account)
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = loading(manager, exchange, "2023")
        kube_cluster.delete_namespace(name)
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "error", manager.story(queue_id)
        assert f"namespace {name}" in workflow["failure"]["reason"]
        assert manager.api.get("/readyz").status_code in (200, 503), "it goes on answering"
