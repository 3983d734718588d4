"""How adapters and workers report what they count and wait for, without knowing where it goes."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Observer(Protocol):
    """Receives what an adapter counts. Names are Prometheus names without the `streamforge_` prefix."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def forget(self, name: str, /, **labels: str) -> None:
        """A gauge has nothing to tell of these labels any more: they are no longer shown."""

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        """The adapter waits for `reason` (until then, unix milliseconds, if known); None: it waits no more."""


class NullObserver:
    """An observer that keeps nothing."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...

    def forget(self, name: str, /, **labels: str) -> None: ...

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None: ...


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
