"""An observer that remembers."""

from __future__ import annotations

from collections import Counter


class RecordingObserver:
    """counts: by name and labels, e.g. `rows_total{reason=open}`. waits: every report of waiting, in order."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self.waits: list[tuple[str | None, int | None]] = []

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self.counts[_named(name, labels)] += amount  # type: ignore[assignment]  # counters take fractions

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self.gauges[_named(name, labels)] = value

    def forget(self, name: str, /, **labels: str) -> None:
        self.gauges.pop(_named(name, labels), None)

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        self.waits.append((reason, until_ms))


def _named(name: str, labels: dict[str, str]) -> str:
    return name + ("{" + ",".join(f"{k}={v}" for k, v in sorted(labels.items())) + "}" if labels else "")
