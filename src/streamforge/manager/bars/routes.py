"""The routes of pictures: bars at a level of detail, and the verdicts of many series as runs."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from streamforge.manager.api.routing import Context, In, StrictRoute, gives, reply
from streamforge.manager.bars import answers as bar_answers
from streamforge.manager.coverage.listing import CoverageRequest, SeriesOrder
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import check_series, normal_type
from streamforge_utils.model.timeranges import is_relative, parse_time_range, resolve_instant

router = APIRouter(route_class=StrictRoute, tags=["data"])

_ASK_AGAIN_S = 1
_MS = re.compile(r"[0-9]{5,15}", re.ASCII)
_LAST = "9998-12-31"
_INSTANT = (
    "Unix milliseconds, or as a START or END of `time_range`: `2024`, `2024-08-01T12:30Z`, `-30d`, `now`. "
    "Left out: of what is stored."
)
Instant = Annotated[str | None, Query(max_length=100, description=_INSTANT, examples=["2024-08-01"])]
_TAG = {"description": "Names what is answered.", "schema": {"type": "string"}}
_WAIT = {"description": "Seconds, where `computing` is not 0.", "schema": {"type": "integer"}}


@router.get(
    "/series/{symbol}/{type}/bars",
    responses={
        **gives(bar_answers.Bars, headers={"ETag": _TAG, "Retry-After": _WAIT}),
        304: {"description": "What `If-None-Match` names is still so.", "headers": {"ETag": _TAG}},
    },
    summary="A series as bars, for a picture",
    description=(
        "The whole grid of the range in columns, at the finest level of detail that has at most `max` bars in it: each "
        "bar with its number of records, the number expected, and the worst verdict. Of candles, and of trades, of "
        "which bars are made. What takes longer is computed behind the answer: `computing` says how many bars lack, "
        "those that are there are spread over the range, and the same request gives more. An answer of days that are "
        "over, and lack nothing that can be had, has an ETag: with `If-None-Match` it is 304 until something of them "
        "is repaired, replaced or removed. The size of an answer does not depend on how many records it stands for."
    ),
)
async def bars(
    symbol: Annotated[str, Path(max_length=300, examples=["BTCUSDT"])],
    type: Annotated[str, Path(max_length=300, examples=["api_candles_1m"])],
    to: In,
    start: Instant = None,
    end: Instant = None,
    most: Annotated[
        int,
        Query(
            alias="max",
            ge=bar_answers.LEAST_BARS,
            le=bar_answers.MOST_BARS,
            description="At most this many bars; the server chooses their length by it.",
        ),
    ] = bar_answers.BARS,
    if_none_match: Annotated[str | None, Header(max_length=1000, description="An ETag that was answered.")] = None,
) -> Response:
    symbol, type = check_series(symbol, type)
    found = await to.service.bars.bars(symbol, type, _instant(start, "start", to), _instant(end, "end", to), most)
    headers = {} if found.etag is None else {"ETag": found.etag}
    if found.etag is not None and found.etag in _tags(if_none_match):
        return Response(None, 304, headers)
    if found.bars.computing:
        headers["Retry-After"] = str(_ASK_AGAIN_S)
    return reply(found.bars, headers=headers)


@router.get(
    "/series/{symbol}/{type}/first-price",
    responses=gives(bar_answers.FirstPrice),
    summary="The first price of a series in a range",
    description="What changes in per cent are counted from: unlike the first bar, it does not depend on their length.",
)
async def first_price(
    symbol: Annotated[str, Path(max_length=300, examples=["BTCUSDT"])],
    type: Annotated[str, Path(max_length=300, examples=["api_candles_1m"])],
    to: In,
    start: Instant = None,
    end: Instant = None,
) -> Response:
    symbol, type = check_series(symbol, type)
    span = _instant(start, "start", to), _instant(end, "end", to)
    return reply(await to.service.bars.first_price(symbol, type, *span))


@router.get(
    "/coverage",
    responses=gives(bar_answers.CoverageRuns),
    summary="What is stored of all series, as runs of verdicts",
    description=(
        "Says of each series what `GET /coverage/{symbol}/{type}` says of the range, without collections and counts. "
        "Without a start or an end the range is that of all that is stored of the series that fit; a cursor keeps it, "
        "and what `now` or `-30d` meant, on the pages that follow."
    ),
)
async def coverage(
    to: In,
    start: Instant = None,
    end: Instant = None,
    bins: Annotated[
        int, Query(ge=1, le=bar_answers.MOST_BINS, description="At most this many runs a series.")
    ] = bar_answers.BINS,
    prefix: Annotated[
        str, Query(max_length=60, description="Only series whose symbol begins so.", examples=["BTC"])
    ] = "",
    type: Annotated[
        str | None, Query(max_length=300, description="Only series of this type.", examples=["api_candles_1m"])
    ] = None,
    verdict: Annotated[
        list[Verdict] | None,
        Query(max_length=len(Verdict), description="Only series that have any of these in the range (repeatable)."),
    ] = None,
    sort: Annotated[
        SeriesOrder,
        Query(description="By symbol, `share`, length of the `hole`, or `proven_end_ms`; with `-` the other way."),
    ] = SeriesOrder.SYMBOL,
    cursor: Annotated[str | None, Query(max_length=1000, description="Of the page before, of the same order.")] = None,
    limit: Annotated[
        int, Query(ge=1, le=bar_answers.SERIES, description="At most this many series.")
    ] = bar_answers.SERIES,
) -> Response:
    asked = CoverageRequest(
        start_ms=_instant_once(start, "start", cursor, to),
        end_ms=_instant_once(end, "end", cursor, to),
        bins=bins,
        prefix=prefix.upper() if prefix.isascii() else prefix,
        type=None if type is None else normal_type(type),
        verdicts=frozenset(verdict or ()),
        order=sort,
        cursor=cursor,
        limit=limit,
    )
    return reply(await to.service.coverage_listing.page(asked))


def _instant_once(text: str | None, field: str, cursor: str | None, to: Context) -> int | None:
    """As `_instant`; None where it is relative to now and the page before has said which instant it is."""
    found = _instant(text, field, to)
    relative = text is not None and (text == "now" or (is_relative(text) and _MS.fullmatch(text) is None))
    return None if relative and cursor is not None else found


def _instant(text: str | None, field: str, to: Context) -> int | None:
    """An instant, also one after now, unix milliseconds. Raises InvalidInput."""
    now_ms = to.clock.now_ms()
    if text is None:
        return None
    if text == "now":
        return now_ms
    if is_relative(text) and _MS.fullmatch(text) is None:
        return resolve_instant(text, now_ms, field)
    last_ms = parse_time_range(f"2000:{_LAST}").end_ms
    try:
        time_ms = int(text) if _MS.fullmatch(text) else parse_time_range(f"{text}:9999-12-31").start_ms
    except InvalidInput as error:
        raise InvalidInput(field, f"{field} {text[:80]!r} is no instant: write 2024-08-01T12:30:15Z, in UTC") from error
    if time_ms > last_ms:
        raise InvalidInput(field, f"{field} {text[:80]!r} lies after {_LAST}: write milliseconds, or an earlier year")
    return time_ms


def _tags(header: str | None) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in (header or "").split(",")}
