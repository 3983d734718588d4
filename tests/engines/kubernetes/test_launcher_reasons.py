"""The end of a job on a real control plane, as a person reads it: a reason, a next step, its last log lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge_utils.adapters.kubernetes import job_deletion, job_launcher
from streamforge_utils.adapters.kubernetes.evidence import Evidence
from streamforge_utils.adapters.kubernetes.informer import Informer
from streamforge_utils.adapters.kubernetes.job_cache import JOB_NAME_LABEL
from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher
from streamforge_utils.adapters.kubernetes.objects import PodObject
from streamforge_utils.model.errors import ConfigError, RetryableError
from streamforge_utils.ports.job_settings import Pair, SecretKey, SecretVariable
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.doubles.memorystore import MemoryStore
from tests.engines.kubernetes import launchers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace
from tests.engines.kubernetes.kubelet import faults

QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"
LIMIT_S = 360.0
SLEEPS = 'echo "all is well"; exec sleep 300'
Make = Callable[..., KubernetesLauncher]


@pytest.fixture
async def make(kube_cluster: Cluster, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes launchers with the rights that ship and no others, on one store where no other is given."""
    account = launchers.manager_account(kube_cluster, namespace.name, tmp_path / "kubeconfig")
    made: list[KubernetesLauncher] = []
    common = MemoryStore()

    def one(*, store: MemoryStore = common, **changes: Any) -> KubernetesLauncher:
        made.append(launchers.make(kube_cluster, namespace.name, store, kubeconfig=account, **changes))
        return made[-1]

    yield one
    for launcher in made:
        await launcher.close()


def spec(script: str = SLEEPS, *, name: str = "job-one", **more: Any) -> JobSpec:
    return JobSpec(
        name=name, target="arango-candles", queue_id=QUEUE, attempt=1, environment={"CONTRACT_SCRIPT": script}, **more
    )


async def until(launcher: KubernetesLauncher, holds: Callable[[Job], object], name: str = "job-one") -> Job:
    """The job, once that holds of it."""
    found: Job | None = None
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                found = next((job for job in await launcher.jobs() if job.name == name), None)
                if found is not None and holds(found):
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"within {LIMIT_S:.0f} s not true; the job: {found}") from None


async def ended(launcher: KubernetesLauncher, name: str = "job-one") -> Job:
    return await until(launcher, lambda job: job.state is JobState.ENDED, name)


async def running(namespace: Namespace, name: str = "job-one", says: str = "well") -> dict[str, Any]:
    """Its pod, once its process has spoken."""
    pod = await asyncio.to_thread(namespace.running, name)
    async with asyncio.timeout(LIMIT_S):
        while says not in await asyncio.to_thread(namespace.log, pod):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return pod


ENDINGS = {
    "exit-1": (1, "exit code 1; ", "cannot reach the store", "log lines"),
    "exit-2": (2, "exit code 2; ", "QUEUE_ID is missing", "correct the setting"),
    # Counted as its own failure: as a signal it would be tried again at once for ever.
    "memory": (137, "OOMKilled: ", "all is well", "STREAMFORGE_K8S_MEMORY_LIMIT"),
    "evicted": (None, "evicted from node node-", "all is well", "STREAMFORGE_K8S_MEMORY_REQUEST"),
    "drained": (None, "disrupted on node node-", "all is well", "nothing if it is rare"),
    "pod-gone": (None, "", "deleted by somebody else", ""),
    "deadline": (None, "ended by its deadline: ", "", "STREAMFORGE_K8S_DEADLINE_SECONDS"),
}
"""Jobs, with the exit code that is told, how the reason begins, what is in it, and what is in the next step."""


async def test_what_becomes_of_a_job_is_told_with_its_last_words_and_a_next_step(
    make: Make, namespace: Namespace
) -> None:
    scripts = {"exit-1": 'echo "cannot reach the store"; exit 1', "exit-2": 'echo "QUEUE_ID is missing"; exit 2'}
    launcher, impatient = make(), make(store=MemoryStore(), deadline_seconds=2)
    for name in ENDINGS:
        of = impatient if name == "deadline" else launcher
        await of.start(spec(scripts.get(name, SLEEPS), name=name))
    namespace.fault(await running(namespace, "memory"), faults.OOM_KILLED)
    namespace.fault(await running(namespace, "evicted"), faults.EVICTED)
    drained = {"name": (await running(namespace, "drained"))["metadata"]["name"], "namespace": namespace.name}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": drained}
    namespace.rest.request("POST", f"{namespace.path}/pods/{drained['name']}/eviction", eviction)
    deleted = (await running(namespace, "pod-gone"))["metadata"]["name"]
    namespace.rest.request("DELETE", f"{namespace.path}/pods/{deleted}", {"gracePeriodSeconds": 1})
    for name, (code, begins, holds, next_step) in ENDINGS.items():
        job = await ended(impatient if name == "deadline" else launcher, name)
        assert job.exit_code == code, job
        assert code is None or job.signal is None, job
        assert job.reason.startswith(begins), job
        assert holds in job.reason, job
        assert next_step in job.next_step, job
    assert namespace.ended("pod-gone") == "BackoffLimitExceeded", "it is not replaced"


