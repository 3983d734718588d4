"""`since`: from an instant, or from where the coverage of a series ends, until now.

What is missing before the end of the coverage is not hidden: holes that the exchange or its files may still fill are
loaded again, all others are told. A hole counts if no range that nobody asked for, or that retention has removed, lies
behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from streamforge.manager.coverage.store import SeriesCoverage
from streamforge.manager.use_cases import Continuation, StartRequest, UpToDate
from streamforge.manager.workflows.history.source_plan import file_due_ms
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.coverage import FROM_FILES_ALONE, SETTLED, Segment, Verdict, awaits_file
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import has_history, rule_of, series_of, type_of
from streamforge_utils.model.timeranges import SINCE_LAST, TimeRange, resolve_time_range

_DAY_MS = 86_400_000
LAST = "last"
LIVE = "now:"
"""The words for the range of a live type that begins with its workflow."""


def asked_range(request: StartRequest, now_ms: int) -> tuple[str, TimeRange]:
    """The range asked for, in words and as it is now; of `since last`, which only the coverage tells, all until now.

    Raises InvalidInput naming the field.
    """
    since, first = request.since, request.default_start
    if since is None:
        if first is not None:
            raise InvalidInput("from", f"from {first[:80]!r} is the start of `since`: `last`, which is not asked for")
        if not request.time_range:
            raise InvalidInput("time_range", "time_range is missing: write a range such as 2024-08, or give `since`")
        return request.time_range, resolve_time_range(request.time_range, now_ms)
    if request.time_range:
        raise InvalidInput("since", "since and time_range are two ranges: give one of them")
    if since != LAST:
        if first is not None:
            raise InvalidInput("from", "from is for `since`: `last`: an instant is a start by itself")
        return f"{since}:", _until_now(since, "since", now_ms)
    if first is not None:
        _until_now(first, "from", now_ms)
    return SINCE_LAST, TimeRange(0, now_ms)


def live_range(request: StartRequest, now_ms: int) -> tuple[str, TimeRange]:
    """From when on a live type is wanted, in words, and as a range up to now. Raises InvalidInput naming the field."""
    now_ms = now_ms // 1000 * 1000
    if request.since in (None, "now") and request.time_range in ("", LIVE) and request.default_start is None:
        return LIVE, TimeRange(now_ms - 1000, now_ms)
    series = series_of("X", request.type)
    if not has_history(series):
        raise InvalidInput(
            "time_range" if request.since is None and request.default_start is None else "since",
            f"{request.type} begins now: the exchange gives nothing of it that is past; leave the range and since out",
        )
    requested, span = asked_range(request, now_ms)
    if span.end_ms != now_ms:
        history = type_of(series)
        raise InvalidInput(
            "time_range",
            f"time_range {request.time_range[:80]!r} has an end, and {request.type} goes on until it is stopped: give "
            f"its start alone, as in 2024-08-01:, or none; {history} loads a range that is past",
        )
    return requested, span


def resumed(request: StartRequest, known: SeriesCoverage, now_ms: int, exchange_now_ms: int) -> TimeRange:
    """The range of a live type `since last`: from where the coverage ends; where nothing is known, from the start that
    the request names, or from now on. Raises InvalidInput."""
    found, over_ms = continuation(known.segments), exchange_now_ms // 1000 * 1000
    start_ms = over_ms - 1000
    if found is not None:
        start_ms = found.start_ms
    elif request.default_start is not None:
        start_ms = _until_now(request.default_start, "from", now_ms).start_ms
    return TimeRange(min(start_ms, over_ms - 1000), over_ms)


def continued(
    request: StartRequest,
    known: SeriesCoverage,
    now_ms: int,
    exchange_now_ms: int,
    *,
    trading: bool,
    archive: bool = False,
) -> tuple[Continuation, TimeRange]:
    """Where `since last` begins, and its range. now_ms: what a relative start is resolved with. trading: more records
    may come, or it is not known. archive: files can be read. From files alone it ends with the last day that is over.

    Raises UpToDate, or InvalidInput if nothing is known of the series and the request names no start.
    """
    by_files, first = request.source is SourceChoice.ARCHIVE, request.default_start
    last_ms = exchange_now_ms - exchange_now_ms % _DAY_MS if by_files else exchange_now_ms

    def again(hole: Segment) -> bool:
        is_recent = exchange_now_ms < file_due_ms(known.series, hole.span)
        if hole.cause.startswith(FROM_FILES_ALONE):
            return is_recent or not by_files
        return archive and is_recent and request.source is SourceChoice.AUTO and awaits_file(hole, exchange_now_ms)

    found = continuation(known.segments, again)
    if found is None:
        if first is None:
            raise InvalidInput(
                "since",
                f"nothing of {request.symbol} {request.type} is stored yet, so that there is no end to go on from: "
                "load a range first, or give a start with `from`",
            )
        span = _until_now(first, "from", now_ms)
        if by_files and span.start_ms >= last_ms:
            raise InvalidInput("from", f"from {first[:80]!r}: of today there are no files yet: give an earlier start")
        return Continuation(start_ms=span.start_ms, end_ms=span.start_ms), span.clipped(last_ms)
    over_ms = min(last_ms, rule_of(known.series).over_ms(exchange_now_ms, known.grid_ms))
    ended = not trading and known.last_ms is not None and found.end_ms > known.last_ms
    if not found.repaired and (ended or over_ms <= found.end_ms):
        raise UpToDate(known.series, found.end_ms, ended=ended, left=found.left)
    return found, TimeRange(found.start_ms, max(over_ms, found.end_ms))


def continuation(
    segments: Sequence[Segment], again: Callable[[Segment], bool] = lambda _: False
) -> Continuation | None:
    """Where the coverage ends and what is missing before. None: nothing is known. segments: sorted, disjoint.

    again: whether a hole with a cause is to be loaded again, as one without it is.
    """
    if not segments:
        return None
    end_ms = start_ms = segments[-1].end_ms
    repaired: list[Segment] = []
    left: list[Segment] = []
    in_a_row, cursor_ms = True, end_ms
    for segment in reversed(segments):
        in_a_row = in_a_row and segment.end_ms == cursor_ms and segment.verdict is not Verdict.EXPIRED
        cursor_ms = segment.start_ms
        comes = in_a_row and bool(segment.cause) and again(segment)
        if segment.verdict in SETTLED and not comes:
            continue
        if comes or (in_a_row and not segment.cause):
            repaired.append(segment)
            start_ms = segment.start_ms // 1000 * 1000  # ranges are in whole seconds
        else:
            left.append(segment)
    return Continuation(
        start_ms=start_ms,
        end_ms=end_ms,
        repaired=tuple(reversed(repaired)),
        left=tuple(reversed(left)),
    )


def month_of(time_ms: int) -> int:
    """The first instant of its month: where `since last` stores, so that a series gets a collection each month."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return int(moment.replace(day=1, hour=0, minute=0, second=0).timestamp()) * 1000


def _until_now(start: str, field: str, now_ms: int) -> TimeRange:
    """Raises InvalidInput naming `field`."""
    try:
        return resolve_time_range(f"{start}:", now_ms)
    except InvalidInput as error:
        message = str(error).replace(f"time_range {start + ':'!r}", f"{field} {start!r}")
        raise InvalidInput(field, message) from error
