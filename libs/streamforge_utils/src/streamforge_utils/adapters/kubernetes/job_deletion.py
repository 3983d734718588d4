"""Deletes Jobs and pods at the API server."""

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


class JobDeletion:
    """cache: hears at once of what is gone already."""

    def __init__(self, api: Api, cache: JobCache, clock: Clock) -> None:
        self._api: Final = api
        self._cache: Final = cache
        self._clock: Final = clock

    async def delete_job(self, entry: CachedJob) -> bool:
        """Have the API server delete its Job and, in the background, its pods, which end in order; whether it is gone.

        Raises RetryableError.
        """
        body = {"propagationPolicy": "Background", "preconditions": {"uid": entry.uid}}
        try:
            await self._api.call("DELETE", f"{self._api.jobs_path}/{entry.name}", body=body)
        except Refused as refused:
            # Not found, or another one by the same name: this one is gone.
            if refused.status in (_NOT_FOUND, _CONFLICT):
                entry.gone = True
                self._cache.touched(entry)
                return True
            raise RetryableError(f"job {entry.name} cannot be deleted: {refused}") from refused
        return False

    async def delete_pod(self, entry: CachedJob, pod: PodObject, grace_s: int) -> None:
        """Have the API server delete a pod; by force where that was asked for long ago. Raises RetryableError."""
        now = self._clock.monotonic()
        first = entry.deletions.setdefault(pod.metadata.uid, now)
        # Without an answer from its node nobody knows whether it runs. Its attempt is fenced, so it does no harm.
        by_force = now - first > grace_s + LOST_AFTER_S
        body = {
            "propagationPolicy": "Background",
            "preconditions": {"uid": pod.metadata.uid},
            "gracePeriodSeconds": 0 if by_force else grace_s,
        }
        try:
            await self._api.call("DELETE", f"{self._api.pods_path}/{pod.metadata.name}", body=body)
        except Refused as refused:
            if refused.status not in (_NOT_FOUND, _CONFLICT):
                raise RetryableError(f"pod {pod.metadata.name} cannot be deleted: {refused}") from refused
            if refused.status == _NOT_FOUND:
                self._cache.pods.removed(pod)
