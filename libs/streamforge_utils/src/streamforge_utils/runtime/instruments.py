"""What every part of a worker reports to: progress, metrics and log, with the clock; and its one way to retry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.retry import retry
from streamforge_utils.runtime.derived_metrics import DerivedMetric
from streamforge_utils.runtime.logs import Log
from streamforge_utils.runtime.metrics import Metrics
from streamforge_utils.runtime.progress_tracker import ProgressTracker

T = TypeVar("T")

_REASON_CHARACTERS = 200


class Instruments:
    """Progress, metrics, clock and log of one attempt. derived: metrics of the worker's own."""

    def __init__(self, target: str, clock: Clock, log: Log, derived: Sequence[DerivedMetric] = ()) -> None:
        self.clock = clock
        self.log = log
        self.metrics = Metrics(target, lambda reason, until_ms: self.progress.adapter_waits(reason, until_ms), derived)
        self.progress = ProgressTracker(clock, lambda who, s: self.metrics.count("waiting_seconds", s, who=who))

    async def retry(
        self, what: str, call: Callable[[], Awaitable[T]], *, patience_s: float, waits: str | None = None
    ) -> T:
        """Await `call()` again while it raises RetryableError, for at most `patience_s` after the first failure.

        what: what is called, one word for log and metrics. waits: who waits meanwhile, as the progress tells it.
        """
        failures = 0

        def failed(error: RetryableError, pause: float) -> None:
            nonlocal failures
            failures += 1
            self.metrics.count("retries", what=what)
            self.log.warning(f"{what}: retrying", error=str(error), pause_seconds=round(pause, 3))
            if waits is not None:
                until_ms = self.clock.now_ms() + int(pause * 1000)
                self.progress.wait(waits, str(error)[:_REASON_CHARACTERS], until_ms)

        try:
            return await retry(call, clock=self.clock, patience_s=patience_s, failed=failed)
        finally:
            if failures and waits is not None:
                self.progress.wait(waits, None)