WAITS = {
    "image": (False, "image local/nothing:missing cannot be pulled", "STREAMFORGE_IMAGE"),
    "node": (True, "no node takes it: 0/3 nodes are available", "STREAMFORGE_K8S_NODE_SELECTOR"),
    "secret": (False, 'secret "nowhere" not found', "streamforge doctor"),
    "volume": (False, 'secret "no-ca" not found', "streamforge doctor"),
}
"""Jobs that do not begin, with whether they wait for room, what is in the reason, and in the next step."""


async def test_what_a_job_waits_for_is_named_and_is_its_reason_once_it_is_stopped(make: Make) -> None:
    changes: dict[str, dict[str, Any]] = {
        "image": {},
        "node": {"node_selector": (Pair("streamforge-worker", "not-here"),)},
        "secret": {"secret_variables": (SecretVariable("WORD", SecretKey("nowhere", "word")),)},
        "volume": {"kafka_ca": SecretKey("no-ca", "ca.crt")},
    }
    waiting = {name: make(store=MemoryStore(), **change) for name, change in changes.items()}
    for name, launcher in waiting.items():
        await launcher.start(spec(name=name, image="local/nothing:missing" if name == "image" else None))
    for name, launcher in waiting.items():
        room, holds, next_step = WAITS[name]
        job = await until(launcher, lambda job: job.waiting, name)
        assert (job.state, job.waits_for_room) == (JobState.RUNNING, room), job
        assert holds in job.waiting, job
        assert next_step in job.next_step, job
    for name in ("image", "node"):
        await waiting[name].stop(name, grace_s=1)
        job = await ended(waiting[name], name)
        assert job.reason.startswith(f"it never began: {WAITS[name][1]}"), job
        assert WAITS[name][2] in job.next_step, job


