"""The routes of what is stored: coverage of series, collections, records."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from streamforge.manager import presentation
from streamforge.manager.api.problems import invalid
from streamforge.manager.api.routing import Context, In, StrictRoute, gives, no_driver_reason, preferred, reply
from streamforge.manager.books import answers as book_answers
from streamforge.manager.books.presentation import book_answer
from streamforge.manager.catalogue.symbols import fitting
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.exports import formats as export
from streamforge.manager.exports.formats import MEDIA_TYPES, Batch, Format, Times, Writer
from streamforge.manager.problem_codes import ProblemCode
from streamforge_utils.model.kinds.registry import check_series, normal_type, series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, resolve_instant, resolve_time_range

router = APIRouter(route_class=StrictRoute, tags=["data"])

PAGE = 1000
PAGE_LIMIT = 10_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,255}", re.ASCII)
_KEY = re.compile(r"[!-~]{1,254}", re.ASCII)
_BY_MEDIA_TYPE = {
    "application/json": Format.JSON,
    "application/x-ndjson": Format.JSONL,
    "application/jsonl": Format.JSONL,
    "text/csv": Format.CSV,
}
_RANGE = "START[:END], half-open, UTC, as in POST /queues/start."

Prefix = Annotated[str, Query(max_length=60, description="Only series whose symbol begins so.", examples=["BTC"])]
OfType = Annotated[
    str | None, Query(max_length=300, description="Only series of this type.", examples=["api_candles_1m"])
]
Span = Annotated[str | None, Query(alias="time_range", max_length=300, description=_RANGE, examples=["2024-08"])]


@router.get("/coverage/{symbol}/{type}", responses=gives(data_answers.Coverage), summary="What of a series is stored")
async def series_coverage(
    symbol: Annotated[str, Path(max_length=300, examples=["BTCUSDT"])],
    type: Annotated[str, Path(max_length=300, examples=["api_candles_1m"])],
    to: In,
    time_range: Span = None,
    life: Annotated[
        bool,
        Query(
            description=(
                "Without `time_range`: speak of the whole life of the series, not only of what was asked for so far."
            )
        ),
    ] = False,
) -> Response:
    symbol, type = check_series(symbol, type)
    if life and time_range is not None:
        raise invalid("life", "query", "life and time_range name two spans", "leave one of them out")
    report = await to.service.reports.of_series(symbol, type, _span(time_range, to), life=life)
    return reply(presentation.coverage_answer(report, undriven=await no_driver_reason(to, report.loading)))


@router.get("/series", responses=gives(data_answers.SeriesPage), summary="The series that are stored")
async def series(
    to: In,
    cursor: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE, description="At most so many.")] = 100,
    prefix: Prefix = "",
    type: OfType = None,
) -> Response:
    found = await to.service.series(
        cursor=cursor,
        limit=limit,
        prefix=prefix.upper() if prefix.isascii() else prefix,
        type=None if type is None else normal_type(type),
    )
    return reply(found)


@router.get(
    "/books/{symbol}",
    responses=gives(book_answers.Book),
    summary="The order book of a past moment",
    description=(
        "Rebuilt from a whole book that was stored before the moment and the diffs behind it, with the word how far it "
        "can be trusted. 404 where nothing is stored of the moment; the problem says of which moments there are books."
    ),
)
async def book(
    symbol: Annotated[str, Path(max_length=300, examples=["BTCUSDT"])],
    to: In,
    at: Annotated[
        str,
        Query(
            max_length=300,
            description="An instant before now, UTC: as a START of `time_range`.",
            examples=["2024-08-01T12:30:15Z"],
        ),
    ],
    limit: Annotated[
        Annotated[int, Query(ge=1, le=PAGE_LIMIT)] | Literal["all"],
        Query(description="At most this many levels a side; `all`: every level that is known."),
    ] = book_answers.LEVELS,
) -> Response:
    now_ms = to.clock.now_ms()
    found = await to.service.books.at(symbol, resolve_instant(at, now_ms), now_ms)
    return reply(book_answer(found, None if limit == "all" else limit))


@router.get("/symbols", responses=gives(data_answers.Symbols), summary="What the exchange has")
async def symbols(
    to: In,
    pattern: Annotated[
        str | None, Query(max_length=300, description="`*USDT`; without a wildcard, what holds it.", examples=["*USDT"])
    ] = None,
    status: Annotated[str | None, Query(max_length=100, description="Only these.", examples=["TRADING"])] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="At most so many.")] = PAGE,
) -> Response:
    found = fitting(await to.service.symbols(), pattern, status)
    listed = [presentation.answer(data_answers.Symbol, one) for one in found[:limit]]
    return reply(data_answers.Symbols(symbols=listed, total=len(found)))


@router.post(
    "/coverage/{symbol}/{type}/verify",
    responses=gives(data_answers.Verification),
    summary="Count a series in the store, and mark what is gone",
    description=(
        "Compares the keys in the store with what the coverage calls stored. What is gone becomes `ours`: the exchange "
        "has it, the store does not; a workflow for that range loads it again."
    ),
)
async def verify(
    symbol: Annotated[str, Path(max_length=300, examples=["BTCUSDT"])],
    type: Annotated[str, Path(max_length=300, examples=["api_candles_1m"])],
    to: In,
    time_range: Span = None,
) -> Response:
    symbol, type = check_series(symbol, type)
    span = _span(time_range, to)
    found = await to.service.verify(symbol, type, span)
    report = await to.service.reports.of_series(symbol, type, span)
    coverage = presentation.coverage_answer(report, undriven=await no_driver_reason(to, report.loading))
    return reply(presentation.verification_answer(found, coverage))


@router.get("/collections", responses=gives(data_answers.Collections), summary="The collections that hold records")
async def collections(to: In) -> Response:
    names = await to.service.collections()
    listed = [data_answers.Collection(name=name, records=f"/collections/{name}/records") for name in names]
    return reply(data_answers.Collections(collections=listed))


@router.get(
    "/collections/{name}/records",
    summary="The records of a collection, oldest first",
    description=(
        "As JSON, JSON lines or CSV, by `Accept` or `format` (which goes before it). The next page is named by `after` "
        "in JSON and by the header Link (rel=next) in every format. `limit=all` streams the whole. `_key` and "
        "`_version` are not exported; numbers are the shortest text that reads back to the same double."
    ),
    responses=gives(
        data_answers.RecordPage,
        headers={"Link": {"description": "The next page (rel=next).", "schema": {"type": "string"}}},
        also={
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    ),
)
async def records(
    name: Annotated[str, Path(examples=["btcusdt_api_candles_1m_2024_08_01"])],
    to: In,
    request: Request,
    time_range: Span = None,
    symbol: Annotated[
        str | None, Query(max_length=300, description="With `type`: the records of this series alone.")
    ] = None,
    type: Annotated[str | None, Query(max_length=300, description="With `symbol`.")] = None,
    after: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Annotated[
        Annotated[int, Query(ge=1, le=PAGE_LIMIT)] | Literal["all"],
        Query(description="At most this many; `all` streams everything."),
    ] = PAGE,
    format: Annotated[
        Format | None, Query(description="Goes before Accept. `ndjson` is another name of `jsonl`.")
    ] = None,
    time: Annotated[
        Times, Query(description="How open_time and close_time are written: `ms` (unix milliseconds) or `iso`.")
    ] = Times.MS,
) -> Response:
    if _NAME.fullmatch(name) is None:
        detail = f"there is no collection {name[:80]!r}: GET /collections lists them"
        raise NotFound(detail, code=ProblemCode.COLLECTION_UNKNOWN)
    if after is not None and _KEY.fullmatch(after) is None:
        raise invalid(
            "after",
            "query",
            f"after {after[:80]!r} is no key of a record",
            "send what the page before named as `after`, or leave it out",
        )
    span, series = _span(time_range, to), _series(symbol, type)
    form = (format or _BY_MEDIA_TYPE[preferred(request.headers.get("accept"), tuple(_BY_MEDIA_TYPE))]).plain
    headers = {}
    if form is not Format.JSON:
        headers["Content-Disposition"] = f'attachment; filename="{name}.{form.value}"'
    writer = Writer(form, name, time)
    if limit == "all":
        return await _whole(to, name, span, after, series, writer, MEDIA_TYPES[form], headers)
    # One more than asked for tells whether there is a next page.
    source = to.service.records(name, span=span, after=after, limit=limit + 1, series=series)
    found = [record async for batch in source for record in batch]
    following = found[limit - 1][0] if len(found) > limit else None
    found = found[:limit]
    if following is not None:
        query = {
            "after": following,
            "limit": str(limit),
            "format": form.value,
            "time_range": str(span) if span else None,
            "symbol": symbol,
            "type": type,
        }
        if time is not Times.MS:
            query["time"] = time.value
        chosen = urlencode({key: value for key, value in query.items() if value is not None})
        headers["Link"] = f'</collections/{name}/records?{chosen}>; rel="next"'
    text = writer.head(found) + writer.batch(found) + writer.tail(following)
    return Response(text, 200, headers, MEDIA_TYPES[form])


async def _whole(
    to: Context,
    name: str,
    span: TimeRange | None,
    after: str | None,
    series: Series | None,
    writer: Writer,
    media_type: str,
    headers: dict[str, str],
) -> Response:
    source = to.service.records(name, span=span, after=after, limit=sys.maxsize, series=series)
    first = await anext(source, None)  # before the status is sent: it may fail
    if media_type == MEDIA_TYPES[Format.CSV] and first and not export.is_fixed(fields := export.fields_of(first)):
        # Records of somebody else may have other fields further on: a table needs all of them in its first line.
        async for batch in to.service.records(name, span=span, after=after, limit=sys.maxsize, series=series):
            fields = export.fields_of(batch, fields)
        writer.fields = fields
    return StreamingResponse(_closing(export.stream(writer, first or (), source), source), 200, headers, media_type)


async def _closing(text: AsyncIterator[bytes], source: AsyncIterator[Batch]) -> AsyncIterator[bytes]:
    try:
        async for part in text:
            yield part
    finally:
        if (close := getattr(source, "aclose", None)) is not None:
            await close()


def _span(text: str | None, to: Context) -> TimeRange | None:
    return None if text is None else resolve_time_range(text, to.clock.now_ms())


def _series(symbol: str | None, type: str | None) -> Series | None:
    if symbol is None and type is None:
        return None
    if symbol is None or type is None:
        lacking = "symbol" if symbol is None else "type"
        raise invalid(lacking, "query", f"{lacking} is lacking: a series has a symbol and a type", "send both or none")
    return series_of(*check_series(symbol, type))
