"""When a cron expression fires: five fields, read in a time zone as Debian's cron does.

An expression whose minute or hour begins with `*` goes by real time: it fires in every hour that there is, twice in an
hour that is repeated. Any other one goes by the clock on the wall: a time that is left out in spring fires at the first
minute after it, one that comes twice in autumn at its first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from streamforge_utils.model.errors import InvalidInput

MOST_LISTED = 100
"""Of the times that have passed so many are named, the newest ones; the others are counted."""
MOST_COUNTED = 2000
LOOK_BACK_MS = 400 * 86_400_000
"""Older times than this are not looked for."""
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = "MINUTE HOUR DAY MONTH WEEKDAY, such as '5 0 * * *'"
_LONGEST = 200
_HOUR_MS = 3_600_000


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """Fire times that have passed. times: the newest ones, ascending. count: of all; at_least: there may be more."""

    times: tuple[int, ...] = ()
    count: int = 0
    at_least: bool = False


class FireTimes(msgspec.Struct, frozen=True):
    """The fire times of an expression in a time zone, unix milliseconds."""

    cron: str
    timezone: str

    def after(self, time_ms: int) -> Iterator[int]:
        """The fire times after `time_ms`, ascending."""
        zone = zone_of(self.timezone)
        last_ms = time_ms
        for moment in CronSim(self.cron, datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(zone)):
            fire_ms = int(moment.timestamp()) * 1000
            # Within an hour that is repeated the library gives times that have passed, once more.
            if fire_ms > last_ms:
                last_ms = fire_ms
                yield fire_ms

    def next(self, time_ms: int) -> int | None:
        """The first fire time after `time_ms`; None: there is none within the next decades."""
        return next(self.after(time_ms), None)

    def passed(self, after_ms: int, now_ms: int) -> Passed:
        """The fire times in (after_ms, now_ms]."""
        window_ms = _HOUR_MS
        while True:
            start_ms = max(after_ms, now_ms - min(window_ms, LOOK_BACK_MS))
            times: deque[int] = deque(maxlen=MOST_LISTED)
            count = 0
            for fire_ms in self.after(start_ms):
                if fire_ms > now_ms:
                    break
                times.append(fire_ms)
                count += 1
            more = start_ms > after_ms
            if not more or count > MOST_COUNTED or window_ms >= LOOK_BACK_MS:
                return Passed(times=tuple(times), count=count, at_least=more)
            window_ms *= 2


def checked_cron(cron: str, timezone: str, now_ms: int) -> FireTimes:
    """The fire times of an expression in its one spelling.

    Raises InvalidInput naming `cron` (malformed, or it never fires) or `timezone`.
    """
    zone_of(timezone)
    text = " ".join(cron.split())
    shown = f"cron {text[:80]!r}"
    if text.lower() in _MACROS:
        raise InvalidInput("cron", f"{shown} is not understood: write {_MACROS[text.lower()]!r}")
    fields = len(text.split())
    if fields == 6:
        raise InvalidInput("cron", f"{shown} has 6 fields: a schedule fires once a minute at most; write {_FIELDS}")
    if fields != 5 or len(text) > _LONGEST:
        raise InvalidInput("cron", f"{shown} has {fields} fields: write {_FIELDS}")
    found = FireTimes(text, timezone)
    try:
        first_ms = found.next(now_ms)
    except (CronSimError, AssertionError, OverflowError) as error:  # all of which the library raises
        if _never(text):
            raise _no_such_day(shown) from error
        raise InvalidInput(
            "cron", f"{shown} is not understood ({str(error) or 'a step has no start'}): write {_FIELDS}"
        ) from error
    if first_ms is None:
        raise _no_such_day(shown)
    return found


def _never(text: str) -> bool:
    """Whether it is the days of its months alone that the library refuses."""
    minute, hour, day, month, weekday = text.split()
    try:
        for days, months in (("1", month), (day, "*")):
            CronSim(f"{minute} {hour} {days} {months} {weekday}", datetime(2024, 1, 1, tzinfo=UTC))
    except (CronSimError, AssertionError, OverflowError):
        return False
    return True


def _no_such_day(shown: str) -> InvalidInput:
    return InvalidInput("cron", f"{shown} never fires: none of its months has such a day; change the day or the month")


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The time zone. Raises InvalidInput naming `timezone`."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # what it raises depends on what is wrong with the name
        raise InvalidInput(
            "timezone", f"timezone {name[:80]!r} is not known: write a name of the tz database, such as Europe/Moscow"
        ) from error
