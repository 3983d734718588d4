"""A workflow from its request to its proof; its workers are Jobs, bus and store the embedded ones in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import rig
from tests.engines.kubernetes import managers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, until
from tests.engines.kubernetes.rest import Object

pytestmark = pytest.mark.timeout(300)

DAY = rig.DAY_MS
START_MS = 1_722_470_400_000
LIMIT_S = 120.0


def test_a_day_is_loaded_and_proven_by_two_jobs_and_a_stopped_workflow_leaves_no_pod(
    kube_cluster: Cluster, kube_namespace: str, settings: dict[str, str], exchange: rig.Exchange, folder: Path
) -> None:
    targets = ("arango-candles", "loader-api-candles")
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2024-08-01")["queue_id"]
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        rows = exchange.oracle("BTCUSDT", "1m", START_MS, START_MS + DAY)
        assert manager.csv(workflow["collection"]) == rig.expected_csv("BTCUSDT", "1m", rows)
        words = [(event["target"], event["event"]) for event in manager.events(queue_id) if event["event"] != "loading"]
        assert sorted(words) == [(target, word) for target in targets for word in ("finished", "started")]

        exchange.switch_on("slow:ms=500,path=klines")
        stopped = manager.start_load("BTCUSDT", "api_candles_1m", "2024")["queue_id"]
        manager.until(stopped, "it loads", lambda w: w["progress"]["records_stored"] > 0, limit_s=LIMIT_S)
        manager.post(f"/queues/{stopped}/stop")
        assert manager.wait(stopped, limit_s=LIMIT_S)["status"] == "interrupted"

    namespace = Namespace(kube_cluster.admin, kube_namespace)
    wanted = [(f"job-{target}-btcusdt-{one[-6:]}", one) for one in (queue_id, stopped) for target in targets]
    jobs = managers.jobs(kube_cluster, kube_namespace)
    labels = [(job["metadata"]["name"], job["metadata"]["labels"]["queue_id"]) for job in jobs]
    assert sorted(labels) == sorted(wanted)
    pods = managers.pods(kube_cluster, kube_namespace)
    assert [pod["status"]["phase"] for pod in pods] == ["Succeeded"] * 4
    for target in targets:
        assert namespace.ended(f"job-{target}-btcusdt-{queue_id[-6:]}") == "Complete"


def test_jobs_of_a_workflow_that_is_gone_are_ended_after_a_restart(
    kube_cluster: Cluster, kube_namespace: str, settings: dict[str, str], exchange: rig.Exchange, folder: Path
) -> None:
    """And those of a workflow that went on while its manager was away are found again."""
    exchange.switch_on("slow:ms=300,path=klines")
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2024-08")["queue_id"]
        manager.until(queue_id, "it loads", lambda w: w["progress"]["records_stored"] > 0, limit_s=LIMIT_S)
        manager.kill()
        orphan = f"job-arango-candles-ethusdt-{queue_id[-6:]}"
        known = next(
            job
            for job in managers.jobs(kube_cluster, kube_namespace)
            if job["metadata"]["labels"]["streamforge.io/target"] == "loader-api-candles"
        )
        namespace = Namespace(kube_cluster.admin, kube_namespace)
        namespace.create(_orphan(known, orphan))
        namespace.running(orphan)
        manager.start()
        exchange.reset()
        until("the orphan is gone", lambda: namespace.job(orphan) is None and not namespace.pods(orphan))
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        assert [len(step["attempts"]) for step in workflow["steps"]] == [1, 1], manager.story(queue_id)


def _orphan(like: Object, name: str) -> Object:
    """A Job of the same manager that no workflow of it knows."""
    metadata, spec = dict(like["metadata"]), dict(like["spec"])
    labels = {k: v for k, v in metadata["labels"].items() if "job-name" not in k and "controller-uid" not in k}
    pod = dict(spec["template"]["spec"])
    (main,) = pod["containers"]
    pod["containers"] = [main | {"image": "local/pause:1"}]
    return {
        "metadata": {"name": name, "labels": labels, "annotations": {"streamforge.io/queue-id": "wf-nobodys"}},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
