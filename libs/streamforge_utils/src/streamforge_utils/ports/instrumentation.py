"""How adapters report what they count and wait for, without knowing where it goes."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives what an adapter counts. Names are Prometheus names without the `streamforge_` prefix."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        """The adapter waits for `reason` (until then, unix milliseconds, if known); None: it waits no more."""


class NullObserver:
    """An observer that keeps nothing."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None: ...
