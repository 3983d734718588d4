"""The JSON that the API answers about what is stored: coverage, series, collections, records, dead letters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from streamforge.manager.api.models import Moment, VerdictName, VerdictSum, View, WorkflowStatus


class Segment(View):
    """A half-open time range with one verdict."""

    start: Moment
    end: Moment
    start_ms: int
    end_ms: int
    verdict: VerdictName
    collection: str | None
    records: int = Field(description="How many are stored in it.")


class Removed(View):
    """What the removal of a workflow removed, and which records of its range stay."""

    queue_id: str
    records_removed: int
    records_staying: int
    staying: list[Segment] = Field(description="They lie in collections of other workflows, or were not to be removed.")


class CoverageSpan(View):
    """The half-open range that a coverage speaks of."""

    basis: Literal["workflow", "range", "asked", "life"] = Field(
        description=(
            "`workflow`: the range of the workflow; `range`: the range of the request; `asked`: from the first to the "
            "last range that was asked for and can hold records; `life`: from the first bar at the exchange to the "
            "last one that is over."
        )
    )
    start: Moment
    end: Moment
    start_ms: int
    end_ms: int


class CoverageLoading(View):
    """A workflow that has not ended and loads a part of the span; what it has stored so far is not proven yet."""

    queue_id: str
    status: WorkflowStatus
    start_ms: int
    end_ms: int
    records_expected: int | None
    records_stored: int
    undriven: str | None = Field(description="As in a workflow.")


class Coverage(View):
    """What is stored of a series, and why the rest is not."""

    queue_id: str | None
    symbol: str
    type: str
    span: CoverageSpan | None = Field(
        description=(
            "What it speaks of; none where nothing that exists was asked for yet, or no candle of a workflow's range "
            "was over when it was planned."
        )
    )
    complete: bool = Field(
        description=(
            "Whether every hole in the span has its reason: none is `ours` or `unknown`. False where nothing was asked "
            "for; true where no candle of a workflow's range was over, as nothing is lacking."
        )
    )
    verdicts: list[VerdictSum]
    segments: list[Segment] = Field(description="Sorted, disjoint; they speak of all bars that open in the span.")
    loading: list[CoverageLoading] = Field(description="Workflows that have not ended and load a part of the span.")


class Series(View):
    """A series of which something is stored or known.

    start, end: of what is stored, from the first to the last of it; none where nothing is.
    """

    symbol: str
    type: str
    start: Moment | None
    end: Moment | None
    start_ms: int | None
    end_ms: int | None
    records: int | None = Field(
        description="How many are stored, by the grid of the series; none where that is not known."
    )
    complete: bool = Field(description="Whether each of `holes` has its reason, and something is known of the series.")
    holes: int = Field(
        description=(
            "How many ranges are not stored, for any reason, from the first to the last record that is stored, or was "
            "and is gone; where there was never a record, of all that was asked for."
        )
    )
    coverage: str = Field(description="Where its coverage is.")


class SeriesPage(View):
    """Series in the order of their names, last first."""

    series: list[Series]
    cursor: str | None = Field(description="Send it as `cursor` to get the next page; none at the end.")


class Symbol(View):
    """What the exchange says of a symbol."""

    symbol: str = Field(examples=["BTCUSDT"])
    status: str = Field(description="The exchange's own word.", examples=["TRADING"])
    base_asset: str = Field(examples=["BTC"])
    quote_asset: str = Field(examples=["USDT"])


class Symbols(View):
    """What the exchange has, sorted."""

    symbols: list[Symbol]
    total: int = Field(description="How many fit, also beyond `limit`.")


class Gap(View):
    """Records that were proven to be stored and are gone."""

    start: Moment
    end: Moment
    start_ms: int
    end_ms: int
    collection: str = Field(description="Where they were.")
    records: int


class Verification(View):
    """What was found when a series was counted in the store."""

    records_counted: int = Field(description="Records that are there.")
    records_missing: int = Field(description="Records that are not there any more; they are `ours` from now on.")
    gaps: list[Gap]
    coverage: Coverage = Field(description="What is known now.")


class Collection(View):
    """A collection of records."""

    name: str = Field(examples=["btcusdt_api_candles_1m_2024_08_01"])
    records: str = Field(description="Where its records are.")


class Collections(View):
    """The collections that hold records."""

    collections: list[Collection]


class RecordPage(View):
    """Records, oldest first."""

    collection: str
    records: list[dict[str, Any]]
    after: str | None = Field(description="Send it as `after` to get the next page; none at the end.")


class DeadLetter(View):
    """A record that could not be stored."""

    topic: str
    partition: int
    offset: int
    attempt: int
    reason: str
    time: Moment
    encoding: Literal["utf-8", "base64"] = Field(description="How `key` and `value` give the original bytes.")
    key: str | None
    value: str


class DeadLetters(View):
    """What of a workflow could not be stored, oldest first."""

    queue_id: str
    dead_letters: list[DeadLetter] = Field(description="The oldest, `limit` at most and about 16 MiB.")
    outstanding: int = Field(description="How many there are that nobody has replayed.")
