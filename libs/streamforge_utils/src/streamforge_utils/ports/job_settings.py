"""Settings of what runs the workers: processes of this machine, or Jobs of a Kubernetes cluster."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from streamforge_utils.model.environment_variable import variable

KUBERNETES, PROCESS = "kubernetes", "process"
LAUNCHER = "STREAMFORGE_LAUNCHER"

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_SIZE = re.compile(r"([0-9]{1,15})(k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS = {
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_LEAST_CACHE = 64 * _UNITS["Mi"]
_OF_CACHE = ("STREAMFORGE_ARCHIVE_CACHE_DIR", "STREAMFORGE_ARCHIVE_CACHE_BYTES")


class Pair(msgspec.Struct, frozen=True):
    """A name with its value."""

    name: str
    value: str

    setting_form = "NAME=VALUE"

    @classmethod
    def parse_setting(cls, text: str) -> Pair:
        """Read `NAME=VALUE`. Raises ValueError."""
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise ValueError(f"{text[:80]!r} has not the form NAME=VALUE")
        return cls(name.strip(), value.strip())


class SecretKey(msgspec.Struct, frozen=True):
    """A key of a Secret."""

    name: str
    key: str

    setting_form = "SECRET/KEY"

    @classmethod
    def parse_setting(cls, text: str) -> SecretKey:
        """Read `SECRET/KEY`. Raises ValueError."""
        name, _, key = text.partition("/")
        if not _OBJECT.fullmatch(name) or not _KEY.fullmatch(key):
            raise ValueError(f"{text[:80]!r} has not the form SECRET/KEY")
        return cls(name, key)


class SecretVariable(msgspec.Struct, frozen=True):
    """A variable whose value is a key of a Secret."""

    variable: str
    secret: SecretKey

    setting_form = "VARIABLE=SECRET/KEY"

    @classmethod
    def parse_setting(cls, text: str) -> SecretVariable:
        """Read `VARIABLE=SECRET/KEY`. Raises ValueError."""
        pair = Pair.parse_setting(text)
        if not _VARIABLE.fullmatch(pair.name):
            raise ValueError(f"{pair.name[:80]!r} is the name of no variable")
        return cls(pair.name, SecretKey.parse_setting(pair.value))


def _namespace(text: str) -> str:
    if not _DNS_LABEL.fullmatch(text):
        raise ValueError("it is the name of no namespace: small letters, digits and hyphens only")
    return text


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise ValueError("it is no quantity as Kubernetes writes them, such as 250m or 512Mi")
    return text


def _size(text: str) -> str:
    bytes_of(text)
    return text


def _cache_size(text: str) -> str:
    if bytes_of(text) < _LEAST_CACHE:
        raise ValueError("too few days fit into it: 64Mi or more")
    return text


def bytes_of(size: str) -> int:
    """The bytes of a volume's size as Kubernetes writes it: `2Gi`, `500M`. Raises ValueError."""
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ValueError("it is no size of a volume as Kubernetes writes them, such as 512Mi or 20Gi")
    return int(found[1]) * _UNITS.get(found[2] or "", 1)


