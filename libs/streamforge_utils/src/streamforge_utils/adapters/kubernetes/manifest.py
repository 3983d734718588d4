"""From a job to the manifest of the Kubernetes Job that runs it. Pure; the shipped examples come from here too.

No value that is secret gets into a manifest: what holds one is named by reference, or refused.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.names import LABEL_LIMIT, fit
from streamforge_utils.ports.basket_members import BASKET, BASKET_REPORT, divided, written
from streamforge_utils.ports.job_settings import KubernetesSettings, Pair, SecretKey, bytes_of, memory_of
from streamforge_utils.ports.launcher import JobSpec

APP: Final = "streamforge"
MANAGER: Final = "queue-manager"
QUEUE_LABEL: Final = "queue_id"
TARGET_LABEL: Final = "streamforge.io/target"
ATTEMPT_LABEL: Final = "streamforge.io/attempt"
MANAGED_LABEL: Final = "app.kubernetes.io/managed-by"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
QUEUE_ANNOTATION: Final = "streamforge.io/queue-id"
MEMBERS: Final = "streamforge.io/members"
"""Of a basket: as a label how many members it has, as an annotation who they are."""

METRICS_PORT: Final = 8000
REPORT_PATH: Final = "/dev/termination-log"
"""What is written there is the last message of the container in the status of its pod: Kubernetes' own default."""

CA_FOLDER: Final = "/etc/streamforge"
CACHE_FOLDER: Final = "/var/cache/streamforge"
_CA_SETTINGS: Final = {
    "KAFKA_CA_PATH": "STREAMFORGE_K8S_KAFKA_CA_SECRET",
    "STREAMFORGE_ARANGO_CA_PATH": "STREAMFORGE_K8S_ARANGO_CA_SECRET",
    "STREAMFORGE_STREAM_CA_PATH": "STREAMFORGE_K8S_STREAM_CA_SECRET",
}
"""The variables that name a file with a CA, and the settings that say in which Secret it lies for the workers."""
USER_ID: Final = 1001
"""The user of the images: not root, as the Pod Security Standard *restricted* requires it."""

_ANALYST_REQUEST, _ANALYST_LIMIT = "512Mi", "3Gi"
"""What an analyst is sure of, and may take: a network learns in a few processes, each with torch."""

LONGEST_NAME: Final = 63
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_TELLTALE = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|PRIVATE_KEY)", re.IGNORECASE)
_FIRST = ("QUEUE_ID", "SYMBOL", "TYPE", "TIME_RANGE", "INTERVAL", "KAFKA_TOPIC", "COLLECTION_NAME")
"""The variables that a reader of a manifest looks for."""

_GRACE_LEAST_S = 30
_GRACE_MARGIN_S = 10
_STOP_GRACE = "STREAMFORGE_STOP_GRACE_SECONDS"
_LEAVING = "STREAMFORGE_LEAVING_SECONDS"
_SCRATCH_MIB = 64
"""What a worker may keep on its node's disk, in MiB."""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """The common part of all Jobs of an installation.

    version: of the images, where the settings name none. instance: of the manager that owns the Jobs; it looks at no
    others. Empty: made by hand. values: variables that all workers get, before those of the job, and beside those of
    the settings. secret_names: variables that hold a secret, under any name. command: instead of the image's;
    arguments: after it.
    """

    settings: KubernetesSettings = KubernetesSettings()
    namespace: str = "stf"
    version: str = "latest"
    instance: str = ""
    values: Mapping[str, str] = {}
    secret_names: frozenset[str] = frozenset()
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def all_values(self) -> dict[str, str]:
        """The variables that all workers get."""
        return {**self.values, **_mapping(self.settings.values)}

    def image(self, target: str, image: str | None) -> str:
        """The job's own image, else the one named for its target, else `REGISTRY/TARGET:VERSION`."""
        named = image or _mapping(self.settings.images).get(target)
        version = self.settings.image_version or self.version
        return named or f"{self.settings.image_registry.rstrip('/')}/{target}:{version}"


