"""Grafana's dashboard JSON from a few words: panels in rows, queries, variables.

Only what every Grafana since 10 imports: the classic model, without ids of an installation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

Json = dict[str, Any]

SCHEMA_VERSION = 39
WIDTH = 24
"""Columns of a dashboard."""
_SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}


class Query(msgspec.Struct, frozen=True):
    """An expression and how its series are called: Grafana's legend, `{{label}}`."""

    expr: str
    legend: str = "__auto"


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. unit: Grafana's name for it. text: what a reader is to know of it."""

    title: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    unit: str = "short"
    text: str = ""
    stacked: bool = False
    limits: tuple[tuple[str, float | None], ...] = ()
    """Colours with the value from which they hold; the first has none."""


class Variable(msgspec.Struct, frozen=True):
    """A choice at the top. labels: whose values are offered, `metric{…}` and label."""

    name: str
    metric: str
    label: str
    text: str
    multi: bool = False


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """A page. rows: panels side by side, each row as high as its heights say."""

    uid: str
    title: str
    text: str
    rows: tuple[tuple[str, int, tuple[Panel, ...]], ...]
    variables: tuple[Variable, ...] = ()


def rendered(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana imports it."""
    return {
        "id": None,
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.text,
        "tags": ["streamforge"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "StreamForge",
                "tags": ["streamforge"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "panels": list(_panels(dashboard.rows)),
    }


def expressions(dashboard: Json) -> Iterator[tuple[str, str]]:
    """The expressions of a dashboard with where they stand; of a variable: the selector that offers its values."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield (
                f"variable {variable['name']}",
                variable["definition"].removeprefix("label_values(").rpartition(",")[0],
            )


def _source() -> Json:
    return {
        "name": "DS_PROMETHEUS",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _variable(variable: Variable) -> Json:
    query = f"label_values({variable.metric},{variable.label})"
    return {
        "name": variable.name,
        "label": variable.text,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "Variable"},
        "refresh": 2,
        "sort": 1,
        "multi": variable.multi,
        "includeAll": variable.multi,
        "allValue": ".*" if variable.multi else None,
        "current": {"text": "All", "value": "$__all"} if variable.multi else {},
        "hide": 0,
    }


def _panels(rows: Sequence[tuple[str, int, tuple[Panel, ...]]]) -> Iterator[Json]:
    number, top = 1, 0
    for title, height, panels in rows:
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }
        number, top = number + 1, top + 1
        width = WIDTH // len(panels)
        for place, panel in enumerate(panels):
            yield _panel(panel, number, {"x": place * width, "y": top, "w": width, "h": height})
            number += 1
        top += height


def _panel(panel: Panel, number: int, place: Json) -> Json:
    steps = [{"color": color, "value": value} for color, value in panel.limits or (("green", None),)]
    custom = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom |= {"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": "ABCDEFGH"[position],
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.kind == "table",
                "range": panel.kind != "table",
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for position, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0 if panel.kind == "timeseries" and not panel.limits else None,
                "thresholds": {"mode": "absolute", "steps": steps},
                **({"custom": custom} if panel.kind == "timeseries" else {}),
            },
            "overrides": [],
        },
        "options": _options(panel.kind),
    }


def _options(kind: str) -> Json:
    if kind == "timeseries":
        legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "stat":
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
    return {}
