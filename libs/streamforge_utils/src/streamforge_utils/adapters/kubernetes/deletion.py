"""Deletes a job's Kubernetes Job and pods: in order, and by force where a node does not answer."""

from __future__ import annotations

from typing import Final

from streamforge_utils.adapters.kubernetes.api import Api, Refused
from streamforge_utils.adapters.kubernetes.job_cache import CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.objects import PodObject
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import Clock

LOST_AFTER_S: Final = 60.0
"""A pod that is still there so long after its grace has a node that does not answer: it is removed by force."""

_NOT_FOUND, _CONFLICT = 404, 409


async def delete_job(api: Api, cache: JobCache, entry: CachedJob) -> bool:
    """Have the API server delete its Job and, in the background, its pods, which end in order; whether it is gone.

    Raises RetryableError.
    """
    body = {"propagationPolicy": "Background", "preconditions": {"uid": entry.uid}}
    try:
        await api.call("DELETE", f"{api.jobs_path}/{entry.name}", body=body)
    except Refused as refused:
        # Not found, or another one by the same name: this one is gone.
        if refused.status in (_NOT_FOUND, _CONFLICT):
            entry.gone = True
            cache.touched(entry)
            return True
        raise RetryableError(f"job {entry.name} cannot be deleted: {refused}") from refused
    return False


async def delete_pod(api: Api, cache: JobCache, entry: CachedJob, pod: PodObject, grace_s: int, clock: Clock) -> None:
    """Have the API server delete a pod; by force where that was asked for long ago. Raises RetryableError."""
    now = clock.monotonic()
    first = entry.deletions.setdefault(pod.metadata.uid, now)
    # Without an answer from its node nobody knows whether it runs. Its attempt is fenced, so it does no harm.
    by_force = now - first > grace_s + LOST_AFTER_S
    body = {
        "propagationPolicy": "Background",
        "preconditions": {"uid": pod.metadata.uid},
        "gracePeriodSeconds": 0 if by_force else grace_s,
    }
    try:
        await api.call("DELETE", f"{api.pods_path}/{pod.metadata.name}", body=body)
    except Refused as refused:
        if refused.status not in (_NOT_FOUND, _CONFLICT):
            raise RetryableError(f"pod {pod.metadata.name} cannot be deleted: {refused}") from refused
        if refused.status == _NOT_FOUND:
            cache.pods.removed(pod)
