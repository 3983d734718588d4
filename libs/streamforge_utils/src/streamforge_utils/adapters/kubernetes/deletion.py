"""Having the API server delete a job's Kubernetes Job and pods: in order, and by force where a node does not answer."""

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


class Deletions:
    """What was asked to be deleted, and since when."""

    def __init__(self, api: Api, cache: JobCache, clock: Clock) -> None:
        self._api = api
        self._cache = cache
        self._clock = clock
        self._asked: dict[str, float] = {}

    async def job(self, entry: CachedJob) -> bool:
        """Have its Job deleted and, in the background, its pods; whether it is gone. Its pods end in order.

        Raises RetryableError.
        """
        body = {"propagationPolicy": "Background", "preconditions": {"uid": entry.uid}}
        try:
            await self._api.call("DELETE", f"{self._api.jobs_path}/{entry.name}", body=body)
        except Refused as refused:
            # Not found, or another one by the same name: this one is gone.
            if refused.status in (_NOT_FOUND, _CONFLICT):
                entry.gone = True
                self._cache.touch(entry)
                return True
            raise RetryableError(f"job {entry.name} cannot be deleted: {refused}") from refused
        return False

    async def pod(self, pod: PodObject, grace_s: int) -> None:
        """Have a pod deleted; by force where that was asked for long ago. Raises RetryableError."""
        now = self._clock.monotonic()
        first = self._asked.setdefault(pod.metadata.uid, now)
        # No answer from its node: nobody can tell whether it runs. Its attempt is fenced, so it does no harm.
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
            self.over(pod.metadata.uid)
            if refused.status == _NOT_FOUND:
                self._cache.pods.removed(pod)

    def over(self, *uids: str) -> None:
        """These pods are gone or have ended."""
        for uid in uids:
            self._asked.pop(uid, None)
