"""A workflow from its request to its proof, whose workers are Jobs; bus and store are the embedded ones in one folder.

Where its cluster is against it, it ends as a user would expect, and says why. The manager has the rights that ship, and
no others.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import rig
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, until
from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.rest import Object

LIMIT_S = 600.0
DAY = ("BTCUSDT", "api_candles_1m", "2024-08-01")
START_MS = 1_722_470_400_000
TARGETS = ("arango-candles", "loader-api-candles")


def loading(manager: rig.Manager, exchange: rig.Exchange, time_range: str = "2024-08") -> str:
    """A workflow that is in the middle of its loading."""
    exchange.switch_on("slow:ms=300,path=klines")
    queue_id: str = manager.start_load("BTCUSDT", "api_candles_1m", time_range)["queue_id"]
    # Not what the whole range has: some of it may be stored before, and a stop before the launch leaves no Job.
    manager.until(queue_id, "it loads", lambda w: bool(rig.step(w, rig.SINK)["records"]), limit_s=LIMIT_S)
    return queue_id


def test_a_day_is_loaded_and_proven_by_two_jobs_and_a_stopped_workflow_leaves_no_pod(
    namespace: Namespace, settings: dict[str, str], exchange: rig.Exchange, folder: Path
) -> None:
    # Longer than this test waits: no worker is ended by force, which would delete its Job, however slow the machine.
    settings["STREAMFORGE_STOP_SECONDS"] = "600"
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = manager.start_load(*DAY)["queue_id"]
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        rows = exchange.oracle("BTCUSDT", "1m", START_MS, START_MS + rig.DAY_MS)
        assert manager.csv(workflow["collection"]) == rig.expected_csv("BTCUSDT", "1m", rows)
        words = [(event["target"], event["event"]) for event in manager.events(queue_id) if event["event"] != "loading"]
        assert sorted(words) == [(target, word) for target in TARGETS for word in ("finished", "started")]

        stopped = loading(manager, exchange, "2024")
        manager.post(f"/queues/{stopped}/stop")
        workflow = manager.wait(stopped, limit_s=LIMIT_S)
        assert workflow["status"] == "interrupted", manager.story(stopped)
        last_words = [[attempt["last_word"] for attempt in step["attempts"]] for step in workflow["steps"]]
        assert last_words == [["interrupted"], ["interrupted"]], manager.story(stopped)

    wanted = [(f"job-{target}-btcusdt-{one[-6:]}", one) for one in (queue_id, stopped) for target in TARGETS]
    labels = [(job["metadata"]["name"], job["metadata"]["labels"]["queue_id"]) for job in namespace.jobs()]
    assert sorted(labels) == sorted(wanted)
    assert [pod["status"]["phase"] for pod in namespace.pods()] == ["Succeeded"] * 4
    for target in TARGETS:
        assert namespace.ended(f"job-{target}-btcusdt-{queue_id[-6:]}") == "Complete"


@pytest.mark.long
def test_jobs_of_a_workflow_that_is_gone_are_ended_after_a_restart(
    namespace: Namespace, settings: dict[str, str], exchange: rig.Exchange, folder: Path
) -> None:
    """And those of a workflow that went on while its manager was away are found again."""
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = loading(manager, exchange)
        manager.kill()
        orphan = f"job-arango-candles-ethusdt-{queue_id[-6:]}"
        known = next(
            job
            for job in namespace.jobs()
            if job["metadata"]["labels"]["streamforge.io/target"] == "loader-api-candles"
        )
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


@pytest.mark.long
def test_a_graph_is_made_by_a_job_of_what_jobs_have_loaded(
    namespace: Namespace, settings: dict[str, str], exchange: rig.Exchange, folder: Path
) -> None:
    asked = {
        "graph": "two",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "type": "api_candles_1h",
        "time_range": "2024-08-03:2024-08-05",
        "definition": {"window": 24, "step": 24, "top_k": 1, "sign": "any", "universe": {"min_volatility": 0}},
        "load_missing": True,
    }
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        answer = manager.api.post("/graphs", json=asked)
        assert answer.status_code == 202, answer.text
        queue_id = answer.json()["queue_id"]
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        shown = manager.api.get("/graphs/two").raise_for_status().json()
        assert (shown["snapshots"], shown["edges"]) == (2, 4)
        late = manager.api.get("/graphs/two/at/2024-08-04").raise_for_status().json()
        assert {node["symbol"] for node in late["nodes"]} == {"BTCUSDT", "ETHUSDT"}
    assert namespace.ended(f"job-graph-builder-two-{queue_id[-6:]}") == "Complete"


def test_the_command_load_loads_a_day_by_jobs_and_says_what_may_not_be_reached(
    namespace: Namespace, settings: dict[str, str], exchange: rig.Exchange, folder: Path, tmp_path: Path
) -> None:
    del settings["STREAMFORGE_LAUNCHER"]  # the option says it
    command = [sys.executable, "-m", "streamforge.cli", "load", *DAY]
    where = ["--launcher", "kubernetes", "--data", str(folder / "data"), "--exchange", exchange.url, "--json"]
    done = subprocess.run(
        [*command, *where],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **rig.IMPATIENT, **settings},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["status"], found["records_expected"], found["records_stored"]) == ("finished", 1440, 1440)
    code = found["queue_id"][-6:]
    jobs = {job["metadata"]["name"] for job in namespace.jobs()}
    assert jobs == {f"job-{target}-btcusdt-{code}" for target in TARGETS}
    assert f"careful: bus and store are the embedded ones in {folder / 'data'}, and pods elsewhere" in done.stderr


# A cluster that is against it


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


@pytest.mark.long
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


@pytest.mark.long
def test_a_namespace_that_is_deleted_ends_its_workflows_and_is_named(
    kube_cluster: Cluster, exchange: rig.Exchange, folder: Path, tmp_path: Path
) -> None:
    name = f"test-{secrets.token_hex(4)}"
    kube_cluster.create_namespace(name)
    # Its account and its Role go with the namespace.
    account = launchers.manager_account(kube_cluster, name, tmp_path / "kubeconfig")
    settings = launchers.manager_settings(kube_cluster, name, kubeconfig=account)
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = loading(manager, exchange, "2023")
        kube_cluster.delete_namespace(name)
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "error", manager.story(queue_id)
        assert f"namespace {name}" in workflow["failure"]["reason"]
        assert manager.api.get("/readyz").status_code in (200, 503), "it goes on answering"