class NamedMember(msgspec.Struct, frozen=True, array_like=True):
    """A job of a basket, as the annotation of its Job names it."""

    job: str
    queue_id: str
    attempt: int


_members = msgspec.json.Decoder(list[NamedMember])


def job_manifest(spec: JobSpec, template: Template) -> dict[str, Any]:
    """The Job that runs `spec`. Raises ConfigError for what can be in no manifest: a secret, or an illegal name."""
    labels = {
        QUEUE_LABEL: label_of(spec.queue_id),
        TARGET_LABEL: label_of(spec.target),
        ATTEMPT_LABEL: str(spec.attempt),
    }
    return _manifest(spec, template, labels, {QUEUE_ANNOTATION: spec.queue_id})


def basket_manifest(specs: Sequence[JobSpec], template: Template) -> dict[str, Any]:
    """The Job whose one pod does all of these jobs, of one target and image. Raises as `job_manifest`.

    Its name follows from theirs.
    """
    first, names = specs[0], sorted(spec.name for spec in specs)
    common, members = divided({spec.name: _own_values(spec, template) for spec in specs})
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    process = msgspec.structs.replace(
        first,
        name=f"basket-{fit(first.target, 40, 'a-z0-9-')}-{digest}",
        queue_id="",
        attempt=0,
        environment={**common, BASKET: written(members), BASKET_REPORT: REPORT_PATH},
    )
    # Monitors find workers by `queue_id`, which has no room for many.
    labels = {QUEUE_LABEL: "", TARGET_LABEL: label_of(first.target), MEMBERS: str(len(specs))}
    named = [NamedMember(spec.name, spec.queue_id, spec.attempt) for spec in specs]
    annotations = {QUEUE_ANNOTATION: "", MEMBERS: msgspec.json.encode(named).decode()}
    return _manifest(process, template, labels, annotations, members=len(specs))


def named_members(annotation: str) -> list[NamedMember]:
    """Those that the annotation of a Job or pod names; none where it is that of one job."""
    try:
        return _members.decode(annotation or "[]")
    except msgspec.MsgspecError:  # somebody has written into it
        return []


def _manifest(
    spec: JobSpec, template: Template, labels: Mapping[str, str], annotations: Mapping[str, str], members: int = 1
) -> dict[str, Any]:
    common = {"app": APP, **labels}
    if template.instance:
        common |= {MANAGED_LABEL: MANAGER, INSTANCE_LABEL: template.instance}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": _checked(spec.name),
            "namespace": template.namespace,
            "labels": common,
            "annotations": annotations,
        },
        "spec": {
            # The manager makes the next attempt: a pod that is replaced behind its back would share the attempt.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            **_deadline(spec, template),
            "ttlSecondsAfterFinished": template.settings.ttl_seconds,
            "template": {
                "metadata": {"labels": common, "annotations": annotations},
                "spec": _pod_spec(spec, template, members),
            },
        },
    }


def _deadline(spec: JobSpec, template: Template) -> dict[str, int]:
    return {} if spec.endless else {"activeDeadlineSeconds": template.settings.deadline_seconds}


