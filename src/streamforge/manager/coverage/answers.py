"""The JSON that the API answers about what is stored: coverage, series, collections, records, dead letters."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import msgspec

from streamforge.manager.answers import (
    CURSOR,
    Moment,
    VerdictName,
    VerdictSum,
    WorkflowStatus,
    example,
    meaning,
    one_of,
)
from streamforge.manager.dead_letters.model import LetterCode
from streamforge.manager.use_cases import Basis


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A half-open time range with one verdict."""

    start: Moment
    end: Moment
    start_ms: int
    end_ms: int
    verdict: VerdictName
    collection: str | None = None
    records: Annotated[int, meaning("How many are stored in it.")] = 0
    first_id: Annotated[
        int | msgspec.UnsetType, meaning("Of its first record, where records have ids in sequence.")
    ] = msgspec.UNSET
    last_id: Annotated[int | msgspec.UnsetType, meaning("Of its last record, likewise.")] = msgspec.UNSET
    cause: Annotated[
        str | msgspec.UnsetType,
        meaning(
            "Why it is `lost`, `expired` or `unknown`; of `ours` which records contradict each other; of `stored` "
            "what is in doubt: `checksum-disputed: …`, or why the order book is not verified; of `exchange` that a "
            "file may still have it."
        ),
    ] = msgspec.UNSET


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What the removal of a workflow removed, and which records of its range stay."""

    queue_id: str
    records_removed: int
    records_staying: int
    staying: Annotated[list[Segment], meaning("They lie in collections of other workflows, or were not to be removed.")]


class CoverageSpan(msgspec.Struct, frozen=True, kw_only=True):
    """The half-open range that a coverage speaks of."""

    basis: Annotated[
        str,
        one_of(get_args(Basis)),
        meaning(
            "`workflow`: the range of the workflow; `range`: the range of the request; `asked`: from the first to the "
            "last range that was asked for and can hold records; `life`: from the first bar at the exchange to the "
            "last one that is over."
        ),
    ]
    start: Moment
    end: Moment
    start_ms: int
    end_ms: int


class CoverageLoading(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that has not ended and loads a part of the span; what it has stored so far is not proven yet."""

    queue_id: str
    status: WorkflowStatus
    start_ms: int
    end_ms: int
    records_expected: int | None
    records_stored: int
    undriven: Annotated[str | None, meaning("As in a workflow.")] = None


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a series, and why the rest is not."""

    queue_id: str | None = None
    symbol: str
    type: str
    span: Annotated[
        CoverageSpan | None,
        meaning(
            "What it speaks of; none where nothing that exists was asked for yet, or nothing of a workflow's range "
            "was over when it was planned."
        ),
    ] = None
    complete: Annotated[
        bool,
        meaning(
            "Whether every hole in the span has its reason: none is `ours`, `unknown` or `lost`. What retention "
            "removed (`expired`) is no lack; `verdicts` tells how much that is. False where nothing was asked for; "
            "true where nothing of a workflow's range was over, as nothing is lacking."
        ),
    ]
    verdicts: list[VerdictSum] = []
    segments: Annotated[list[Segment], meaning("Sorted, disjoint; they speak of all bars that open in the span.")]
    loading: Annotated[
        list[CoverageLoading], meaning("Workflows that have not ended and load a part of the span.")
    ] = []


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A series of which something is stored or known.

    start, end: of what is stored, from the first to the last of it; none where nothing is.
    """

    symbol: str
    type: str
    start: Moment | None
    end: Moment | None
    start_ms: int | None
    end_ms: int | None
    records: Annotated[
        int | None, meaning("How many are stored, by the grid of the series; none where that is not known.")
    ]
    complete: Annotated[bool, meaning("Whether each of `holes` has its reason, and something is known of the series.")]
    holes: Annotated[
        int,
        meaning(
            "How many ranges are not stored, for any reason, from the first to the last record that is stored, or was "
            "and is gone; where there was never a record, of all that was asked for."
        ),
    ]
    verdicts: Annotated[list[VerdictSum], meaning("What the same ranges, and what is stored, add up to.")]
    asked_start_ms: Annotated[
        int | None,
        meaning("From where to where it was asked for, without what is closed, not over or expired at the ends."),
    ]
    asked_end_ms: int | None
    asked: Annotated[list[VerdictSum], meaning("What that range adds up to.")]
    coverage: Annotated[str, meaning("Where its coverage is.")]


class SeriesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Series in the order of their names, last first."""

    series: list[Series]
    cursor: Annotated[str | None, meaning(CURSOR)] = None


class Symbol(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange says of a symbol."""

    symbol: Annotated[str, example("BTCUSDT")]
    status: Annotated[str, meaning("The exchange's own word.", "TRADING")]
    base_asset: Annotated[str, example("BTC")] = ""
    quote_asset: Annotated[str, example("USDT")] = ""


class Symbols(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange has, sorted."""

    symbols: list[Symbol]
    total: Annotated[int, meaning("How many fit, also beyond `limit`.")]


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Records that were proven to be stored and are gone."""

    start: Moment
    end: Moment
    start_ms: int
    end_ms: int
    collection: Annotated[str, meaning("Where they were.")]
    records: int


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found when a series was counted in the store."""

    records_counted: Annotated[int, meaning("Records that are there.")]
    records_missing: Annotated[
        int, meaning("Records that are not there any more: `ours` from now on, of order books `lost`.")
    ]
    gaps: list[Gap]
    coverage: Annotated[Coverage, meaning("What is known now.")]


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A collection of records."""

    name: Annotated[str, example("btcusdt_api_candles_1m_2024_08_01")]
    records: Annotated[str, meaning("Where its records are.")]


class Collections(msgspec.Struct, frozen=True, kw_only=True):
    """The collections that hold records."""

    collections: list[Collection]


class RecordPage(msgspec.Struct, frozen=True, kw_only=True):
    """Records, oldest first."""

    collection: str
    records: list[dict[str, Any]]
    after: Annotated[str | None, meaning("Send it as `after` to get the next page; none at the end.")]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be stored; `topic`, `partition` and `offset` are where it came from, and name it."""

    topic: str
    partition: int
    offset: int
    target: Annotated[str | None, meaning("The worker that refused it; none: it does not tell.", "arango-candles")]
    attempt: int
    reason: str
    code: Annotated[str, one_of(LetterCode), meaning("What kind of reason it is.", "not-a-record")]
    time: Moment
    encoding: Annotated[str, one_of(("utf-8", "base64")), meaning("How `key` and `value` give the original bytes.")]
    key: str | None
    value: str
    size: Annotated[int, meaning("Bytes of the original value.")]
    cut: Annotated[bool, meaning("Whether `value` is its beginning alone.")]


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """What of a workflow could not be stored, oldest first."""

    queue_id: str
    dead_letters: Annotated[list[DeadLetter], meaning("The oldest, `limit` at most and about 16 MiB.")]
    outstanding: Annotated[int, meaning("How many have not been replayed.")]
    after: Annotated[str | None, meaning("Send it as `after` to get the next page; none at the end.")] = None
