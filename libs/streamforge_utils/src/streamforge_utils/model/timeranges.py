"""Half-open ranges of time, as people write them and as the code uses them. UTC, unix milliseconds."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

import msgspec

from streamforge_utils.model.errors import InvalidInput

_POINT = r"\d{4}(?:-\d{2}(?:-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{3})?)?Z)?)?)?"
_RANGE = re.compile(rf"(?P<start>{_POINT})(?::(?P<end>{_POINT}))?", re.ASCII)
_FORMS = "2024, 2024-08, 2024-08-01 or 2024-08-01T12:30Z, alone or as START:END"
_RELATIVE_FORMS = f"{_FORMS} (2024: is until now), or today, yesterday, -30d"
_WORD = r"now|today|yesterday|-\d{1,9}[A-Za-z]{1,7}"
_WORDS = re.compile(
    rf"(?P<start>{_POINT}|{_WORD})(?P<colon>:(?P<end>{_POINT}|{_WORD}|\+\d{{1,9}}[A-Za-z]{{1,7}})?)?", re.ASCII
)
SINCE_LAST = "since last"
"""The words for a range from where the coverage of a series ends to now."""
_LENGTH = re.compile(r"(?P<count>\d+)(?P<unit>[A-Za-z]+)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_MONTHS = {"M": 1, "y": 12}
_UNITS = {"min": "m", "mo": "M", "Y": "y", "H": "h", "D": "d", "W": "w"} | {
    word + plural: unit
    for word, unit in {
        "sec": "s",
        "second": "s",
        "minute": "m",
        "hour": "h",
        "day": "d",
        "week": "w",
        "month": "M",
        "year": "y",
    }.items()
    for plural in ("", "s")
}
"""Other names of the units: as intervals are written, `m` is a minute and `M` a month."""


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

    @property
    def length_ms(self) -> int:
        """How long it is."""
        return self.end_ms - self.start_ms

    def intersection(self, other: TimeRange) -> TimeRange | None:
        """The common part, or None where there is none."""
        start, end = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return TimeRange(start, end) if start < end else None

    def clipped(self, now_ms: int) -> TimeRange:
        """This range with an end after `now_ms` brought back to it. Raises InvalidInput if it starts in the future."""
        if self.start_ms >= now_ms:
            raise _in_the_future(str(self), now_ms)
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
    return _between(start, end, text)


def is_relative(text: str) -> bool:
    """Whether it depends on the moment which range `text` is."""
    return _RANGE.fullmatch(text) is None


def resolve_time_range(text: str, now_ms: int) -> TimeRange:
    """Read what a person writes: `START[:END]` as `parse_time_range` does, or relative to `now_ms`.

    START, END: also `now`, `today` and `yesterday` (the UTC day's first instant), `-30d` (so long before now; units
    `s m h d w M y`); END also `+30d` (so long after START). An END that is left out after the colon is now. Alone
    `yesterday` is that day, `today` and `-30d` end now. Now is a whole second: what it is a part of is not over.
    Raises InvalidInput naming the text and the accepted forms.
    """
    match = _WORDS.fullmatch(text)
    if match is None or (match["colon"] is None and match["start"] == "now"):
        advice = _hint(text) or f"write {_RELATIVE_FORMS}, in UTC"
        raise InvalidInput("time_range", f"time_range {text[:80]!r} is not understood: {advice}")
    if not is_relative(text):
        return parse_time_range(text)
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    start = _point(match["start"], now, text)
    if match["colon"] is None:
        end = start + timedelta(days=1) if match["start"] == "yesterday" else now
    elif match["end"] is None:
        end = now
    elif match["end"].startswith("+"):
        end = _shifted(start, match["end"][1:], 1, text)
    else:
        end = _point(match["end"], now, text)
    if start >= now:
        raise _in_the_future(repr(text), now_ms // 1000 * 1000)
    return _between(start, end, text)


def resolve_instant(text: str, now_ms: int, field: str = "at") -> int:
    """Read an instant before `now_ms`, unix milliseconds, in the forms that a START has in `resolve_time_range`.

    A year, a month or a day is its first instant. Raises InvalidInput naming the text and what to write.
    """
    try:
        return resolve_time_range(f"{text}:", now_ms).start_ms
    except InvalidInput as error:
        wanted = _hint(text) or "write 2024-08-01T12:30:15Z, 2024-08-01 (its first instant) or -10m, in UTC"
        raise InvalidInput(field, f"{field} {text[:80]!r} is no instant before now: {wanted}") from error


def _in_the_future(text: str, now_ms: int) -> InvalidInput:
    return InvalidInput(
        "time_range", f"time_range {text} starts in the future (now is {format_ms(now_ms)}): choose an earlier start"
    )


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


def iso_ms(time_ms: int) -> str:
    """ISO 8601 in UTC, always to the millisecond and ending in Z."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _between(start: datetime, end: datetime, whole: str) -> TimeRange:
    start_ms, end_ms = _to_ms(start), _to_ms(end)
    if end_ms <= start_ms:
        swapped = f"; did you mean {format_ms(end_ms)}:{format_ms(start_ms)}?" if end_ms < start_ms else ""
        raise InvalidInput("time_range", f"time_range {whole!r}: the end is not after the start{swapped}")
    return TimeRange(start_ms, end_ms)


