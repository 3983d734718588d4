"""Examines whether Jobs could be run: the cluster, the rights, admission, and the objects that workers refer to."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import msgspec

from streamforge_utils.adapters.kubernetes.api import Api, Refused, create_refused
from streamforge_utils.adapters.kubernetes.manifest import Template, job_manifest, pod_manifest
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.ports.launcher import JobSpec
from streamforge_utils.ports.provisioning import Finding

_PATIENCE_S: Final = 3.0
_FORBIDDEN, _NOT_FOUND = 403, 404
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Ask for no content: that an object is there can be seen without reading it."""

_DRY = {"dryRun": "All", "fieldValidation": "Strict"}


class Right(msgspec.Struct, frozen=True):
    """A right to do something with objects of one kind. resource: with its part, as `pods/log`."""

    group: str
    resource: str
    verbs: tuple[str, ...]


RIGHTS: Final = (
    # Each attempt of a step is a Job, whose pods show how it ends; their logs and the events say why.
    Right("batch", "jobs", ("create", "get", "list", "watch", "delete")),
    Right("", "pods", ("list", "watch", "delete")),
    Right("", "pods/log", ("get",)),
    Right("", "events", ("list",)),
)
"""The rights that a manager needs in its namespace: the Role that ships gives no others."""


class _Version(msgspec.Struct, frozen=True, rename={"version": "gitVersion"}):
    version: str = "unknown"


class _Review(msgspec.Struct, frozen=True):
    class Status(msgspec.Struct, frozen=True):
        allowed: bool = False

    status: Status = Status()


class _Keys(msgspec.Struct, frozen=True):
    """Of a Secret its keys; the values are passed over."""

    data: dict[str, msgspec.Raw] | None = None


