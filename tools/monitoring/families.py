"""The metric families that the services report, and those of others that dashboards and alerts may name.

Ours are read from the code: a family is made where it is first reported, so no list of them is kept by hand.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from streamforge import workers
from streamforge_utils.ports.instrumentation import DerivedMetric
from streamforge_utils.runtime.telemetry.metrics import HELP, Metrics

ROOT = Path(__file__).resolve().parents[2]
_KINDS = {"count": "counter", "gauge": "gauge", "gauge_by": "gauge", "observe": "histogram"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_REPORTER = re.compile(r"(^|[._])(metrics|observer)$")
SCRAPED = frozenset(
    {"job", "instance", "namespace", "pod", "container", "service", "endpoint", "node", "queue_id", "prometheus"}
)
"""Labels that the Prometheus operator's monitors put on every series (queue_id: on those of workers)."""


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A family. name: as Prometheus shows it, a histogram's without its ending. by: who reports it."""

    name: str
    kind: str
    labels: frozenset[str]
    help: str
    by: str = "streamforge"

    def series(self) -> Iterator[tuple[str, frozenset[str]]]:
        """The names to query, each with its labels."""
        if self.kind == "histogram":
            yield f"{self.name}_bucket", self.labels | {"le"}
            yield f"{self.name}_count", self.labels
            yield f"{self.name}_sum", self.labels
        else:
            yield self.name, self.labels


@functools.cache
def ours(root: Path = ROOT) -> tuple[Reported, ...]:
    """Every family of the services, by name; read once. Raises ValueError where one has other labels elsewhere."""
    found: dict[str, Reported] = {}
    for folder in ("libs", "src"):
        for path in sorted((root / folder).rglob("*.py")):
            for family in _in_file(path):
                known = found.setdefault(family.name, family)
                if (known.kind, known.labels) != (family.kind, family.labels):
                    raise ValueError(f"{path}: {family.name} has the labels {family.labels}, elsewhere {known.labels}")
    for target in workers.targets():
        for extra in workers.definition(target).derived_metrics:
            family = _extra(extra)
            found[family.name] = family
    for family in _of_processes():
        found[family.name] = family
    return tuple(found[name] for name in sorted(found))


def _in_file(path: Path) -> Iterator[Reported]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        kind, first = _KINDS.get(node.func.attr), node.args[0]
        if kind is None or not _REPORTER.search(ast.unparse(node.func.value)):
            continue
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and _NAME.fullmatch(first.value):
            name = first.value.removesuffix("_total")
            yield Reported(
                name=f"streamforge_{name}{'_total' if kind == 'counter' else ''}",
                kind=kind,
                labels=frozenset({"target", *(word.arg for word in node.keywords if word.arg)}),
                help=HELP.get(name, ""),
            )


def _extra(family: DerivedMetric) -> Reported:
    kind = "gauge" if family.latest else "counter"
    return Reported(
        name=f"{family.name}{'_total' if kind == 'counter' else ''}",
        kind=kind,
        labels=frozenset({family.label} - {""}),
        help=family.help,
        by="dummy-service",
    )


def _of_processes() -> Iterator[Reported]:
    for family in Metrics("any").registry.collect():
        for sample in family.samples:
            yield Reported(
                name=sample.name,
                kind=family.type,
                labels=frozenset(sample.labels),
                help=family.documentation,
                by="process",
            )


def others() -> list[Reported]:
    """Families of others, by who reports them. Only these may be named; each is used by a dashboard or an alert."""
    return [
        _other("prometheus", "up"),
        _other("prometheus", "ALERTS", "alertname", "alertstate", "severity"),
        _other("kafka-exporter", "kafka_consumergroup_lag", "consumergroup", "topic", "partition"),
        _other("kafka-exporter", "kafka_consumergroup_members", "consumergroup"),
        _other("kafka-exporter", "kafka_topic_partition_current_offset", "topic", "partition"),
        _other("kafka-exporter", "kafka_topic_partition_oldest_offset", "topic", "partition"),
        _other("kube-state-metrics", "kube_resourcequota", "resourcequota", "resource", "type"),
        _other("kube-state-metrics", "kube_pod_status_phase", "phase"),
        _other("kube-state-metrics", "kube_pod_container_resource_limits", "resource", "unit"),
        _other("kubelet", "container_memory_working_set_bytes"),
        _other("kubelet", "container_cpu_usage_seconds_total"),
    ]


def _other(by: str, name: str, *labels: str) -> Reported:
    return Reported(name=name, kind="", labels=frozenset(labels), help="", by=by)


def known(root: Path = ROOT) -> dict[str, frozenset[str]]:
    """The labels of each series that may be queried, by its name; those of every scraped series are among them."""
    return {name: labels | SCRAPED for family in (*ours(root), *others()) for name, labels in family.series()}