def _point(word: str, now: datetime, whole: str) -> datetime:
    if word == "now":
        return now
    if word.startswith("-"):
        return _shifted(now, word[1:], -1, whole)
    if word in ("today", "yesterday"):
        day = now.replace(hour=0, minute=0, second=0)
        return day if word == "today" else day - timedelta(days=1)
    return _instant(word, whole)


def _shifted(moment: datetime, length: str, sign: int, whole: str) -> datetime:
    """`moment` and a length such as `30d` after it, or before it (sign -1); a month's day is at most its last one."""
    match = _LENGTH.fullmatch(length)
    assert match is not None, length  # noqa: S101 - the form of the whole says so
    count, unit = int(match["count"]) * sign, match["unit"]
    unit = unit if unit in _SECONDS or unit in _MONTHS else _UNITS.get(unit.lower(), _UNITS.get(unit, ""))
    if not unit:
        units = "s, m (minutes), h, d, w, M (months) and y"
        raise InvalidInput("time_range", f"time_range {whole!r}: {length!r} has no unit that is known: {units} are")
    try:
        if unit in _SECONDS:
            shifted = moment + timedelta(seconds=count * _SECONDS[unit])
        else:
            months = moment.year * 12 + moment.month - 1 + count * _MONTHS[unit]
            year, month = months // 12, months % 12 + 1
            day = min(moment.day, calendar.monthrange(year, month)[1])
            shifted = moment.replace(year=year, month=month, day=day)
    except (ValueError, OverflowError, calendar.IllegalMonthError) as error:
        raise InvalidInput("time_range", f"time_range {whole!r}: {length!r} is too long") from error
    if shifted.year < 1970:
        raise InvalidInput("time_range", f"time_range {whole!r} begins before 1970")
    return shifted


def _hint(text: str) -> str | None:
    """What was probably meant by a text of another form."""
    bare = text[:80].strip()
    length = bare.removeprefix("last ").replace(" ", "")
    candidates = [
        bare,
        bare.lower(),
        length,
        f"-{length}",
        re.sub(r"(?<!\d)(\d)(?!\d)", r"0\1", bare),
        re.sub(rf"({_POINT}) ?(?:\.\.|/|,|–|—|to| )+ ?({_POINT})", r"\1:\2", bare),
        re.sub(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2}(?!\d))?)(?=$|:\d{4})", r"\1T\2Z", bare),
    ]
    meant = next((one for one in candidates if one != text and _WORDS.fullmatch(one)), None)
    return None if meant is None else f"did you mean {meant}?"


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
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
