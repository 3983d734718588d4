"""Records with consecutive ids: which ids a range of time has at the exchange."""

from __future__ import annotations

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import ById, ByTime
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import History

_CONFIRMATIONS = 5


async def ids_at_exchange(exchange: History, series: Series, span: TimeRange, now_ms: int) -> range:
    """The ids of the records of `span` that the exchange has, also of those that it does not give any more.

    They are those between the neighbours beyond both ends, which are asked for. Raises RetryableError.
    """
    first = await _first_from(exchange, series, span.start_ms, now_ms)
    return range(first, max(first, await _first_from(exchange, series, span.end_ms, now_ms)))


async def bounds_at_exchange(
    exchange: History, series: Series, now_ms: int, *, trading: bool
) -> tuple[int, int | None] | None:
    """When the first record of the series happened, and the last one if no more will come; None: there is none.

    Each is asked for by two requests cut differently. Raises RetryableError.
    """
    whole = TimeRange(0, now_ms)
    for _ in range(_CONFIRMATIONS):
        by_id = await exchange.page(series, ById(0, limit=1))
        by_time = await exchange.page(series, ByTime(whole, limit=1))
        if not by_id and not by_time and not await exchange.page(series, ByTime(whole, newest=True)):
            return None
        if by_id and by_time and by_id.positions[0] == by_time.positions[0]:
            break
    else:
        raise _contradicted(series)
    if trading:
        return by_id.times[0], None
    next_id = await _first_from(exchange, series, now_ms, now_ms)
    last = await exchange.page(series, ById(next_id - 1, limit=1))
    if not last:
        raise _contradicted(series)
    return by_id.times[0], last.times[-1]


async def _first_from(exchange: History, series: Series, time_ms: int, now_ms: int) -> int:
    """The id of the first record that happened at `time_ms` or later; the one after the last record where none did.

    The record before it is asked for too: it must have happened earlier. Raises RetryableError.
    """
    for _ in range(_CONFIRMATIONS):
        found = None
        if time_ms < now_ms:
            page = await exchange.page(series, ByTime(TimeRange(time_ms, now_ms), limit=1))
            found = page.positions[0] if page else None
        if found is None:
            page = await exchange.page(series, ByTime(TimeRange(0, max(now_ms, 1)), limit=1, newest=True))
            if not page:
                continue
            found = page.positions[-1] + (1 if page.times[-1] < time_ms else 0)
        around = await exchange.page(series, ById(max(0, found - 1), limit=2))
        times = dict(zip(around.positions, around.times, strict=True))
        if times.get(found - 1, -1) < time_ms <= times.get(found, time_ms):
            return found
    raise _contradicted(series)


def _contradicted(series: Series) -> RetryableError:
    return RetryableError(
        f"{series.id}: the exchange contradicted itself {_CONFIRMATIONS} times about which records a range has"
    )
