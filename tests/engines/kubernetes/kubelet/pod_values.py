"""Values of a container: data of ConfigMaps and Secrets, variables and a command line, as on a real node."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence

from tests.engines.kubernetes.kubelet.api import Api
from tests.engines.kubernetes.rest import ApiError, Object

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")


class SourceMissing(Exception):
    """An object or a key that a pod needs is not there."""


async def data_of(api: Api, kind: str, namespace: str, name: str, *, optional: bool = False) -> Mapping[str, bytes]:
    """The data of a `configmap` or `secret`; none if it is not there but optional. Raises SourceMissing."""
    try:
        found = await api.request("GET", f"/api/v1/namespaces/{namespace}/{kind}s/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        if optional:
            return {}
        raise SourceMissing(f'{kind} "{name}" not found') from error
    data = found.get("data") or {}
    return {key: b64decode(value) if kind == "secret" else value.encode() for key, value in data.items()}


async def environment(api: Api, pod: Object, container: Object, address: str) -> dict[str, str]:
    """The variables that the pod gives a container. Raises SourceMissing for a value that is not there."""
    namespace = pod["metadata"]["namespace"]
    found = dict[str, str]()
    for group in container.get("envFrom", []):
        for kind in ("configMap", "secret"):
            if told := group.get(f"{kind}Ref"):
                optional = told.get("optional", False)
                data = await data_of(api, kind.lower(), namespace, told["name"], optional=optional)
                found |= {key: value.decode() for key, value in data.items()}
    for item in container.get("env", []):
        origin = item.get("valueFrom")
        if origin is None:
            # It may use what stands before it.
            found[item["name"]] = expanded(str(item.get("value", "")), found)
        elif told := origin.get("fieldRef"):
            found[item["name"]] = field(pod, told["fieldPath"], address)
        elif (value := await _value(api, namespace, origin)) is not None:
            found[item["name"]] = value
    return found


async def _value(api: Api, namespace: str, origin: Object) -> str | None:
    kind = "secret" if "secretKeyRef" in origin else "configMap"
    told = origin[f"{kind}KeyRef"]
    optional = told.get("optional", False)
    data = await data_of(api, kind.lower(), namespace, told["name"], optional=optional)
    if told["key"] in data:
        return data[told["key"]].decode()
    if optional:
        return None
    raise SourceMissing(f"couldn't find key {told['key']} in {kind} {namespace}/{told['name']}")


def field(pod: Object, path: str, address: str) -> str:
    """The values of a pod's own fields. address: of the pod and its node. Raises SourceMissing for a path not known."""
    meta, spec = pod["metadata"], pod["spec"]
    known = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec["nodeName"],
        "status.podIP": address,
        "status.hostIP": address,
    }
    if path not in known:
        raise SourceMissing(f"fieldPath {path} is not supported")
    return str(known[path])


def expanded(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by what it stands for; a name that is not known stays, and `$$` is a dollar sign."""

    def replaced(found: re.Match[str]) -> str:
        return "$" if found[1] is None else values.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)


def command_line(container: Object, entry_point: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """What runs: `command` replaces the image's entry point, `args` follows."""
    given = container.get("command")
    first = [expanded(word, values) for word in given] if given else list(entry_point)
    return first + [expanded(word, values) for word in container.get("args", [])]
