"""What the manager's own questions to the exchange wait for, as its adapter reports it."""

from __future__ import annotations

from streamforge_utils.ports.instrumentation import Observer


class ExchangeWaits:
    """An observer that passes everything on to `observer` and remembers the wait that is reported now."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.reason: str | None = None

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self._observer.count(name, amount, **labels)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        self._observer.gauge(name, value, **labels)

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        self.reason = reason
        self._observer.waiting(reason, until_ms)