def memory_of(quantity: str) -> int:
    """The bytes of an amount of memory as Kubernetes writes it: `512Mi`, `0.5G`. Raises ValueError."""
    unit = _quantity(quantity).lstrip("0123456789.")
    return math.ceil(float(quantity.removesuffix(unit)) * (0.001 if unit == "m" else _UNITS.get(unit, 1)))


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which cluster, and what the Jobs in it are like."""

    namespace: Annotated[
        str,
        variable(
            "K8S_NAMESPACE",
            "the namespace of the workers' Jobs",
            default="in a pod its own, else that of the kubeconfig's context, else `stf`",
            check=_namespace,
        ),
    ] = ""
    kubeconfig: Annotated[
        str,
        variable(
            "KUBECONFIG",
            "how the cluster is reached, as for kubectl",
            default="in a pod its ServiceAccount, else `~/.kube/config`",
        ),
    ] = ""
    context: Annotated[
        str, variable("STREAMFORGE_K8S_CONTEXT", "a context of the kubeconfig", default="its current one")
    ] = ""
    image_registry: Annotated[
        str,
        variable("STREAMFORGE_IMAGE_REGISTRY", "where the workers' images lie: `REGISTRY/TARGET:VERSION`"),
    ] = "registry.dmz.home/streamforge"
    image_version: Annotated[
        str,
        variable("STREAMFORGE_IMAGE_VERSION", "the version of the workers' images", default="that of this program"),
    ] = ""
    images: Annotated[
        tuple[Pair, ...],
        variable("STREAMFORGE_IMAGES", "other images for single targets, `TARGET=IMAGE` each"),
    ] = ()
    pull_secrets: Annotated[
        tuple[str, ...],
        variable("STREAMFORGE_IMAGE_PULL_SECRETS", "Secrets with the registry's login, e.g. `regcred`"),
    ] = ()
    node_selector: Annotated[
        tuple[Pair, ...],
        variable(
            "STREAMFORGE_K8S_NODE_SELECTOR", "labels of the nodes that workers run on, e.g. `streamforge-worker=true`"
        ),
    ] = ()
    priority_class: Annotated[str, variable("STREAMFORGE_K8S_PRIORITY_CLASS", "the PriorityClass of the workers")] = ""
    config_maps: Annotated[
        tuple[str, ...],
        variable(
            "STREAMFORGE_K8S_WORKER_CONFIGMAPS",
            "ConfigMaps whose keys become variables of the workers",
        ),
    ] = ()
    secrets: Annotated[
        tuple[str, ...],
        variable("STREAMFORGE_K8S_WORKER_SECRETS", "Secrets whose keys become variables of the workers"),
    ] = ()
    secret_variables: Annotated[
        tuple[SecretVariable, ...],
        variable(
            "STREAMFORGE_K8S_SECRET_ENV",
            "variables of the workers whose value is in a Secret, e.g. `KAFKA_PASSWORD=user-streamforge/password`",
        ),
    ] = ()
    values: Annotated[
        tuple[Pair, ...],
        variable(
            "STREAMFORGE_K8S_WORKER_ENV",
            "variables of the workers, before what the manager gives them, e.g. `KAFKA_USER=user-streamforge-worker`",
            unseen=True,  # somebody may have written a password into it
        ),
    ] = ()
    kafka_ca: Annotated[
        SecretKey | None,
        variable(
            "STREAMFORGE_K8S_KAFKA_CA_SECRET",
            "where workers find the CA of Kafka's brokers, e.g. `streamforge-cluster-ca-cert/ca.crt`",
        ),
    ] = None
    arango_ca: Annotated[
        SecretKey | None,
        variable(
            "STREAMFORGE_K8S_ARANGO_CA_SECRET",
            "where workers find the CA of ArangoDB, e.g. `arangodb-ca/ca.crt`",
        ),
    ] = None
    stream_ca: Annotated[
        SecretKey | None,
        variable(
            "STREAMFORGE_K8S_STREAM_CA_SECRET",
            "where workers find the CA of the exchange's streams, if it is not a system CA",
        ),
    ] = None
    data_claim: Annotated[
        str,
        variable(
            "STREAMFORGE_K8S_DATA_CLAIM",
            "a PersistentVolumeClaim with the data directory of the embedded bus and store, on the manager's node",
        ),
    ] = ""
    archive_cache: Annotated[
        str,
        variable(
            "STREAMFORGE_K8S_ARCHIVE_CACHE",
            "the volume for the archive's files in a pod that loads them, on its node; three quarters hold files",
            check=_cache_size,
        ),
    ] = "2Gi"
    archive_claim: Annotated[
        str,
        variable(
            "STREAMFORGE_K8S_ARCHIVE_CLAIM",
            "a PersistentVolumeClaim that keeps these files instead, and that such pods share",
            default="a volume for each pod",
        ),
    ] = ""
    cpu_request: Annotated[
        str, variable("STREAMFORGE_K8S_CPU_REQUEST", "CPU that a worker is sure of", check=_quantity)
    ] = "100m"
    cpu_limit: Annotated[
        str,
        variable("STREAMFORGE_K8S_CPU_LIMIT", "CPU that a worker gets at most", default="no limit", check=_quantity),
    ] = ""
    memory_request: Annotated[
        str, variable("STREAMFORGE_K8S_MEMORY_REQUEST", "memory that a worker is sure of", check=_quantity)
    ] = "128Mi"
    memory_limit: Annotated[
        str, variable("STREAMFORGE_K8S_MEMORY_LIMIT", "memory beyond which a worker is killed", check=_quantity)
    ] = "512Mi"
    analyst_memory: Annotated[
        str,
        variable(
            "STREAMFORGE_K8S_ANALYST_MEMORY",
            "memory beyond which a worker is killed that makes graphs or models of what is stored",
            default="`3Gi`, or `STREAMFORGE_K8S_MEMORY_LIMIT` where that is more",
            check=_quantity,
        ),
    ] = ""
    member_memory: Annotated[
        str,
        variable(
            "STREAMFORGE_K8S_MEMBER_MEMORY",
            "memory that each further loader of a basket adds to what its pod is sure of, and to its limit",
            check=_size,
        ),
    ] = "32Mi"
    deadline_seconds: Annotated[
        int,
        msgspec.Meta(ge=1),
        variable(
            "STREAMFORGE_K8S_DEADLINE_SECONDS", "a worker that runs longer is ended by Kubernetes", unit="seconds"
        ),
    ] = 86_400
    eviction_seconds: Annotated[
        int,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_K8S_EVICTION_SECONDS",
            "how long a loader of a live series whose pod is being ended goes on, so that another attempt can take its "
            "place without a gap",
            unit="seconds",
        ),
    ] = 60
    ttl_seconds: Annotated[
        int,
        msgspec.Meta(ge=0),
        variable("STREAMFORGE_K8S_TTL_SECONDS", "how long a Job that ended stays to be looked at", unit="seconds"),
    ] = 3600

    def problems(self) -> list[str]:
        """Names that Kubernetes does not take, each with the variable to change."""
        found = [
            f"STREAMFORGE_K8S_NODE_SELECTOR: {pair.name}={pair.value} is no label of a node"
            for pair in self.node_selector
            if not _LABEL_KEY.fullmatch(pair.name) or not _LABEL_VALUE.fullmatch(pair.value)
        ]
        found += [
            f"STREAMFORGE_K8S_WORKER_ENV: {pair.name[:80]!r} is the name of no variable"
            for pair in self.values
            if not _VARIABLE.fullmatch(pair.name)
        ]
        found += [
            f"STREAMFORGE_K8S_WORKER_ENV: {pair.name} follows from the volume that pods get: set its size in "
            "STREAMFORGE_K8S_ARCHIVE_CACHE, or name a claim in STREAMFORGE_K8S_ARCHIVE_CLAIM"
            for pair in self.values
            if pair.name in _OF_CACHE
        ]
        for name, objects in (
            ("STREAMFORGE_K8S_ARCHIVE_CLAIM", (self.archive_claim,) if self.archive_claim else ()),
            ("STREAMFORGE_K8S_WORKER_CONFIGMAPS", self.config_maps),
            ("STREAMFORGE_K8S_WORKER_SECRETS", self.secrets),
            ("STREAMFORGE_IMAGE_PULL_SECRETS", self.pull_secrets),
        ):
            found += [f"{name}: {one[:80]!r} is the name of no object" for one in objects if not _OBJECT.fullmatch(one)]
        return found


class LauncherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What runs the workers."""

    kind: Annotated[
        Literal["process", "kubernetes"] | None,
        variable(
            LAUNCHER,
            "what runs the workers: processes of this machine, or Jobs of a Kubernetes cluster; the variables below "
            "count for the latter",
            default="`process`; queue-manager in a pod: `kubernetes`",
        ),
    ] = None
    kubernetes: KubernetesSettings = KubernetesSettings()

    @property
    def in_kubernetes(self) -> bool:
        """Whether workers are Jobs."""
        return self.kind == KUBERNETES

    def problems(self) -> list[str]:
        """What does not go together, each with the variable to change."""
        found = []
        if self.kubernetes.namespace and self.kind is None:
            found.append(f"K8S_NAMESPACE is set, but {LAUNCHER} is not: set it to {KUBERNETES} to run workers there")
        return found


OUT_OF_REACH = "bus and store are the embedded ones in {folder}, and pods elsewhere do not see that folder"
REACH_STEP = "name brokers in KAFKA_BOOTSTRAP_SERVERS; on one node, a claim in STREAMFORGE_K8S_DATA_CLAIM"
"""Why workers in pods may not work whose bus and store are files of the manager's machine, and what to do about it."""


def with_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, saying also what runs the workers where it does not: in a pod of a cluster, Jobs of that cluster."""
    if environ.get(LAUNCHER) or not environ.get("KUBERNETES_SERVICE_HOST"):
        return dict(environ)
    return {**environ, LAUNCHER: KUBERNETES}
