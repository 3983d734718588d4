"""Reads a series from the store of a data directory, without a manager; one may run there meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import msgspec

from streamforge import wiring
from streamforge.cli.places import DATA_VARIABLE, keeps_store
from streamforge.manager.coverage.answers import Coverage
from streamforge.manager.coverage.service import Reports
from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.exports.records import RecordReader
from streamforge.manager.exports.rows import RecordRows
from streamforge.manager.presentation import coverage_answer
from streamforge.manager.use_cases import Incomplete
from streamforge.manager.workflows.all_forms import register_forms
from streamforge.scripting.frames import FrameBuilder
from streamforge.scripting.series_places import SeriesPlace
from streamforge_utils.model.coverage import Moved, Segment, Verdict, keeps
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.kinds.registry import kind_of, type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, resolve_time_range
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.settings import DataSettings


class NoFolder(StreamForgeError):
    """Nothing was loaded into the folder."""


class _Sources(msgspec.Struct, frozen=True):
    """What a report is made from where no manager runs."""

    coverage: CoverageStore
    workflows: WorkflowStore
    clock: Clock

    @property
    def exchange(self) -> Exchange:
        raise StreamForgeError("who only reads asks no exchange")

    @property
    def asks(self) -> bool:
        return False


async def read_folder(
    place: SeriesPlace,
    symbol: str,
    type_name: str,
    time_range: str | None,
    *,
    life: bool,
    builder: FrameBuilder,
    known: Callable[[Coverage], None],
    clock: Clock | None = None,
) -> Coverage:
    """Give the records of a series to `builder`; its coverage. known: is given that first, and may raise.

    Raises NoFolder, NotFound, Moved, Incomplete, InvalidInput, ConfigError or RetryableError.
    """
    clock = clock or SystemClock()
    settings = load(DataSettings, {**os.environ, DATA_VARIABLE: str(place.folder)})
    if keeps_store(os.environ):
        directory = wiring.make_data_directory(settings)
        if not directory.used():
            raise NoFolder(
                f"there are no data in {place.folder}: load some first with streamforge.load, or name another folder "
                "with data"
            )
        directory.open()  # with a format file it only reads
    store = wiring.make_store(settings)
    try:
        await store.connect()
        return await _read(store, clock, symbol, type_name, time_range, life=life, builder=builder, known=known)
    finally:
        await store.close()


async def _read(
    store: Store,
    clock: Clock,
    symbol: str,
    type_name: str,
    time_range: str | None,
    *,
    life: bool,
    builder: FrameBuilder,
    known: Callable[[Coverage], None],
) -> Coverage:
    register_forms()
    sources = _Sources(CoverageStore(store), WorkflowStore(store), clock)
    await sources.workflows.load()
    span = None if time_range is None else resolve_time_range(time_range, clock.now_ms())
    reports = Reports(sources)
    report = await reports.of_series(symbol, type_name, span, life=life)
    coverage = coverage_answer(report)
    known(coverage)
    stored = [one for one in report.segments if one.verdict is Verdict.STORED]
    failure: Incomplete | None = None
    try:
        await _give(RecordReader(store, sources.coverage), report.series, stored, builder)
    except Incomplete as error:
        failure = error
    if stored:
        whole = TimeRange(stored[0].start_ms, stored[-1].end_ms)
        now = await reports.of_series(symbol, type_name, whole, life=False)
        if not keeps(now.segments, stored):
            raise Moved(symbol, type_name, whole) from failure
    if failure is not None:
        raise failure
    return coverage


async def _give(reader: RecordReader, series: Series, stored: Sequence[Segment], builder: FrameBuilder) -> None:
    """Give the records of some segments to `builder`. Raises Incomplete or RetryableError."""
    decode = msgspec.json.Decoder(kind_of(series).stored).decode
    for segment in stored:
        collection, count = segment.collection or "", 0
        batches = reader.read(collection, span=segment.span, after=None, limit=sys.maxsize, whole=True, series=series)
        async for batch in batches:
            if isinstance(batch, RecordRows):
                builder.add_rows(batch.rows)
            else:
                builder.add([decode(body) for _, body in batch])
            count += len(batch)
        if segment.records not in (0, count):
            type_name = type_of(series)
            raise Incomplete(
                f"{collection} holds {count:,} records where coverage has proven {segment.records:,}: count what is "
                f"there with `streamforge coverage {series.symbol} {type_name} --verify`",
                series.symbol,
                type_name,
            )
