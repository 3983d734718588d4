"""What a pod can be told about itself: the downward API."""

from __future__ import annotations

import re

from tests.engines.kubernetes.kubelet.sources import SourceMissing
from tests.engines.kubernetes.rest import Object

_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def field(pod: Object, path: str, address: str) -> str:
    """The value of a fieldPath. address: of the pod and its node. Raises SourceMissing for one we do not know."""
    meta, spec = pod["metadata"], pod["spec"]
    if keyed := _KEYED.fullmatch(path):
        return str(meta.get(keyed[1], {}).get(keyed[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        found = meta.get(path.partition(".")[2], {})
        return "\n".join(f'{key}="{value}"' for key, value in sorted(found.items()))
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec["nodeName"],
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": address,
        "status.podIPs": address,
        "status.hostIP": address,
        "status.hostIPs": address,
    }
    if path not in simple:
        raise SourceMissing(f"fieldPath {path} is not supported")
    return str(simple[path])


_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "m": 10**-3}


def resource(container: Object, path: str, divisor: str) -> str:
    """The value of a resourceFieldRef such as `limits.memory`, rounded up. Raises SourceMissing."""
    group, _, name = path.partition(".")
    found = container.get("resources", {}).get(group, {}).get(name)
    if found is None:
        raise SourceMissing(f"resource {path} is not set")
    value = quantity(str(found)) / (quantity(divisor) or 1)
    return str(-int(-value // 1))


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    for unit, factor in _UNITS.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)
