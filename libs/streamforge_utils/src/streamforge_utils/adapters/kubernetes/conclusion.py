"""How a job ended, from all that can still be learnt of it: its pod, its Job, its log and what Kubernetes told."""

from __future__ import annotations

import asyncio
from typing import Final

from streamforge_utils.adapters.kubernetes.diagnosis import end_of
from streamforge_utils.adapters.kubernetes.evidence import Evidence, said_at_its_end
from streamforge_utils.adapters.kubernetes.job_cache import CachedJob
from streamforge_utils.adapters.kubernetes.objects import EventObject, PodObject, milliseconds
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.launcher import Job, JobState

_CONDITION_S: Final = 3.0


async def conclude(entry: CachedJob, evidence: Evidence, clock: Clock) -> Job:
    """The job as it ended. Everything of it is over, as far as is known."""
    pod = entry.final_pod()
    log, events = entry.log, []
    if pod is None or pod.status.phase != "Succeeded":
        await _wait_for_verdict(entry, pod, clock)
        found = None
        if pod is not None:
            there = pod.metadata.uid in entry.pods
            found = await evidence.log(pod) if there else said_at_its_end(pod)
        if entry.reading is not None:  # asked for before the pod went: its answer may be the only one
            await asyncio.wait({entry.reading})
        log = found or entry.log or found
        events = await events_about(entry, evidence)
    deleted = entry.gone or (pod is not None and pod.metadata.deletion_timestamp is not None)
    end = end_of(entry.job, pod, deleted=deleted, stopped=entry.stopped, waited=entry.waited, log=log, events=events)
    terminated = None if pod is None else pod.terminated
    ended_ms = milliseconds(None if terminated is None else terminated.finished_at) or clock.now_ms()
    return Job(
        name=entry.name,
        target=entry.target,
        queue_id=entry.queue_id,
        attempt=entry.attempt,
        state=JobState.ENDED,
        exit_code=end.exit_code,
        signal=end.signal,
        reason=end.reason,
        next_step=end.next_step,
        started_ms=entry.started_ms,
        ended_ms=max(ended_ms, entry.started_ms),
    )


async def events_about(entry: CachedJob, evidence: Evidence) -> list[EventObject]:
    """The warnings about a job and its last pod."""
    pod = entry.final_pod()
    uids = (entry.uid, *([pod.metadata.uid] if pod is not None else []))
    return await evidence.warnings_about(*uids)


async def _wait_for_verdict(entry: CachedJob, pod: PodObject | None, clock: Clock) -> None:
    """A pod that was deleted may have met a deadline, which its Job tells a moment later."""
    if entry.stopped or pod is None or pod.metadata.deletion_timestamp is None:
        return
    give_up = clock.monotonic() + _CONDITION_S
    while not entry.gone and clock.monotonic() < give_up:
        if entry.job is not None and entry.job.condition("Failed", "FailureTarget", "Complete") is not None:
            return
        await clock.sleep(0.1)
