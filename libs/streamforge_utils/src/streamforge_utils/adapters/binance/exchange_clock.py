"""The exchange's clock, estimated from its own answers.

Two signals are compared: the `time` endpoint and the `Date` header of each answer. The local clock decides nothing,
so that a wrong one cannot make an open candle look closed. Elapsed time is measured on the monotonic clock.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

DATE_GRAIN_MS = 1000
"""A `Date` header names a second; the true time lies less than this after it."""


class ClockEstimate:
    """The exchange's clock in unix milliseconds; `monotonic` arguments are seconds of the local monotonic clock."""

    def __init__(self) -> None:
        self._midpoint_ms: float | None = None
        self._earliest_ms = 0.0
        self._measured_at = 0.0

    @property
    def measured_at(self) -> float | None:
        """When the clock was last measured, monotonic seconds; None if never."""
        return None if self._midpoint_ms is None else self._measured_at

    def measure(self, server_ms: int, sent: float, received: float, date: str | None) -> bool:
        """Take over the answer of the `time` endpoint; it was given at some moment between `sent` and `received`.

        date: the answer's `Date` header, which counts where the answer is ahead of it. Returns whether it is.
        """
        date_ms = parse_date(date)
        ahead = date_ms is not None and server_ms >= date_ms + DATE_GRAIN_MS
        if ahead and date_ms is not None:
            server_ms = date_ms
        self._earliest_ms = server_ms
        self._midpoint_ms = server_ms + (received - sent) * 500
        self._measured_at = received
        return ahead

    def now_ms(self, monotonic: float) -> int | None:
        """The best estimate (midpoint of the round trip); None before the first measurement."""
        if self._midpoint_ms is None:
            return None
        return int(self._midpoint_ms + (monotonic - self._measured_at) * 1000)

    def observed_ms(self, sent: float, received: float, date: str | None) -> tuple[int, bool]:
        """A moment at the exchange that is surely not after the answer's data were read, and whether signals disagree.

        sent, received: around the request. date: the answer's `Date` header. With a `time` endpoint that is ahead of
        `Date`, the latter counts, less the whole duration of the request. Before the first measurement it is 0.
        """
        if self._midpoint_ms is None:
            return 0, False
        earliest = int(self._earliest_ms + (sent - self._measured_at) * 1000)
        date_ms = parse_date(date)
        if date_ms is None or earliest < date_ms + DATE_GRAIN_MS:
            return earliest, False
        return int(date_ms - (received - sent) * 1000), True


def parse_date(text: str | None) -> int | None:
    """An HTTP date in unix milliseconds; None if there is none that can be read."""
    if not text:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1000
    except (ValueError, OverflowError):
        return None