def pod_manifest(spec: JobSpec, template: Template) -> dict[str, Any]:
    """The same as a pod alone, for a look by hand."""
    job = job_manifest(spec, template)
    pod = {**job["spec"]["template"]["spec"], **_deadline(spec, template)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": job["metadata"], "spec": pod}


def label_of(queue_id: str) -> str:
    """The queue_id itself where it is a legal label value, else what is legal of it with a hash of the whole."""
    if len(queue_id) <= LABEL_LIMIT and _LABEL.fullmatch(queue_id):
        return queue_id
    return fit(queue_id, LABEL_LIMIT, "A-Za-z0-9._-") if queue_id else ""


def _pod_spec(spec: JobSpec, template: Template, members: int) -> dict[str, Any]:
    volumes, mounts = _volumes(spec, template, members)
    least, most = template.settings.memory_request, template.settings.memory_limit
    if spec.analyst:
        least, most = (
            _larger(least, _ANALYST_REQUEST),
            template.settings.analyst_memory or _larger(most, _ANALYST_LIMIT),
        )
    request, limit = (_memory(amount, template, members) for amount in (least, most))
    limits = _quantities(template.settings.cpu_limit, limit)
    container: dict[str, Any] = {
        "name": label_of(spec.target),
        "image": template.image(spec.target, spec.image),
        "env": _environment(spec, template),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "resources": {
            "requests": {
                **_quantities(template.settings.cpu_request, request),
                **_disk_request(spec, template),
            },
            **({"limits": limits} if limits else {}),
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # The last lines of a worker that fails show why, also where it sent no event.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    if template.command:
        container["command"] = list(template.command)
    if template.arguments:
        container["args"] = list(template.arguments)
    sources: list[dict[str, Any]] = [{"configMapRef": {"name": name}} for name in template.settings.config_maps]
    sources += [{"secretRef": {"name": name}} for name in template.settings.secrets]
    if sources:
        container["envFrom"] = sources
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace_s(spec, template),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if template.settings.node_selector:
        pod["nodeSelector"] = _mapping(template.settings.node_selector)
    if template.settings.priority_class:
        pod["priorityClassName"] = template.settings.priority_class
    if template.settings.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in template.settings.pull_secrets]
    return pod


def _environment(spec: JobSpec, template: Template) -> list[dict[str, Any]]:
    values = {**spec.environment, **template.all_values, **_cache_values(spec, template)}
    if spec.stream:
        values[_LEAVING] = str(template.settings.eviction_seconds)
    cas = _cas(template)
    for name, (_, folder, key) in cas.items():
        values[name] = f"{folder}/{key.key}"
    for name, setting in _CA_SETTINGS.items():
        if spec.environment.get(name) and name not in template.all_values and name not in cas:
            raise ConfigError(
                f"job {spec.name}: {name} names a file that no pod has: put the certificate into a Secret and name "
                f"that in {setting}"
            )
    references = _references(template)
    entries: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if _VARIABLE.fullmatch(name) is None:
            raise ConfigError(f"job {spec.name}: {name[:80]!r} can be the name of no variable in a pod")
        if _lies_in_secret(spec, name, template):
            continue
        # Kubernetes reads `$(NAME)` as the value of another variable, and two dollars as one.
        entries[name] = {"name": name, "value": value.replace("$", "$$")}
    for name, key in references.items():
        entries[name] = {"name": name, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}
    first = [name for name in _FIRST if name in entries]
    return [entries[name] for name in (*first, *sorted(entries.keys() - set(first)))]


def _references(template: Template) -> dict[str, SecretKey]:
    return {one.variable: one.secret for one in template.settings.secret_variables}


def _own_values(spec: JobSpec, template: Template) -> dict[str, str]:
    """What a member of a basket says itself: neither secrets nor what all workers get."""
    elsewhere = template.all_values
    return {
        name: value
        for name, value in spec.environment.items()
        if name not in elsewhere and not _lies_in_secret(spec, name, template)
    }


def _lies_in_secret(spec: JobSpec, name: str, template: Template) -> bool:
    """Whether the pod has the variable from a Secret. Raises ConfigError for one that holds a secret and has none."""
    if name in _references(template):
        return True
    if name not in template.secret_names and not _TELLTALE.search(name):
        return False
    if template.settings.secrets:
        return True  # one of those has it; a value here would go before it
    raise ConfigError(
        f"job {spec.name}: {name} holds a secret, which gets into no manifest: put it into a Secret and name "
        f"that in STREAMFORGE_K8S_SECRET_ENV ({name}=SECRET/KEY) or in STREAMFORGE_K8S_WORKER_SECRETS"
    )


def _cas(template: Template) -> dict[str, tuple[str, str, SecretKey]]:
    """By the variable that names the file: what the CA is called, the folder it is mounted in, and where it lies."""
    found = {
        "KAFKA_CA_PATH": ("kafka", template.settings.kafka_ca),
        "STREAMFORGE_ARANGO_CA_PATH": ("arangodb", template.settings.arango_ca),
        "STREAMFORGE_STREAM_CA_PATH": ("streams", template.settings.stream_ca),
    }
    return {name: (whose, f"{CA_FOLDER}/{whose}", key) for name, (whose, key) in found.items() if key is not None}


def _volumes(spec: JobSpec, template: Template, members: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    size = f"{_SCRATCH_MIB * members}Mi"
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {"sizeLimit": size}}]
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    for whose, mounted, key in _cas(template).values():
        items = [{"key": key.key, "path": key.key}]
        # The whole folder, not a file in it: only so a renewed certificate appears in pods that run.
        volumes.append({"name": f"{whose}-ca", "secret": {"secretName": key.name, "items": items}})
        mounts.append({"name": f"{whose}-ca", "mountPath": mounted, "readOnly": True})
    folder = {**spec.environment, **template.all_values}.get("STREAMFORGE_DATA_DIR")
    if template.settings.data_claim and folder:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": template.settings.data_claim}})
        mounts.append({"name": "data", "mountPath": folder})
    if spec.archive:
        claim, size = template.settings.archive_claim, template.settings.archive_cache
        kept = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {"sizeLimit": size}}
        volumes.append({"name": "cache", **kept})
        mounts.append({"name": "cache", "mountPath": CACHE_FOLDER})
    return volumes, mounts