class KubernetesExaminer:
    """Checks whether Jobs could run in a cluster. template: of the Jobs. environment: of every worker."""

    def __init__(self, template: Template, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment or {}
        self._api = Api(template.settings, clock=SystemClock(), observer=NullObserver(), patience_s=_PATIENCE_S)
        self._template = template

    async def examine(self) -> AsyncIterator[Finding]:
        """The findings, as they come. Raises ConfigError or RetryableError."""
        endpoint = await self._api.endpoint()
        self._template = msgspec.structs.replace(self._template, namespace=endpoint.namespace)
        version = msgspec.json.decode(await self._api.call("GET", "/version"), type=_Version).version
        yield _works("launcher", f"Kubernetes {version} at {endpoint.where}, namespace {endpoint.namespace}")
        yield await self._rights()
        yield await self._jobs()
        yield await self._objects()

    async def close(self) -> None:
        """Release what it holds."""
        await self._api.close()

    async def _rights(self) -> Finding:
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        asked = list(_reviews(self._template.namespace))
        answers = await asyncio.gather(*(self._api.call("POST", path, body=body) for _, _, body in asked))
        missing = [
            f"{verb} {resource}"
            for (verb, resource, _), answer in zip(asked, answers, strict=True)
            if not msgspec.json.decode(answer, type=_Review).status.allowed
        ]
        if not missing:
            return _works("rights", "may " + ", ".join(f"{'/'.join(one.verbs)} {one.resource}" for one in RIGHTS))
        return _fails(
            "rights",
            f"may not {', may not '.join(missing)} in namespace {self._template.namespace}",
            "give these rights to who asks, by a Role and a RoleBinding",
        )

    async def _jobs(self) -> Finding:
        """Whether a Job and its pod would be let in; nothing is made."""
        namespace = self._template.namespace
        spec = JobSpec(
            name=f"job-doctor-{secrets.token_hex(4)}",
            target="dummy-service",
            queue_id="doctor",
            attempt=1,
            environment=self._environment,
        )
        template = msgspec.structs.replace(self._template, instance="doctor")
        warnings: list[str] = []
        try:
            manifest = job_manifest(spec, template)
            path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
            await self._api.call("POST", path, query=_DRY, body=manifest, warnings=warnings)
        except Refused as refused:
            return _fails("jobs", str(create_refused(refused, spec, namespace)))
        except StreamForgeError as error:
            return _fails("jobs", str(error))
        refused_by = [warning for warning in warnings if "PodSecurity" in warning]
        asked = False
        try:
            pod = pod_manifest(msgspec.structs.replace(spec, name=f"{spec.name}-pod"), template)
            await self._api.call("POST", f"/api/v1/namespaces/{namespace}/pods", query=_DRY, body=pod)
            asked = True
        except Refused as refused:
            # A manager makes no pods itself, so it may lack that right: then the warnings are what there is.
            if "cannot create resource" not in refused.message:
                refused_by.append(refused.message)
        except StreamForgeError as error:
            return _fails("jobs", str(error))
        if refused_by:
            return _fails(
                "jobs",
                f"a Job can be made, but its pod would not be let in: {'; '.join(refused_by)[:500]}",
                "see to what the reason names; the workers keep to the Pod Security Standard *restricted*",
            )
        how = "" if asked else " (as far as the namespace warns; to ask for a pod itself is not allowed here)"
        return _works("jobs", f"a Job and its pod would be let in{how}")

    async def _objects(self) -> Finding:
        """Whether what the workers refer to is there."""
        settings = self._template.settings
        wanted: dict[tuple[str, str], set[str]] = {("configmaps", name): set() for name in settings.config_maps}
        for name in (*settings.secrets, *settings.pull_secrets):
            wanted["secrets", name] = set()
        cas = (settings.kafka_ca, settings.arango_ca, settings.stream_ca)
        for key in (*(one.secret for one in settings.secret_variables), *cas):
            if key is not None:
                wanted.setdefault(("secrets", key.name), set()).add(key.key)
        for claim in filter(None, (settings.data_claim, settings.archive_claim)):
            wanted["persistentvolumeclaims", claim] = set()
        if not wanted:
            return _works("secrets", "the workers refer to no Secret and no ConfigMap")
        missing, unseen, there = list[str](), list[str](), list[str]()
        for (kind, name), keys in wanted.items():
            shown = f"{kind.removesuffix('s')} {name}"
            path = f"/api/v1/namespaces/{self._template.namespace}/{kind}/{name}"
            try:
                # A Secret is read only where keys of it are named: one without them stops every pod.
                answer = await self._api.call("GET", path, accept="application/json" if keys else _METADATA)
                lacking = sorted(keys - (msgspec.json.decode(answer, type=_Keys).data or {}).keys()) if keys else []
                missing += [f"key {key} of {shown}" for key in lacking]
                there += [] if lacking else [shown]
            except Refused as refused:
                if refused.status not in (_FORBIDDEN, _NOT_FOUND):
                    return _fails("secrets", str(refused))
                (missing if refused.status == _NOT_FOUND else unseen).append(shown)
        if missing:
            return _fails(
                "secrets",
                f"not there: {', '.join(missing)} (namespace {self._template.namespace})",
                "make them, or correct the settings STREAMFORGE_K8S_… that name them",
            )
        if unseen:
            return Finding(
                part="secrets",
                verdict="careful",
                detail=f"may not get {', may not get '.join(unseen)}, so whether they are there cannot be seen",
                next_step="look with kubectl, or give the right to get these by name",
            )
        return _works("secrets", f"there: {', '.join(there)}")


def _works(part: str, detail: str) -> Finding:
    return Finding(part=part, verdict="works", detail=detail)


def _fails(part: str, detail: str, next_step: str = "") -> Finding:
    return Finding(part=part, verdict="fails", detail=detail, next_step=next_step)


def _reviews(namespace: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """For each right its verb, its resource, and the body that asks the API server for it."""
    for right in RIGHTS:
        resource, _, part = right.resource.partition("/")
        for verb in right.verbs:
            attributes = {"namespace": namespace, "verb": verb, "group": right.group}
            spec = {"resourceAttributes": {**attributes, "resource": resource, "subresource": part}}
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
            yield verb, right.resource, body
