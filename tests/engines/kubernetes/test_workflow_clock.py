"""A manager whose clock is set by a day while its workers run, and before it launches others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamforge.manager.__main__ import ports_of
from streamforge.manager.bootstrap import running
from streamforge.manager.manager_settings import load_manager
from streamforge.manager.service import StartRequest
from streamforge.manager.workflow import Status, Workflow
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.ports.instrumentation import NullObserver
from tests.e2e import rig
from tests.engines.kubernetes import launchers, managers
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.test_launcher_outages import DAY_MS, Jumping

pytestmark = pytest.mark.timeout(300)
LIMIT_S = 150.0


async def until(manager: WorkflowService, queue_id: str, holds: str) -> Workflow:
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
    kube_cluster: Cluster, kube_namespace: str, exchange: rig.Exchange, tmp_path: Path, ahead_ms: int
) -> None:
    account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig")
    clock = Jumping()
    with launchers.shared_folder() as folder:
        settings = load_manager(
            {
                "STREAMFORGE_DATA_DIR": str(folder / "data"),
                "STREAMFORGE_EXCHANGE_URL": exchange.url,
                "STREAMFORGE_PORT": "0",
                **rig.IMPATIENT,
                **managers.settings(kube_cluster, kube_namespace, kubeconfig=account),
            }
        )
        ports = ports_of(settings, NullObserver(), clock)
        async with running(ports, settings) as found:
            exchange.switch_on("slow:ms=300,path=klines")
            try:
                before, *_ = await found.manager.start(
                    StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01:2024-08-15")
                )
                await until(found.manager, before.queue_id, "loads")
                clock.ahead_ms = ahead_ms
                after, *_ = await found.manager.start(
                    StartRequest(symbol="ETHUSDT", type="api_candles_1m", time_range="2024-08-01")
                )
                await until(found.manager, after.queue_id, "loads")
            finally:
                exchange.reset()
            for queue_id in (before.queue_id, after.queue_id):
                workflow = await until(found.manager, queue_id, "has ended")
                assert workflow.status is Status.FINISHED, workflow
                told = [(a.job, a.outcome, a.reason, a.error) for step in workflow.steps for a in step.attempts]
                assert len(told) == 2, told
                assert [one.verdict.value for one in (await found.manager.coverage(queue_id)).segments] == ["stored"]
