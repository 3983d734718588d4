"""A container's environment and command line, as the kubelet of a real cluster would make them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tests.engines.kubernetes.kubelet.fields import field, resource
from tests.engines.kubernetes.kubelet.sources import Sources
from tests.engines.kubernetes.rest import Object

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")


async def environment(pod: Object, container: Object, sources: Sources, address: str) -> dict[str, str]:
    """The variables that the pod gives a container. Raises SourceMissing for a value that is not there."""
    namespace = pod["metadata"]["namespace"]
    found = dict[str, str]()
    for group in container.get("envFrom", []):
        for kind in ("configMap", "secret"):
            if reference := group.get(f"{kind}Ref"):
                optional = reference.get("optional", False)
                data = await sources.read(kind.lower(), namespace, reference["name"], optional=optional)
                prefix = group.get("prefix", "")
                found |= {f"{prefix}{key}": value.decode() for key, value in (data or {}).items()}
    for item in container.get("env", []):
        value = await _value(pod, container, item, sources, address)
        if value is not None:
            # It may use what stands before it.
            found[item["name"]] = expanded(value, found) if "valueFrom" not in item else value
    return found


async def _value(pod: Object, container: Object, item: Object, sources: Sources, address: str) -> str | None:
    origin = item.get("valueFrom")
    if origin is None:
        return str(item.get("value", ""))
    if told := origin.get("fieldRef"):
        return field(pod, told["fieldPath"], address)
    if told := origin.get("resourceFieldRef"):
        return resource(container, told["resource"], str(told.get("divisor", "1")))
    kind = "secret" if "secretKeyRef" in origin else "configMap"
    told = origin[f"{kind}KeyRef"]
    optional = told.get("optional", False)
    raw = await sources.value(kind.lower(), pod["metadata"]["namespace"], told["name"], told["key"], optional=optional)
    return None if raw is None else raw.decode()


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
