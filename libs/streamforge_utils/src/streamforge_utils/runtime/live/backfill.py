"""Questions about the past beside a stream: paced by half of the worker's share of the exchange's weight."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import Page, Paging, Question
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange, Rank
from streamforge_utils.ports.retry import backoff_s
from streamforge_utils.runtime.telemetry.instruments import ProgressTracker
from streamforge_utils.runtime.telemetry.logs import Log

SHARE = 0.5
REASON = "request weight"
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 1.0
_WAITING = "backfill"
_REASON_CHARACTERS = 200


class Backfill:
    """Asks for pages of one series. weight_per_minute: the worker's share."""

    def __init__(
        self,
        exchange: Exchange,
        series: Series,
        *,
        clock: Clock,
        progress: ProgressTracker,
        log: Log,
        weight_per_minute: Callable[[], int],
    ) -> None:
        self._exchange = exchange
        self._series = series
        self._clock = clock
        self._progress = progress
        self._log = log
        self._weight_per_minute = weight_per_minute
        self._saved = 0.0  # weight that may be spent now
        self._saved_at = clock.monotonic() - 60.0
        self._kind = kind_of(series)

    @property
    def paging(self) -> Paging:
        """Of the kind. Raises PermanentError."""
        if self._kind.paging is None:
            raise PermanentError(f"{self._series.id}: the exchange gives no history, by which a gap could be filled")
        return self._kind.paging

    async def page(self, question: Question) -> Page:
        """An answer, asked for until there is one. Raises PermanentError."""
        failures = 0
        try:
            while True:
                try:
                    return await self.once(question)
                except RetryableError as error:
                    failures += 1
                    pause = backoff_s(failures, first_s=1.0, longest_s=_LONGEST_PAUSE_S)
                    pause = max(pause, error.retry_after or 0.0)
                    self._log.warning("what lacks could not be asked for", error=str(error), pause_seconds=pause)
                    until_ms = self._clock.now_ms() + int(pause * 1000)
                    self._progress.wait(_WAITING, str(error)[:_REASON_CHARACTERS], until_ms)
                    await self._clock.sleep(pause)
        finally:
            if failures:
                self._progress.wait(_WAITING, None)

    async def once(self, question: Question) -> Page:
        """An answer. Raises RetryableError or PermanentError."""
        limit = self.paging.most if question.limit is None else question.limit
        await self._spend(self.paging.weight({"limit": str(limit)}))
        return await self._exchange.page(self._series, msgspec.structs.replace(question, limit=limit))

    async def snapshot(self, limit: int, rank: Rank = tuple) -> bytes:
        """A snapshot; rank: as `Exchange.snapshot`. Raises RetryableError or PermanentError."""
        if self._kind.snapshots is not None:
            await self._spend(self._kind.snapshots.weight(limit))
        return await self._exchange.snapshot(self._series, limit, rank=rank)

    async def _spend(self, weight: int) -> None:
        """Return once so much may be spent; a request dearer than the share of a minute has some minutes for itself."""
        waited = False
        try:
            while (lacking_s := self._lacking_s(weight)) > 0:
                if lacking_s > _LOOK_S:
                    waited = True
                    self._progress.wait(_WAITING, REASON, self._clock.now_ms() + int(lacking_s * 1000))
                await self._clock.sleep(min(_LOOK_S, lacking_s) + 0.001)
        finally:
            if waited:
                self._progress.wait(_WAITING, None)

    def _lacking_s(self, weight: int) -> float:
        """How long until so much may be spent; 0: it is spent now."""
        rate = self._weight_per_minute() * SHARE / 60.0
        now = self._clock.monotonic()
        self._saved = min(max(rate * 60.0, float(weight)), self._saved + (now - self._saved_at) * rate)
        self._saved_at = now
        if self._saved >= weight:
            self._saved -= weight
            return 0.0
        return (weight - self._saved) / rate if rate else 60.0