async def test_a_quota_on_pods_that_is_used_up_is_waited_for_as_room(
    make: Make, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the first look for it fails, and though a list that is late has a pod that is gone."""
    holdups, everything = Evidence.holdups, Informer.everything
    failed, late = list[str](), list[str]()

    async def failing(self: Evidence, *arguments: Any) -> Any:
        if not failed:
            failed.append("once")
            raise RuntimeError("a fault of the test")
        return await holdups(self, *arguments)

    async def behind(self: Informer[PodObject], selector: str = "") -> tuple[list[PodObject], str]:
        found, version = await everything(self, selector)
        if selector and not late:
            late.append(selector)
            key, _, uid = selector.partition("=")
            labels = {key: uid, JOB_NAME_LABEL: "job-two"}
            pod = {"metadata": {"name": "two", "uid": "gone", "labels": labels}, "status": {"phase": "Running"}}
            found = [msgspec.convert(pod, PodObject)]
        return found, version

    monkeypatch.setattr(Evidence, "holdups", failing)
    monkeypatch.setattr(Informer, "everything", behind)
    namespace.use_up("pods")
    launcher = make()
    for name in ("job-one", "job-two"):
        await launcher.start(spec("exit 0", name=name))
    for name in ("job-one", "job-two"):
        job = await until(launcher, lambda job: job.waiting, name)
        assert job.waits_for_room
        assert "quota is used up" in job.waiting
    namespace.delete("job-two")
    assert (await ended(launcher, "job-two")).reason.startswith("it never began: the namespace's quota is used up")
    namespace.make_room("pods")
    assert (await ended(launcher)).exit_code == 0
    assert failed
    assert late


async def test_a_quota_on_jobs_that_is_used_up_is_asked_again(make: Make, namespace: Namespace) -> None:
    namespace.use_up("count/jobs.batch")
    launcher = make()
    with pytest.raises(RetryableError, match="quota is used up"):
        await launcher.start(spec("exit 0"))
    namespace.make_room("count/jobs.batch")
    await launcher.start(spec("exit 0"))
    assert (await ended(launcher)).exit_code == 0


LEAVES = "trap 'echo leaving; until [ -e {}/go ]; do sleep 0.05; done; exit 1' TERM; echo all is well; {}"


async def test_a_job_deleted_by_hand_is_a_disruption_with_its_last_words(
    make: Make, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Evidence.log
    launcher = make()
    with launchers.shared_folder() as folder:

        async def log(self: Evidence, pod: PodObject) -> str | None:
            found = await really(self, pod)
            (folder / "go").touch()
            return found

        monkeypatch.setattr(Evidence, "log", log)
        await launcher.start(spec(LEAVES.format(folder, "while :; do sleep 0.05; done")))
        await running(namespace)
        namespace.delete("job-one")
        job = await ended(launcher)
    assert job.exit_code is None, "what it said in leaving is no failure of its own"
    assert "deleted by somebody else" in job.reason
    assert "all is well" in job.reason
    assert namespace.job("job-one") is None
    await launcher.start(spec())
    assert await ended(launcher) == job, "it is not run again"
    assert namespace.job("job-one") is None


async def test_the_last_words_of_a_pod_that_went_before_its_log_was_read_are_in_its_status(
    make: Make, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, gone = Evidence.log, asyncio.Event()

    async def log(self: Evidence, pod: PodObject) -> str | None:
        await gone.wait()
        return await really(self, pod)

    monkeypatch.setattr(Evidence, "log", log)
    launcher = make()
    await launcher.start(spec("trap 'echo leaving; exit 1' TERM; echo all is well; while :; do sleep 0.05; done"))
    await running(namespace)
    namespace.delete("job-one")
    async with asyncio.timeout(LIMIT_S):
        while await asyncio.to_thread(namespace.pods, "job-one"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    gone.set()
    job = await ended(launcher)
    assert "deleted by somebody else" in job.reason
    assert job.reason.endswith("it last wrote:\nall is well\nleaving")


async def test_a_namespace_that_is_being_deleted_ends_its_jobs_and_takes_no_more(
    make: Make, kube_cluster: Cluster, namespace: Namespace
) -> None:
    launcher = make()
    await launcher.start(spec())
    await running(namespace)
    kube_cluster.delete_namespace(namespace.name)
    job = await ended(launcher)
    assert "deleted by somebody else" in job.reason
    with pytest.raises(ConfigError, match=f"namespace {namespace.name}"):
        await launcher.start(spec(name="job-two"))


async def test_what_ended_while_nobody_looked_is_told_afterwards(make: Make, namespace: Namespace) -> None:
    first = make(ttl_seconds=1)
    with launchers.shared_folder() as folder:
        await first.start(spec(f"echo all is well; until [ -e {folder}/end ]; do sleep 0.05; done"))
        await first.start(spec(name="job-two"))
        await running(namespace, "job-one")
        await running(namespace, "job-two")
        await first.close()
        (folder / "end").touch()
        namespace.ended("job-one")
    namespace.delete("job-two")
    async with asyncio.timeout(LIMIT_S):
        while namespace.job("job-one") or namespace.job("job-two") or namespace.pods("job-two"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    second = make()
    for name in ("job-one", "job-two"):
        job = await ended(second, name)
        assert job.exit_code is None
        assert "could not be observed" in job.reason
        await second.start(spec(name=name))
        assert namespace.job(name) is None, "it ran once, and is not run again"


async def test_a_node_that_is_lost_does_not_hold_a_stop_up_for_ever(
    make: Make, kube_cluster: Cluster, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_deletion, "LOST_AFTER_S", 2.0)
    monkeypatch.setattr(job_launcher, "GONE_WITHIN_S", 1.0)
    launcher = make(node_selector=(Pair("streamforge-worker", "true"),))
    await launcher.start(spec())
    pod = await running(namespace)
    node = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    kube_cluster.annotate(node, {faults.LOST: "true"})
    try:
        with pytest.raises(RetryableError, match="node-1"):
            await launcher.stop("job-one", grace_s=1)
        for _ in range(20):
            with contextlib.suppress(RetryableError):
                await launcher.stop("job-one", grace_s=1)
                break
        assert (await ended(launcher)).exit_code is None
    finally:
        kube_cluster.annotate(node, {faults.LOST: None})
