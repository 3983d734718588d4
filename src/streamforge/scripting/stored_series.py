"""Reading a stored series as a frame, with its coverage: from a server, or straight from the data directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import msgspec

from streamforge.scripting.frames import FrameBuilder, builder_of, check_frame
from streamforge.scripting.series_places import SeriesPlace, check_texts, series_place
from streamforge_utils.model.coverage import COMPLETE
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.kinds.registry import check_series, kind_of_type
from streamforge_utils.model.timeranges import TimeRange, format_ms
from streamforge_utils.plugins import load_plugins
from streamforge_utils.reading import ask_series, read_unmoved

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from streamforge.manager.coverage.answers import Coverage, Segment

F = TypeVar("F")

CHUNK = 10_000
"""Records that are in memory beside the frame."""
_HOLES_SHOWN = 3


@dataclass(frozen=True, repr=False)
class StoredSeries(Generic[F]):
    """What was read. frame: oldest first, each record once; instants are UTC timestamps.

    coverage: what is stored of the range, and why the rest is not: `coverage.segments` have `start`, `end` and a
    `verdict` each.
    """

    symbol: str
    type: str
    frame: F
    coverage: Coverage

    @property
    def complete(self) -> bool:
        """Whether every hole has a reason that is the exchange's."""
        return is_complete(self.coverage)

    @property
    def holes(self) -> list[Segment]:
        """The ranges that are not stored, with their verdicts."""
        return [one for one in self.coverage.segments if one.verdict != "stored"]

    @property
    def start(self) -> str:
        """The start of the range that the coverage speaks of, ISO 8601 in UTC; empty where there is none."""
        return "" if self.coverage.span is None else self.coverage.span.start

    @property
    def end(self) -> str:
        """Its end, which is not in it."""
        return "" if self.coverage.span is None else self.coverage.span.end

    def __repr__(self) -> str:
        whole = "complete" if self.complete else "not complete"
        span = f" from {self.start} to {self.end}" if self.start else ""
        return f"<{self.symbol} {self.type}{span}: {len(self.frame):,} records, {whole}>"  # type: ignore[arg-type]


class IncompleteSeries(StreamForgeError):
    """Records of the range are not stored though the exchange has them, or may have. coverage: of the range."""

    def __init__(self, message: str, coverage: Coverage) -> None:
        super().__init__(message)
        self.coverage = coverage


