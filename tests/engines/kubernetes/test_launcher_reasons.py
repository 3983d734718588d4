"""What becomes of a job on a real control plane, and what a person is told: a reason, a next step, its last words."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

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

pytestmark = pytest.mark.timeout(300)

QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"
LIMIT_S = 60.0
SLEEPS = 'echo "all is well"; exec sleep 300'
Make = Callable[..., KubernetesLauncher]


@pytest.fixture
async def make(kube_cluster: Cluster, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes launchers on one store, with the rights that ship and no others."""
    account = launchers.manager_account(kube_cluster, namespace.name, tmp_path / "kubeconfig")
    made: list[KubernetesLauncher] = []
    store = MemoryStore()

    def one(**changes: Any) -> KubernetesLauncher:
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


async def test_exit_1_is_told_with_its_last_words(make: Make) -> None:
    launcher = make()
    await launcher.start(spec('echo "cannot reach the store"; exit 1'))
    job = await ended(launcher)
    assert (job.exit_code, job.signal) == (1, None)
    assert job.reason.startswith("exit code 1")
    assert "cannot reach the store" in job.reason
    assert "log lines" in job.next_step


async def test_exit_2_is_told_as_a_setting_to_be_corrected(make: Make) -> None:
    launcher = make()
    await launcher.start(spec('echo "QUEUE_ID is missing"; exit 2'))
    job = await ended(launcher)
    assert job.exit_code == 2
    assert "QUEUE_ID is missing" in job.reason
    assert "correct the setting" in job.next_step


async def test_more_memory_than_its_limit_is_a_failure_of_its_own(make: Make, namespace: Namespace) -> None:
    launcher = make()
    await launcher.start(spec())
    namespace.fault(await running(namespace), faults.OOM_KILLED)
    job = await ended(launcher)
    assert (job.exit_code, job.signal) == (137, None), "counted, not tried again at once for ever"
    assert job.reason.startswith("OOMKilled")
    assert "all is well" in job.reason
    assert "STREAMFORGE_K8S_MEMORY_LIMIT" in job.next_step


async def test_an_eviction_is_a_disruption(make: Make, namespace: Namespace) -> None:
    launcher = make()
    await launcher.start(spec())
    namespace.fault(await running(namespace), faults.EVICTED)
    job = await ended(launcher)
    assert job.exit_code is None
    assert job.reason.startswith("evicted from node node-")
    assert "STREAMFORGE_K8S_MEMORY_REQUEST" in job.next_step


async def test_an_image_that_is_not_there_is_waited_for_and_named(make: Make) -> None:
    launcher = make()
    await launcher.start(spec(image="local/nothing:missing"))
    job = await until(launcher, lambda job: job.waiting)
    assert job.state is JobState.RUNNING
    assert "image local/nothing:missing cannot be pulled" in job.waiting
    assert not job.waits_for_room
    assert "STREAMFORGE_IMAGE" in job.next_step
    await launcher.stop("job-one", grace_s=1)
    job = await ended(launcher)
    assert job.reason.startswith("it never began: image local/nothing:missing cannot be pulled")
    assert "STREAMFORGE_IMAGE" in job.next_step


async def test_a_node_that_is_not_there_is_waited_for_as_room(make: Make) -> None:
    launcher = make(node_selector=(Pair("streamforge-worker", "not-here"),))
    await launcher.start(spec())
    job = await until(launcher, lambda job: job.waiting)
    assert job.waits_for_room
    assert job.waiting.startswith("no node takes it: 0/3 nodes are available")
    assert "STREAMFORGE_K8S_NODE_SELECTOR" in job.next_step
    await launcher.stop("job-one", grace_s=1)
    assert (await ended(launcher)).reason.startswith("it never began: no node takes it")


async def test_a_quota_on_pods_that_is_used_up_is_waited_for_as_room(make: Make, namespace: Namespace) -> None:
    namespace.use_up("pods")
    launcher = make()
    await launcher.start(spec("exit 0"))
    job = await until(launcher, lambda job: job.waiting)
    assert job.waits_for_room
    assert "quota is used up" in job.waiting
    namespace.make_room("pods")
    assert (await ended(launcher)).exit_code == 0


