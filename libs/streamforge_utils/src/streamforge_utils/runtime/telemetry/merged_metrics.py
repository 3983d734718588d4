"""The metrics of several workers of one process as if they were one's."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from streamforge_utils.runtime.telemetry.metrics import Metrics

_OF_PROCESS = "process_"

_Name = tuple[str, tuple[tuple[str, str], ...]]


class MergedMetrics(Collector):
    """Counters and histograms are summed, also of workers that have ended; of gauges the largest counts."""

    def __init__(self) -> None:
        self._parts: dict[Metrics, bool] = {}  # whether it goes on
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def add(self, part: Metrics) -> None:
        """The metrics of one more worker."""
        self._parts[part] = True

    def end(self, part: Metrics) -> None:
        """The worker has ended: its gauges tell nothing any more."""
        self._parts[part] = False

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing is known before it is asked for."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family once."""
        families: dict[str, Metric] = {}
        values: dict[str, dict[_Name, float]] = {}
        for part, goes_on in list(self._parts.items()):
            for family in part.registry.collect():
                if not goes_on and family.type == "gauge":
                    continue
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                found = values.setdefault(family.name, {})
                for sample in family.samples:
                    _merge(found, sample, summed=not (family.type == "gauge" or family.name.startswith(_OF_PROCESS)))
        for name, family in families.items():
            for (sample_name, labels), value in values[name].items():
                family.add_sample(sample_name, dict(labels), value)
            yield family


def _merge(found: dict[_Name, float], sample: Sample, *, summed: bool) -> None:
    name = sample.name, tuple(sample.labels.items())
    before = found.get(name)
    if before is None:
        found[name] = sample.value
    elif summed and not sample.name.endswith("_created"):
        found[name] = before + sample.value
    else:
        found[name] = max(before, sample.value)
