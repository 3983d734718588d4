"""Everything that `make check` holds against alerts and dashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tools.monitoring import alerts, families, files, grafana, promtool, queries

_UID = re.compile(r"[a-z0-9-]{1,40}")


def problems(root: Path = families.ROOT) -> Iterator[str]:
    """What is wrong, in words that name the file. Raises PromtoolError where promtool is missing."""
    for path in files.stale(root):
        yield f"{path}: it is not as the code makes it: run `make docs`"
    groups = alerts.groups(root)
    known = families.known(root)
    for one in families.ours(root):
        if not one.help:
            yield f"{one.name}: it has no help text (HELP in streamforge_utils/runtime/telemetry/metrics.py)"
    for rule in alerts.alerts(groups):
        yield from (f"{rule['alert']}: {fault}" for fault in queries.faults(rule["expr"], known))
    shown: dict[str, str] = {}
    for path in sorted((root / files.FOLDER).glob("*.json")):
        dashboard = json.loads(path.read_text("utf-8"))
        yield from (f"{path.relative_to(root)}: {fault}" for fault in dashboard_faults(dashboard))
        for where, text in grafana.expressions(dashboard):
            yield from (f"{path.relative_to(root)}: {where}: {fault}" for fault in queries.faults(text, known))
            shown[f"{path.name} {where}"] = queries.plain(text)
    yield from (f"{other.by}: no dashboard or alert uses {other.name}" for other in unused(root, shown))
    rules, tests = alerts.plain(groups), alerts.cases(root)
    yield from alerts.untested(groups, tests)
    for said in (promtool.check(rules), promtool.check(alerts.recorded(shown)), promtool.test(rules, tests)):
        if said:
            yield f"promtool: {said}"


def unused(root: Path, shown: dict[str, str]) -> list[families.Reported]:
    """The families of others that nothing asks for."""
    texts = "\n".join([*shown.values(), *(rule["expr"] for rule in alerts.alerts(alerts.groups(root)))])
    return [one for one in families.others() if not re.search(rf"\b{one.name}\b", texts)]


def dashboard_faults(found: grafana.Json) -> Iterator[str]:
    """What Grafana would not import as it is meant, or not import at all."""
    if not _UID.fullmatch(str(found.get("uid"))):
        yield f"uid {found.get('uid')!r} is not a fixed name of at most 40 small letters, digits and hyphens"
    if not found.get("title") or not isinstance(found.get("schemaVersion"), int) or found.get("id") is not None:
        yield "title, a whole schemaVersion and id: null are needed"
    variables = {one["name"] for one in found["templating"]["list"]}
    taken: dict[tuple[int, int], str] = {}
    numbers = [panel["id"] for panel in found["panels"]]
    if len(set(numbers)) != len(numbers):
        yield "two panels have one id"
    for panel in found["panels"]:
        place = panel["gridPos"]
        if place["x"] < 0 or place["x"] + place["w"] > grafana.WIDTH or place["h"] < 1:
            yield f"{panel['title']}: it does not fit {grafana.WIDTH} columns"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if other := taken.setdefault((x, y), panel["title"]) != panel["title"] and taken[x, y]:
                    yield f"{panel['title']}: it lies on {other}"
        if panel["type"] == "row":
            continue
        if not panel.get("targets"):
            yield f"{panel['title']}: it asks for nothing"
        for target in panel.get("targets", []):
            if target["datasource"]["uid"] != "${DS_PROMETHEUS}" or not target.get("expr") or not target.get("refId"):
                yield f"{panel['title']}: a query lacks expression, refId or the chosen Prometheus"
            for name in re.findall(r"\$(?!__)(\w+)", target["expr"]):
                if name not in variables:
                    yield f"{panel['title']}: there is no variable {name}"
    if "DS_PROMETHEUS" not in variables:
        yield "there is no variable DS_PROMETHEUS to choose a Prometheus with"
