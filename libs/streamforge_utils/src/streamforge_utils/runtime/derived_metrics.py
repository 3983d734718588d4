"""Metric families under names of their own, counted from the common ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class DerivedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A family that a worker has beside the common ones, without their prefix and their label `target`.

    name: without `_total`. of: the common counter that it follows, and by: the label of that counter it looks at.
    values: those of `by` that count; empty: all. label: its own label, which carries that value; empty: it has none.
    latest: a gauge instead of a counter: 1 for the value that came last, 0 for the others.
    """

    name: str
    help: str
    of: str
    by: str
    values: tuple[str, ...] = ()
    label: str = ""
    latest: bool = False


class DerivedMetricUpdater:
    """Keeps one family up to date."""

    def __init__(self, family: DerivedMetric, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge  # slow to import, and a definition alone does not need it

        self._family = family
        labels = (family.label,) if family.label else ()
        self._gauge = Gauge(family.name, family.help, labels, registry=registry) if family.latest else None
        self._counter = None if family.latest else Counter(family.name, family.help, labels, registry=registry)
        self._seen: set[str] = set(family.values) if family.latest else set()
        self._show("")

    def follow(self, amount: float, labels: Mapping[str, str]) -> None:
        """The common counter grew by `amount`."""
        value = labels.get(self._family.by, "")
        if self._family.values and value not in self._family.values:
            return
        if self._counter is None:
            self._show(value)
        elif self._family.label:
            self._counter.labels(value).inc(amount)
        else:
            self._counter.inc(amount)

    def _show(self, latest: str) -> None:
        if self._gauge is None:
            return
        if latest:
            self._seen.add(latest)
        for value in self._seen:
            self._gauge.labels(value).set(1 if value == latest else 0)
