"""What every part of a worker reports to: progress, metrics and log, with the clock; and its one way to retry."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import Live, Progress
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import DerivedMetric
from streamforge_utils.ports.retry import retry
from streamforge_utils.runtime.telemetry.logs import Log
from streamforge_utils.runtime.telemetry.metrics import Metrics

T = TypeVar("T")

_REASON_CHARACTERS = 200
_RATE_WINDOW_S = 10.0
_ADAPTER = "adapter"


class ProgressTracker:
    """Counts of one attempt.

    records: confirmed. position: newest open time (ms) or offset reached. last_id: of the newest record, of a loader by
    ids. share: done, 0 to 1, where an end is known. lag: records waiting, where known.
    held: of an open segment. unchanged, stale, refused: how the store answered beside `stored`.
    weight_per_minute: that a loader may use at the exchange.
    live: what a loader of streams tells; None: it is another worker.
    waited: called for each wait that ends, with who waited and for how many seconds.
    """

    def __init__(self, clock: Clock, waited: Callable[[str, float], None] | None = None) -> None:
        self.records = 0
        self.position: int | None = None
        self.last_id: int | None = None
        self.share: float | None = None
        self.lag: int | None = None
        self.held = 0
        self.unchanged = 0
        self.stale = 0
        self.refused = 0
        self.banned_until_ms: int | None = None
        self.weight_per_minute: int | None = None
        self.live: Callable[[], Live] | None = None
        self._clock = clock
        self._waited = waited
        self._waits: dict[str, tuple[str, int | None, float]] = {}
        self._samples: deque[tuple[float, int]] = deque([(clock.monotonic(), 0)])

    def wait(self, who: str, reason: str | None, until_ms: int | None = None) -> None:
        """`who` waits for `reason`, until then (unix ms) if known; None: it waits no more."""
        now = self._clock.monotonic()
        before = self._waits.pop(who, None)
        if reason is not None:
            self._waits[who] = (reason, until_ms, now if before is None else before[2])
        elif before is not None and self._waited is not None:
            self._waited(who, now - before[2])

    def adapter_waits(self, reason: str | None, until_ms: int | None = None) -> None:
        """As `wait`, of an adapter."""
        self.wait(_ADAPTER, reason, until_ms)

    def snapshot(self) -> Progress:
        """The progress as events carry it; the rate is that since the oldest snapshot of the last seconds."""
        now = self._clock.monotonic()
        while len(self._samples) > 1 and now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        since, records = self._samples[0]
        rate = (self.records - records) / (now - since) if now > since else 0.0
        if now > self._samples[-1][0]:
            self._samples.append((now, self.records))
        # What an adapter waits for holds up what others wait for.
        waits = (self._waits.get(_ADAPTER), *self._waits.values())
        reason, until_ms = next((one[:2] for one in waits if one is not None), (None, None))
        return Progress(
            records=self.records,
            position=self.position,
            last_id=self.last_id,
            share=None if self.share is None else round(self.share, 6),
            rate=round(rate, 3),
            lag=self.lag,
            held=self.held,
            unchanged=self.unchanged,
            stale=self.stale,
            refused=self.refused,
            waiting=reason,
            waiting_until=None if until_ms is None else until_ms / 1000,
            banned_until_ms=self.banned_until_ms,
            weight_per_minute=self.weight_per_minute,
            live=None if self.live is None else self.live(),
        )


class Instruments:
    """Progress, metrics, clock and log of one attempt of `target`. derived: metrics of the worker's own."""

    def __init__(self, target: str, clock: Clock, log: Log, derived: Sequence[DerivedMetric] = ()) -> None:
        self.target = target
        self.clock = clock
        self.log = log
        self.metrics = Metrics(target, lambda reason, until_ms: self.progress.adapter_waits(reason, until_ms), derived)
        self.progress = ProgressTracker(clock, lambda who, s: self.metrics.count("waiting_seconds", s, who=who))

    async def retry(
        self, what: str, call: Callable[[], Awaitable[T]], *, patience_s: float, waits: str | None = None
    ) -> T:
        """Await `call()` again while it raises RetryableError, for at most `patience_s` after the first failure.

        what: what is called, one word for log and metrics. waits: who waits meanwhile, as the progress names it.
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
