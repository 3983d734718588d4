"""Rules that no schema checks: pods that the level "restricted" refuses, names that lead nowhere, secrets in clear.

Each rule takes the objects of one file and yields sentences that name the object and the fault.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

Json = dict[str, Any]

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
    *("persistentVolumeClaim", "projected", "secret"),
}
"""The kinds of volumes that the Pod Security level "restricted" lets in."""
SECRETS_ELSEWHERE = {
    "user-streamforge",
    "user-streamforge-manager",
    "user-streamforge-worker",
    "user-streamforge-reader",
    "streamforge-cluster-ca-cert",
    "arangodb-ca",
    "arangodb-streamforge",
    "queue-manager-tokens",
    "streamforge-tls",
    "regcred",
}
"""The Secrets that manifests may name: made by Strimzi, by kube-arangodb, or by hand as the deployment page says."""
MAP_ELSEWHERE = "streamforge-worker"
"""The ConfigMap of the overlays that an example beside them uses."""
_REFERENCES = {
    "STREAMFORGE_IMAGE_PULL_SECRETS": re.compile(r"([^,]+)"),
    "STREAMFORGE_K8S_SECRET_ENV": re.compile(r"=([^/,]+)/"),
    "STREAMFORGE_K8S_KAFKA_CA_SECRET": re.compile(r"^([^/]+)/"),
    "STREAMFORGE_K8S_ARANGO_CA_SECRET": re.compile(r"^([^/]+)/"),
}
"""Settings that name Secrets, and how to read which."""
_TELLTALE = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|PRIVATE_KEY")
_NAMESPACELESS = {"ClusterRole", "ClusterRoleBinding", "Namespace", "PersistentVolume", "PriorityClass"}
_NAMESPACES = {"stf", "jupyterhub", "arangodb"}


def faults(objects: Sequence[Json]) -> list[str]:
    """Everything that is wrong with the objects of one file."""
    found = [*_identities(objects), *_secrets(objects), *_selectors(objects)]
    for where, metadata, spec in pods(objects):
        found += [f"{where}: {fault}" for fault in (*_restricted(spec), *_house(metadata, spec), *_inside(spec))]
    return found


def mistaken(thing: Json, path: str, value: Any) -> Json:
    """A copy of an object with another value at `path`, whose parts are names and places in lists."""
    found = copy.deepcopy(thing)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = found
    for part in parents:
        place = place[part]
    place[last] = value
    return found


def pods(objects: Sequence[Json]) -> Iterator[tuple[str, Json, Json]]:
    """The pods that the objects ask for: which object it is, their metadata and their spec."""
    for one in objects:
        where = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] == "Pod":
            yield where, one["metadata"], one["spec"]
        elif one["kind"] in ("Deployment", "Job", "StatefulSet", "DaemonSet"):
            yield where, one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"]


def containers(spec: Json) -> list[Json]:
    """Every container of a pod."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def of_kind(objects: Sequence[Json], kind: str) -> list[Json]:
    """The objects of one kind."""
    return [one for one in objects if one["kind"] == kind]