@overload
def read(
    symbol: str,
    type: str,
    time_range: str | None = None,
    *,
    frame: Literal["polars"] = "polars",
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
    allow_incomplete: bool = False,
    life: bool = False,
) -> StoredSeries[polars.DataFrame]: ...
@overload
def read(
    symbol: str,
    type: str,
    time_range: str | None = None,
    *,
    frame: Literal["pandas"],
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
    allow_incomplete: bool = False,
    life: bool = False,
) -> StoredSeries[pandas.DataFrame]: ...
@overload
def read(
    symbol: str,
    type: str,
    time_range: str | None = None,
    *,
    frame: Literal["arrow"],
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
    allow_incomplete: bool = False,
    life: bool = False,
) -> StoredSeries[pyarrow.Table]: ...
def read(
    symbol: str,
    type: str,
    time_range: str | None = None,
    *,
    frame: str = "polars",
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
    allow_incomplete: bool = False,
    life: bool = False,
) -> StoredSeries[Any]:
    """Read what is stored of a series as a frame, with its coverage.

        series = streamforge.read("BTCUSDT", "api_candles_1m", "2024")
        series.frame.select("open_time", "close")

    symbol, type, time_range: as `streamforge load` takes them: `BTCUSDT`, `api_candles_1m`, `START[:END]`, half-open,
    UTC, or relative to now (`-30d`). Without a range it is all that was asked for so far; with `life`, the whole life
    of the series at the exchange.
    frame: `polars`, `pandas` or `arrow`; that package must be installed. Instants are timestamps in UTC, prices and
    quantities doubles.
    data: the folder that `streamforge load` and `up` have filled; it is read without a manager. server, token: a
    queue-manager instead, `http://HOST:PORT`, and a reader's token (else that of STREAMFORGE_TOKEN). Without either:
    the server that STREAMFORGE_URL names, else the folder that commands use.
    allow_incomplete: give what there is, also where the range has holes that are not the exchange's.

    Raises IncompleteSeries for such a range otherwise, InvalidInput for arguments that cannot be, and StreamForgeError
    (their base) where the place has no data, does not answer, holds fewer records than were proven, or has moved
    them, three times, while they were read.
    """
    check_texts(symbol, type, time_range)
    load_plugins(os.environ)
    symbol, type = check_series(symbol, type)
    place = series_place(data, server, token)
    check_frame(frame)

    def known(coverage: Coverage) -> None:
        if not allow_incomplete and not is_complete(coverage):
            raise IncompleteSeries(_lacks(coverage, place), coverage)

    def attempt() -> StoredSeries[Any]:
        builder = builder_of(frame, kind_of_type(type))
        if place.server is not None:
            found = _from_server(place, symbol, type, time_range, life, builder, known)
        else:
            from streamforge.scripting.background import Background
            from streamforge.scripting.folder_reading import read_folder

            reading = Background(
                lambda _: read_folder(place, symbol, type, time_range, life=life, builder=builder, known=known),
                f"reading {symbol} {type}",
            )
            try:
                found = reading.wait()
            finally:
                reading.cancel()
        return StoredSeries(symbol, type, builder.frame(), found)

    return read_unmoved(attempt)


def is_complete(coverage: Coverage) -> bool:
    """Whether every hole has a reason that is the exchange's, as export has it."""
    return coverage.span is not None and all(one.verdict in COMPLETE for one in coverage.segments)


def _from_server(
    place: SeriesPlace,
    symbol: str,
    type_name: str,
    time_range: str | None,
    life: bool,
    builder: FrameBuilder,
    known: Callable[[Coverage], None],
) -> Coverage:
    from streamforge.manager.coverage.answers import Coverage

    stored = ask_series(symbol, type_name, time_range, life=life, url=place.server, token=place.token())
    try:
        coverage = msgspec.json.decode(stored.coverage, type=Coverage)
    except msgspec.MsgspecError as error:
        raise StreamForgeError(
            f"{place.server} answered something else than queue-manager does ({error}): is its version as old as this?"
        ) from error
    known(coverage)
    for records in stored.chunks(CHUNK):
        builder.add(records)
    return coverage


def _lacks(coverage: Coverage, place: SeriesPlace) -> str:
    """Which holes a range has, and what to do."""
    series = f"{coverage.symbol} {coverage.type}"
    lacking = [one for one in coverage.segments if one.verdict not in COMPLETE]
    if not lacking:
        return f"{series}: nothing was asked for yet: load a range first with streamforge.load"
    told = [f"{format_ms(one.start_ms)} to {format_ms(one.end_ms)} ({one.verdict})" for one in lacking[:_HOLES_SHOWN]]
    more = f" and {len(lacking) - _HOLES_SHOWN} more ranges" if len(lacking) > _HOLES_SHOWN else ""
    span = TimeRange(lacking[0].start_ms // 1000 * 1000, -(-lacking[-1].end_ms // 1000) * 1000)
    wait = f" once {coverage.loading[0].queue_id}, which loads a part of it, has ended" if coverage.loading else ""
    arguments = f"{coverage.symbol!r}, {coverage.type!r}, '{format_ms(span.start_ms)}:{format_ms(span.end_ms)}'"
    return (
        f"{series} is not complete: {', '.join(told)}{more}; load the rest with streamforge.load({arguments}"
        f"{place.arguments()}){wait}, or read what there is with allow_incomplete=True"
    )