async def test_a_fault_in_looking_for_what_jobs_wait_for_does_not_end_the_looking(
    make: Make, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, faults_met = Evidence.holdups, list[str]()

    async def holdups(self: Evidence, *arguments: Any) -> Any:
        if not faults_met:
            faults_met.append("one")
            raise RuntimeError("a fault of the test")
        return await really(self, *arguments)

    monkeypatch.setattr(Evidence, "holdups", holdups)
    namespace.use_up("pods")
    launcher = make()
    await launcher.start(spec("exit 0"))
    job = await until(launcher, lambda job: job.waiting)
    assert "quota is used up" in job.waiting
    assert faults_met


async def test_a_quota_on_jobs_that_is_used_up_is_asked_again(make: Make, namespace: Namespace) -> None:
    namespace.use_up("count/jobs.batch")
    launcher = make()
    with pytest.raises(RetryableError, match="quota is used up"):
        await launcher.start(spec("exit 0"))
    namespace.make_room("count/jobs.batch")
    await launcher.start(spec("exit 0"))
    assert (await ended(launcher)).exit_code == 0


async def test_a_secret_that_is_missing_is_named(make: Make) -> None:
    launcher = make(secret_variables=(SecretVariable("WORD", SecretKey("nowhere", "word")),))
    await launcher.start(spec())
    job = await until(launcher, lambda job: job.waiting)
    assert 'secret "nowhere" not found' in job.waiting
    assert "streamforge doctor" in job.next_step
    assert not job.waits_for_room


async def test_a_volume_that_cannot_be_mounted_is_named(make: Make) -> None:
    launcher = make(kafka_ca=SecretKey("no-ca", "ca.crt"))
    await launcher.start(spec())
    job = await until(launcher, lambda job: job.waiting)
    assert 'secret "no-ca" not found' in job.waiting


async def test_a_deadline_is_told(make: Make) -> None:
    launcher = make(deadline_seconds=2)
    await launcher.start(spec())
    job = await ended(launcher)
    assert job.exit_code is None
    assert job.reason.startswith("ended by its deadline")
    assert "STREAMFORGE_K8S_DEADLINE_SECONDS" in job.next_step


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


async def test_a_list_that_is_late_brings_no_pod_back_that_is_gone(
    make: Make, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, late = Informer.everything, list[str]()

    async def everything(self: Informer[PodObject], selector: str = "") -> tuple[list[PodObject], str]:
        found, version = await really(self, selector)
        if selector and not late:
            late.append(selector)
            key, _, uid = selector.partition("=")
            labels = {key: uid, JOB_NAME_LABEL: "job-one"}
            pod = {"metadata": {"name": "one", "uid": "gone", "labels": labels}, "status": {"phase": "Running"}}
            found = [msgspec.convert(pod, PodObject)]
        return found, version

    monkeypatch.setattr(Informer, "everything", everything)
    namespace.use_up("pods")
    launcher = make()
    await launcher.start(spec())
    await until(launcher, lambda job: job.waiting)
    namespace.delete("job-one")
    job = await ended(launcher)
    assert late
    assert job.reason.startswith("it never began: the namespace's quota is used up")


async def test_a_pod_deleted_by_hand_is_a_disruption_and_not_replaced(make: Make, namespace: Namespace) -> None:
    launcher = make()
    await launcher.start(spec())
    pod = await running(namespace)
    namespace.rest.request("DELETE", f"{namespace.path}/pods/{pod['metadata']['name']}", {"gracePeriodSeconds": 1})
    job = await ended(launcher)
    assert job.exit_code is None
    assert "deleted by somebody else" in job.reason
    assert namespace.ended("job-one") == "BackoffLimitExceeded"


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
    from streamforge_utils.adapters.kubernetes import deletion
    from streamforge_utils.adapters.kubernetes import job_launcher as module

    monkeypatch.setattr(deletion, "LOST_AFTER_S", 2.0)
    monkeypatch.setattr(module, "GONE_WITHIN_S", 1.0)
    launcher = make(node_selector=(Pair("streamforge-worker", "true"),))
    await launcher.start(spec())
    pod = await running(namespace)
    node = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    kube_cluster.annotate(node, {faults.LOST: faults.PARTITIONED})
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
