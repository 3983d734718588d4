"""The check of what runs the workers: processes of this machine, or Jobs of a Kubernetes cluster."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from streamforge import wiring
from streamforge.cli.checks.place_checks import Subject
from streamforge.manager.health.findings import careful, fails, works
from streamforge.manager.manager_settings import load_manager
from streamforge.manager.running_manager import worker_environment
from streamforge_utils.model.errors import ConfigError, StreamForgeError
from streamforge_utils.ports.job_settings import (
    KUBERNETES,
    LAUNCHER,
    OUT_OF_REACH,
    REACH_STEP,
    LauncherSettings,
    with_launcher,
)
from streamforge_utils.ports.launcher import JobSpec, JobState
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.runtime.life.environment import read
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.settings import DataSettings
from streamforge_utils.runtime.life.termination import EXIT_CONFIG

KUBERNETES_S = 18.0
"""How long the cluster may take: less than the whole check, so that what was found until then is told."""


async def check_launcher(subject: Subject) -> AsyncIterator[Finding]:
    """Whether a worker can be started, and seen to end; of a cluster what that takes."""
    # Of settings that are wrong the check of the settings tells.
    settings = read(LauncherSettings, with_launcher(subject.where.environ()), []) or LauncherSettings()
    if not settings.in_kubernetes:
        yield await _process(subject.probe)
        return
    async for finding in _kubernetes(settings, subject.folder):
        yield finding


async def _process(probe: Path) -> Finding:
    began = time.perf_counter()
    launcher = wiring.make_launcher(DataSettings(data_dir=probe))
    # A worker without settings says so and ends: that is enough to see it start and to see it end.
    await launcher.start(JobSpec(name="doctor", target="arango-candles", queue_id="doctor", attempt=1))
    # A launcher is asked, it does not tell.
    while (job := (await launcher.jobs())[0]).state is not JobState.ENDED:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    if job.exit_code != EXIT_CONFIG:
        how = f"({job.exit_code}, {job.signal}): {job.reason[:300]}"
        return fails("launcher", f"a worker was started and ended unexpectedly {how}", "is this installation complete?")
    return works("launcher", f"a worker was started and seen to end in {took:.1f} s")


async def _kubernetes(launching: LauncherSettings, folder: Path) -> AsyncIterator[Finding]:
    """The cluster, the rights, Pod Security, and what Jobs refer to."""
    kafka = read(KafkaSettings, os.environ, []) or KafkaSettings()
    where = {LAUNCHER: KUBERNETES, "STREAMFORGE_DATA_DIR": str(folder)}
    try:
        environment = worker_environment(load_manager({**os.environ, **where}))
    except ConfigError:
        environment = {}  # which settings are wrong is told by the check of them
    examiner = wiring.make_examiner(
        DataSettings(data_dir=folder, kafka=kafka), launching.kubernetes, environment=environment
    )
    part = "launcher"
    try:
        async with asyncio.timeout(KUBERNETES_S):
            async for found in examiner.examine():
                part = found.part
                yield found
    except TimeoutError:
        yield fails(part, f"no answer within {KUBERNETES_S:.0f} s")
    except (StreamForgeError, OSError) as error:
        yield fails(part, str(error))
    finally:
        await examiner.close()
    if not kafka.bootstrap_servers and not launching.kubernetes.data_claim:
        yield careful("reach", OUT_OF_REACH.format(folder=folder), REACH_STEP)