def _cache_values(spec: JobSpec, template: Template) -> dict[str, str]:
    """Where a loader of the archive keeps its files. What a manager has set is for a folder of its own machine."""
    if not spec.archive:
        return {}
    # A pod whose volume outgrows its size is evicted: files under way come on top of those that are kept.
    kept = bytes_of(template.settings.archive_cache) * 3 // 4
    return {"STREAMFORGE_ARCHIVE_CACHE_DIR": f"{CACHE_FOLDER}/archive", "STREAMFORGE_ARCHIVE_CACHE_BYTES": str(kept)}


def _disk_request(spec: JobSpec, template: Template) -> dict[str, str]:
    """What such a pod takes of its node's disk, so that none is put where that room is not."""
    own = spec.archive and not template.settings.archive_claim
    return {"ephemeral-storage": template.settings.archive_cache} if own else {}


def _grace_s(spec: JobSpec, template: Template) -> int:
    """Longer than a worker takes to end in order, so that it is never cut off in the middle of that."""
    try:
        stop_s = float({**spec.environment, **template.all_values}.get(_STOP_GRACE) or 0)
        stop_s = min(stop_s, float(template.settings.deadline_seconds)) if math.isfinite(stop_s) else 0
    except ValueError:
        stop_s = 0  # it is refused, and named, by the worker
    leaving_s = template.settings.eviction_seconds if spec.stream else 0
    return max(_GRACE_LEAST_S, int(stop_s) + _GRACE_MARGIN_S) + leaving_s


def _mapping(pairs: Iterable[Pair]) -> dict[str, str]:
    return {pair.name: pair.value for pair in pairs}


def _quantities(cpu: str, memory: str) -> dict[str, str]:
    return {name: amount for name, amount in (("cpu", cpu), ("memory", memory)) if amount}


def _larger(amount: str, least: str) -> str:
    """The larger of two amounts of memory; none is named where the first one names none."""
    return least if amount and memory_of(amount) < memory_of(least) else amount


def _memory(amount: str, template: Template, members: int) -> str:
    """So much for one worker, and for each further member of a basket what it may hold."""
    if not amount or members == 1:
        return amount
    total = memory_of(amount) + (members - 1) * bytes_of(template.settings.member_memory)
    return f"{-(-total // 2**20)}Mi"


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"job name {name[:80]!r} is not legal: up to {LONGEST_NAME} small letters, digits and hyphens, none of "
            "them at an end"
        )
    return name