def selected(selector: Json, labels: Json) -> bool:
    """Whether a label selector takes what has `labels`."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        there = rule["key"] in labels
        taken = {
            "Exists": there,
            "DoesNotExist": not there,
            "In": labels.get(rule["key"]) in rule.get("values", []),
            "NotIn": labels.get(rule["key"]) not in rule.get("values", []),
        }[rule["operator"]]
        if not taken:
            return False
    return True


def secret_names(spec: Json) -> Iterator[str]:
    """The Secrets that a pod takes something from."""
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield volume["secret"]["secretName"]
    for one in spec.get("imagePullSecrets", []):
        yield one["name"]
    for container in containers(spec):
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"]
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield source["secretRef"]["name"]


def _identities(objects: Sequence[Json]) -> Iterator[str]:
    seen = set()
    for one in objects:
        metadata = one["metadata"]
        key = (one["kind"], metadata["name"])
        if key in seen:
            yield f"{one['kind']} {metadata['name']} is there twice"
        seen.add(key)
        if one["kind"] in _NAMESPACELESS:
            continue
        if metadata.get("namespace") not in _NAMESPACES:
            yield f"{one['kind']} {metadata['name']} is in the namespace {metadata.get('namespace')!r}, not in stf"
        if metadata.get("labels", {}).get("app") != "streamforge":
            yield f"{one['kind']} {metadata['name']} lacks the label app: streamforge"


def _secrets(objects: Sequence[Json]) -> Iterator[str]:
    for one in objects:
        if one["kind"] == "Secret":
            yield f"Secret {one['metadata']['name']}: manifests name Secrets, they hold none"
        for name, value in (one.get("data") or {}).items() if one["kind"] == "ConfigMap" else ():
            if name in _REFERENCES:
                for secret in _REFERENCES[name].findall(value):
                    if secret not in SECRETS_ELSEWHERE:
                        yield f"ConfigMap {one['metadata']['name']}: {name}: nobody makes the Secret {secret}"
            elif _TELLTALE.search(name) and name != "STREAMFORGE_TOKENS_FILE":
                yield f"ConfigMap {one['metadata']['name']}: {name} belongs into a Secret"
    for where, _, spec in pods(objects):
        for container in containers(spec):
            for variable in container.get("env", []):
                if _TELLTALE.search(variable["name"]) and "value" in variable:
                    yield f"{where}: {variable['name']} has a value in clear text"
        for name in secret_names(spec):
            if name not in SECRETS_ELSEWHERE:
                yield f"{where}: nobody makes the Secret {name}"


def _restricted(spec: Json) -> Iterator[str]:
    told = spec.get("securityContext", {})
    if told.get("runAsNonRoot") is not True or told.get("runAsUser", 1) == 0:
        yield "it may run as root"
    if told.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "it has no seccomp profile"
    yield from (f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    for volume in spec.get("volumes", []):
        yield from (f"the volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - _VOLUMES)
    for container in containers(spec):
        name, inner = container["name"], container.get("securityContext", {})
        if inner.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may gain privileges"
        if inner.get("capabilities", {}).get("drop") != ["ALL"] or inner["capabilities"].get("add"):
            yield f"{name} keeps capabilities"
        if inner.get("privileged") or inner.get("runAsUser", 1) == 0 or inner.get("runAsNonRoot", True) is not True:
            yield f"{name} is privileged or root"
        yield from (f"{name} takes a port of the host" for port in container.get("ports", []) if "hostPort" in port)


def _house(metadata: Json, spec: Json) -> Iterator[str]:
    """Beyond what the level asks for: what every pod of ours has."""
    if metadata.get("labels", {}).get("app") != "streamforge":
        yield "its pods lack the label app: streamforge: no NetworkPolicy of ours lets them do anything"
    if "automountServiceAccountToken" not in spec:
        yield "it does not say whether it gets a token of the API server"
    if spec.get("enableServiceLinks") is not False:
        yield "it gets a variable for every Service of the namespace"
    if "terminationGracePeriodSeconds" not in spec:
        yield "it does not say how long it may take to end"
    for container in containers(spec):
        name, image = container["name"], container["image"]
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{name}: the image {image} names no version"
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{name} can write to its image"
        resources = container.get("resources", {})
        asked, most = resources.get("requests", {}), resources.get("limits", {})
        if not {"cpu", "memory"} <= asked.keys() or "memory" not in most:
            yield f"{name} does not say what it needs and what it may have at most"


def _inside(spec: Json) -> Iterator[str]:
    """Names within one pod that lead nowhere, or to two things."""
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    mounted = set()
    for container in containers(spec):
        name = container["name"]
        ports = {port.get("name") for port in container.get("ports", [])}
        for mount in container.get("volumeMounts", []):
            mounted.add(mount["name"])
            if mount["name"] not in volumes:
                yield f"{name} mounts {mount['name']}, which is no volume"
            if "subPath" in mount:
                yield f"{name} mounts a subPath, which is never renewed"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if isinstance(port, str) and port not in ports:
                yield f"{name}: {probe} asks the port {port}, which is not there"
        variables = [variable["name"] for variable in container.get("env", [])]
        yield from (f"{name} sets {one} twice" for one in set(variables) if variables.count(one) > 1)
    yield from (f"the volume {one} is mounted nowhere" for one in set(volumes) - mounted)
    yield from (f"there are two volumes {one}" for one in set(volumes) if volumes.count(one) > 1)


def _selectors(objects: Sequence[Json]) -> Iterator[str]:
    """Names that lead from one object to another."""
    accounts = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")} | {"default"}
    maps = {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}
    services = {one["metadata"]["name"]: one for one in of_kind(objects, "Service")}
    for deployment in of_kind(objects, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        if not selected(deployment["spec"]["selector"], labels):
            yield f"Deployment {deployment['metadata']['name']} does not select its own pods"
        if "app" in deployment["spec"]["selector"]["matchLabels"]:
            yield f"Deployment {deployment['metadata']['name']} selects by app, which Kafka's pods carry too"
    for where, _, spec in pods(objects):
        if spec.get("serviceAccountName", "default") not in accounts:
            yield f"{where}: there is no ServiceAccount {spec['serviceAccountName']}"
        for container in containers(spec):
            for source in container.get("envFrom", []):
                if of_kind(objects, "Deployment") and "configMapRef" in source:
                    name = source["configMapRef"]["name"]
                    if name not in maps and (maps or name != MAP_ELSEWHERE):
                        yield f"{where}: there is no ConfigMap {name}"
    for name, service in services.items():
        yield from _of_service(name, service, objects)
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                yield from _leads("Ingress", services.get(backend["name"]), "name", backend["port"]["name"])
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield from _leads("HTTPRoute", services.get(backend["name"]), "port", backend["port"])
    for monitor in of_kind(objects, "ServiceMonitor"):
        found = [
            one for one in services.values() if selected(monitor["spec"]["selector"], one["metadata"].get("labels", {}))
        ]
        for endpoint in monitor["spec"]["endpoints"]:
            yield from _leads("ServiceMonitor", found[0] if found else None, "name", endpoint["port"])


def _of_service(name: str, service: Json, objects: Sequence[Json]) -> Iterator[str]:
    selector = {"matchLabels": service["spec"]["selector"]}
    behind = [spec for _, metadata, spec in pods(objects) if selected(selector, metadata.get("labels", {}))]
    if not behind:
        yield f"Service {name} selects no pod"
    for spec in behind:
        ports = {port["name"]: port["containerPort"] for one in containers(spec) for port in one.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"Service {name}: its pods have no port {port['targetPort']}"
            elif ports[port["targetPort"]] != port["port"]:
                yield f"Service {name}: {port['name']} has another number than its pods"


def _leads(kind: str, service: Json | None, key: str, wanted: Any) -> Iterator[str]:
    if service is None:
        yield f"{kind}: its Service is not there"
    elif wanted not in [port[key] for port in service["spec"]["ports"]]:
        yield f"{kind}: its Service has no port {wanted}"
