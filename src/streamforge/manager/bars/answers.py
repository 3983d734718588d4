"""The JSON that the API answers for pictures: bars in columns, and the verdicts of many series as runs."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import CURSOR, Moment, VerdictName, example, meaning
from streamforge_utils.model.detail_levels import CALENDAR

BARS = 2000
"""The default limit of bars."""
LEAST_BARS, MOST_BARS = 50, 5000
BINS = 400
MOST_BINS = 5000
SERIES = 500
"""A page holds so many at most."""

_ABSENT = "None where the bar has no record, or its records are not added up yet."


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """A series as bars of one length, in columns of one length, oldest first.

    Every bar of the range is there. It is made of what is proven to be stored alone: one that reaches into a hole has
    fewer records than are expected, and one without a record has no price. No price is carried on or interpolated.
    """

    symbol: Annotated[str, example("BTCUSDT")]
    type: Annotated[str, example("api_candles_1m")]
    interval: Annotated[
        str,
        meaning(
            "The level of detail, chosen by the server: the finest that has at most `max` bars in the range, of the "
            f"series' own interval and {', '.join(one.text for one in CALENDAR)} (UTC, weeks begin on Monday).",
            "1h",
        ),
    ]
    step_ms: Annotated[int | None, meaning("Its length; none of `1M`, whose length varies.", 3_600_000)]
    start: Annotated[Moment, meaning("The range that was asked for, widened to whole bars.")]
    end: Moment
    start_ms: int
    end_ms: int
    asked_start_ms: Annotated[
        int | None,
        meaning(
            "The part of it that was asked for of the series, as `span` of `GET /coverage/{symbol}/{type}` has it. Of "
            "a bar that reaches beyond it `expected` and `verdict` do not count what is `unknown` there. None: nothing."
        ),
    ]
    asked_end_ms: int | None
    computing: Annotated[
        int,
        meaning(
            "How many bars have records that are not added up yet: their `n` is none. Ask again after `Retry-After` "
            "seconds, which the answer then has as a header. 0: all are there."
        ),
    ]
    time: Annotated[list[int], meaning("When each bar opens, unix milliseconds.")]
    open: Annotated[
        list[float | None], meaning(f"As stored: the shortest text that reads back to the same double. {_ABSENT}")
    ]
    high: list[float | None]
    low: list[float | None]
    close: list[float | None]
    volume: Annotated[list[float | None], meaning("Added as decimal numbers, rounded once.")]
    n: Annotated[list[int | None], meaning("How many records it is made of. None: they are not added up yet.")]
    expected: Annotated[
        list[int | None],
        meaning(
            "How many records the grid of the series has in it, but for what is `closed` or `pending`. Of records "
            "without a grid it is `n` where all of the bar is stored; else none, as nobody knows. Fewer than expected "
            "under `stored` are gone since the proof: POST /coverage/{symbol}/{type}/verify says which."
        ),
    ]
    verdict: Annotated[
        list[VerdictName],
        meaning(
            "The worst verdict of the coverage in it; from the best: `stored`, `closed`, `pending`, `exchange`, "
            "`expired`, `lost`, `unknown`, `ours`."
        ),
    ]


class FirstPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The first price of a series in a range, of a record that is proven to be stored. None: it has none."""

    symbol: Annotated[str, example("BTCUSDT")]
    type: Annotated[str, example("api_candles_1m")]
    time: Annotated[Moment | None, meaning("Of the record: when a candle opens, or a trade happened.")]
    time_ms: int | None
    price: Annotated[float | None, meaning("Its price, or the open price of a candle, as stored.", 64000.1)]


Run = tuple[int, int, VerdictName]


class SeriesRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts of one series."""

    symbol: Annotated[str, example("BTCUSDT")]
    type: Annotated[str, example("api_candles_1m")]
    runs: Annotated[
        list[Run],
        meaning(
            "Start, end (unix milliseconds, half-open) and verdict, ascending. Of more than `bins` those that meet in "
            "one of so many equal parts of the range are one there, of the worst verdict.",
            [[1722470400000, 1722556800000, "stored"]],
        ),
    ]
    share: Annotated[
        float | None,
        meaning(
            "Of the time of which records are expected, how much is stored, 0 to 1, before anything is put into bins. "
            "None: none are expected, as all is `closed` or `pending`.",
            0.98,
        ),
    ]
    hole: Annotated[
        tuple[int, int] | None,
        meaning("Start and end of the longest range without the records that are expected, of any verdict."),
    ]
    proven_end_ms: Annotated[int | None, meaning("Where what is stored in the range ends.")]


class CoverageRuns(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of many series in one range, and why the rest is not."""

    start: Moment | None
    end: Moment | None
    start_ms: Annotated[
        int | None, meaning("None: nothing was asked for, and there is no series that fits of which any is stored.")
    ]
    end_ms: int | None
    series: Annotated[list[SeriesRuns], meaning("In the order of `sort`.")]
    total: Annotated[int, meaning("How many series fit, on all pages.")]
    cursor: Annotated[str | None, meaning(CURSOR)] = None
