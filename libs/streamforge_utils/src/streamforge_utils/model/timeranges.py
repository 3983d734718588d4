"""Half-open ranges of time, as people write them and as the code uses them. UTC, unix milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

from streamforge_utils.model.errors import InvalidInput

_POINT = r"\d{4}(?:-\d{2}(?:-\d{2}(?:T\d{2}:\d{2}(?::\d{2})?Z)?)?)?"
_RANGE = re.compile(rf"(?P<start>{_POINT})(?::(?P<end>{_POINT}))?", re.ASCII)
_FORMS = "2024, 2024-08, 2024-08-01 or 2024-08-01T12:30Z, alone or as START:END"


class TimeRange(msgspec.Struct, frozen=True, order=True):
    """A half-open range [start_ms, end_ms) of unix milliseconds; never empty."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"the end {format_ms(self.end_ms)} is not after the start {format_ms(self.start_ms)}")

    def __str__(self) -> str:
        return f"{format_ms(self.start_ms)}:{format_ms(self.end_ms)}"

    def __contains__(self, time_ms: int) -> bool:
        return self.start_ms <= time_ms < self.end_ms

    def intersection(self, other: TimeRange) -> TimeRange | None:
        """The common part, or None where there is none."""
        start, end = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return TimeRange(start, end) if start < end else None

    def clipped(self, now_ms: int) -> TimeRange:
        """This range with an end after `now_ms` brought back to it. Raises InvalidInput if it starts in the future."""
        if self.start_ms >= now_ms:
            raise InvalidInput(
                "time_range",
                f"time_range {self} starts in the future (now is {format_ms(now_ms)}): choose an earlier start",
            )
        return self if self.end_ms <= now_ms else TimeRange(self.start_ms, now_ms)


def parse_time_range(text: str) -> TimeRange:
    """Read `START[:END]`; see DESIGN, "Time range".

    START alone is that year, month or day; of an instant it is the instant's day.
    Raises InvalidInput naming the text and the accepted forms.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InvalidInput("time_range", f"time_range {text[:80]!r} is not understood: write {_FORMS}, in UTC")
    start_text, end_text = match["start"], match["end"]
    start = _instant(start_text, text)
    if end_text is not None:
        end = _instant(end_text, text)
    else:
        start, end = _period(start_text, start, text)
    start_ms, end_ms = _to_ms(start), _to_ms(end)
    if end_ms <= start_ms:
        raise InvalidInput("time_range", f"time_range {text!r}: the end is not after the start")
    return TimeRange(start_ms, end_ms)


def format_ms(time_ms: int) -> str:
    """ISO 8601 in UTC, as short as it can be without loss: a date, or a date with a time, ending in Z."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    if time_ms % 1000:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"
    if moment.second:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if moment.hour or moment.minute:
        return moment.strftime("%Y-%m-%dT%H:%MZ")
    return moment.strftime("%Y-%m-%d")


def _instant(point: str, whole: str) -> datetime:
    padded = point + "-01-01"[len(point) - 4 :] if len(point) < 10 else point
    try:
        moment = datetime.fromisoformat(padded.replace("Z", "+00:00"))
    except ValueError as error:
        raise InvalidInput("time_range", f"time_range {whole!r}: {point!r} is no date: {error}") from error
    moment = moment.replace(tzinfo=UTC)
    if moment.year < 1970:
        raise InvalidInput("time_range", f"time_range {whole!r}: {point!r} lies before 1970")
    return moment


def _period(point: str, start: datetime, whole: str) -> tuple[datetime, datetime]:
    try:
        if len(point) == 4:
            return start, start.replace(year=start.year + 1)
        if len(point) == 7:
            return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        day = start.replace(hour=0, minute=0, second=0)
        return day, day + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("time_range", f"time_range {whole!r}: it ends after the year 9999") from error


def _to_ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
