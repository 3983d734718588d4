"""Makes Kubernetes Jobs, each once: of one job, or of a basket of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streamforge_utils.adapters.kubernetes.api import Api, Denials, Refused, create_refused, list_refused
from streamforge_utils.adapters.kubernetes.job_cache import CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.job_records import JobRecordStore
from streamforge_utils.adapters.kubernetes.manifest import (
    INSTANCE_LABEL,
    QUEUE_ANNOTATION,
    Template,
    basket_manifest,
    job_manifest,
)
from streamforge_utils.adapters.kubernetes.objects import JobObject
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.launcher import JobSpec

_NOT_FOUND, _CONFLICT = 404, 409

_job = msgspec.json.Decoder(JobObject)


class JobCreation:
    """Every method raises RetryableError (it may or may not have been made: ask again) or ConfigError."""

    def __init__(
        self, api: Api, template: Template, records: JobRecordStore, cache: JobCache, denials: Denials, clock: Clock
    ) -> None:
        self._api: Final = api
        self._template: Final = template
        self._records: Final = records
        self._cache: Final = cache
        self._denials: Final = denials
        self._clock: Final = clock
        self._asked: dict[str, str] = {}
        """The baskets that were asked for without an answer, by the names of their members."""

    async def found(self, name: str) -> CachedJob | None:
        """The job, if it was ever started."""
        basket = self._asked.get(name)
        if basket is not None and self._cache.find(name) is None:
            try:
                job = await self._get(basket)
            except Refused as refused:
                raise list_refused(refused, self._template.namespace) from refused
            if job is not None and job.metadata.label(INSTANCE_LABEL) == self._template.instance:
                self._cache.add(job, self._clock.monotonic())
        self._asked.pop(name, None)
        if (entry := self._cache.find(name)) is not None:
            return entry
        record = await self._records.find(name)
        if record is not None:  # another manager on the same store ran it
            self._cache.load([record])
        return self._cache.find(name)

    async def create(self, spec: JobSpec) -> CachedJob:
        """Make the Job of one job that was never started."""
        return await self._post(job_manifest(spec, self._template), spec)

    async def create_together(self, specs: Sequence[JobSpec]) -> CachedJob:
        """Make the Job of a basket, of whose members none was ever started."""
        manifest = basket_manifest(specs, self._template)
        name = manifest["metadata"]["name"]
        # Without an answer it is there perhaps: its members may come again in other company.
        self._asked |= {spec.name: name for spec in specs}
        entry = await self._post(manifest, msgspec.structs.replace(specs[0], name=name, queue_id=""))
        for spec in specs:
            self._asked.pop(spec.name, None)
        return entry

    async def _post(self, manifest: Mapping[str, Any], spec: JobSpec) -> CachedJob:
        try:
            answer = await self._api.call(
                "POST", self._api.jobs_path, query={"fieldValidation": "Strict"}, body=manifest
            )
        except Refused as refused:
            if refused.status != _CONFLICT or refused.reason != "AlreadyExists":
                raise self._create_refused(refused, spec) from refused
            return await self._there_already(spec)
        self._denials.over()
        return self._cache.add(_job.decode(answer), self._clock.monotonic())

    async def _there_already(self, spec: JobSpec) -> CachedJob:
        try:
            job = await self._get(spec.name)
        except Refused as refused:
            raise self._create_refused(refused, spec) from refused
        if job is None:
            raise RetryableError(f"job {spec.name} was there and is gone: ask again")
        owner = job.metadata.annotation(QUEUE_ANNOTATION)
        if owner != spec.queue_id or job.metadata.label(INSTANCE_LABEL) != self._template.instance:
            raise ConfigError(
                f"job {spec.name} is there already in namespace {self._template.namespace} and is not this manager's "
                f"(it belongs to workflow {owner or 'unknown'!r}): delete it if it is not needed"
            )
        return self._cache.add(job, self._clock.monotonic())

    async def _get(self, name: str) -> JobObject | None:
        """The Job; None: it is not there. Raises Refused, too."""
        try:
            return _job.decode(await self._api.call("GET", f"{self._api.jobs_path}/{name}"))
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise

    def _create_refused(self, refused: Refused, spec: JobSpec) -> StreamForgeError:
        return self._denials.error_of(refused, create_refused(refused, spec, self._template.namespace))
