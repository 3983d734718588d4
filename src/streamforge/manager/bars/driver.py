"""Makes the rollups that are lacking, one part of a series at a time, for as long as somebody asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import structlog

from streamforge.manager.bars.reader import bars_from_records
from streamforge.manager.bars.store import Rollups, marks_of
from streamforge.manager.coverage.store import CoverageStore, SeriesCoverage
from streamforge_utils.model.bar_sums import BarSum, merged
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.detail_levels import Levels
from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.model.kinds.bars import BarInterval
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.store import Store

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
TRADES = 10_000
"""Records at any time that an hour is taken to have."""
MOST_JOBS = 16
"""Pictures that are worked on, one after the other; who asks for a further one is told to ask again."""
PATIENCE_S = 30.0
"""What nobody has asked for again for so long is given up."""
TOGETHER = 2
"""Spans that are made at once: what is read and written of one takes no time while another is added up."""
_KEPT = 512
"""Parts of days that are not over, which are kept in memory: of some pictures of several series of 24 hours each."""
_log = structlog.get_logger(__name__)


class _Job:
    """The days that a picture lacks. spans: whole days, in the order in which they are made."""

    def __init__(self, spans: Sequence[TimeRange], asked: float) -> None:
        self.spans = [*reversed(spans)]
        self.asked = asked


class RollupQueue:
    """One task works while there is something to do. Days that are over are kept in the store, others in memory."""

    def __init__(self, store: Store, coverage: CoverageStore, rollups: Rollups, clock: Clock) -> None:
        self._store, self._coverage, self._rollups, self._clock = store, coverage, rollups, clock
        self._jobs: dict[tuple[Series, str], _Job] = {}
        self._failed: dict[tuple[Series, str], StreamForgeError] = {}
        self._parts: dict[tuple[Series, int, str], list[BarSum]] = {}
        self._under_way = set[tuple[Series, TimeRange]]()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def ask(self, series: Series, level: str, spans: Sequence[TimeRange]) -> None:
        """Let these days be made; what was asked for before of the same level is given up for them.

        Raises what went wrong with them since they were asked for the last time.
        """
        job = (series, level)
        if (error := self._failed.pop(job, None)) is not None:
            raise error
        if self._closed or (job not in self._jobs and len(self._jobs) >= MOST_JOBS):
            return
        self._jobs[job] = _Job(in_coarse_order(spans), self._clock.monotonic())
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="rollups")

    async def close(self) -> None:
        """End the work under way; nothing is begun any more."""
        self._closed = True
        self._jobs.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def idle(self) -> None:
        """Return once nothing is left to do."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def make(self, known: SeriesCoverage, span: TimeRange, *, must_keep: bool = False) -> dict[int, list[BarSum]]:
        """The bars of some whole days, of the finest level that is kept; by day.

        must_keep: raise where the store does not take them, too. Raises StreamForgeError.
        """
        levels = Levels.of(known.series, known.grid_ms).rolled
        marks = marks_of(known, span, DAY_MS)
        made = await self._made(known, span, levels[0])
        by_day: dict[int, list[BarSum]] = {day_ms: [] for day_ms in marks}
        for one in made:
            by_day[one.time - one.time % DAY_MS].append(one)
        over_ms = rule_of(known.series).over_ms(self._clock.now_ms() + known.clock_ahead_ms, known.grid_ms)
        over = {day_ms: bars for day_ms, bars in by_day.items() if day_ms + DAY_MS <= over_ms}
        rollups = await asyncio.to_thread(_rolled_up, over, marks, levels)
        try:
            await self._rollups.write(known.series, rollups)
        except StreamForgeError:
            if must_keep:
                raise
        return by_day

    async def _made(self, known: SeriesCoverage, span: TimeRange, level: BarInterval) -> list[BarSum]:
        """In parts, of which those that did not change since the last time are known already."""
        length_ms, found = _part_ms(known.series), list[BarSum]()
        if length_ms == DAY_MS and span.end_ms - span.start_ms > DAY_MS:
            return await bars_from_records(self._store, known, span, level.grid)
        for start_ms, mark in sorted(marks_of(known, span, length_ms).items()):
            part = (known.series, start_ms, mark)
            if (bars := self._parts.pop(part, None)) is None:
                within = TimeRange(start_ms, start_ms + length_ms)
                bars = await bars_from_records(self._store, known, within, level.grid)
            self._parts[part] = bars  # the latest of them is the last one to go
            while len(self._parts) > _KEPT:
                del self._parts[next(iter(self._parts))]
            found += bars
        return found

    def lacks(self, known: SeriesCoverage, span: TimeRange) -> int:
        """About how many records must be read before the bars of these days are made."""
        step_ms, length_ms = rule_of(known.series).step_ms, _part_ms(known.series)
        each = TRADES if step_ms is None else length_ms // step_ms
        parts = marks_of(known, span, length_ms).items()
        return each * sum((known.series, start_ms, mark) not in self._parts for start_ms, mark in parts)

    async def _work(self) -> None:
        while self._jobs:
            await asyncio.gather(*(self._make_some() for _ in range(TOGETHER)))

    async def _make_some(self) -> None:
        """Make spans, of one picture after the other, until nothing is left to begin."""
        while self._jobs:
            name, job = next(iter(self._jobs.items()))
            del self._jobs[name]
            if not job.spans or self._clock.monotonic() - job.asked > PATIENCE_S:
                continue
            self._jobs[name] = job  # after the others
            making = (name[0], job.spans.pop())
            if making in self._under_way:  # the picture was asked for again meanwhile
                continue
            self._under_way.add(making)
            try:
                await self._make_lacking(*name, making[1])
            except Exception as error:
                self._fail(name, error)
                job.spans.clear()
            finally:
                self._under_way.discard(making)

    def _fail(self, job: tuple[Series, str], error: Exception) -> None:
        """Let who asks next hear of it."""
        if not isinstance(error, StreamForgeError):
            _log.error("a rollup was not made", series=job[0].id, exc_info=error)
            error = RetryableError(f"the bars of {job[0].id} were not made: {error!r}; the manager's log has more")
        else:
            _log.warning("a rollup was not made", series=job[0].id, error=str(error))
        while len(self._failed) >= MOST_JOBS:
            del self._failed[next(iter(self._failed))]
        self._failed[job] = error

    async def _make_lacking(self, series: Series, level: str, span: TimeRange) -> None:
        known = await self._coverage.known(series)
        marks = marks_of(known, span, DAY_MS)
        if len(await self._rollups.read(series, level, marks)) < len(marks):
            await self.make(known, span, must_keep=True)


def _rolled_up(
    by_day: Mapping[int, list[BarSum]], marks: Mapping[int, str], levels: Sequence[BarInterval]
) -> list[tuple[str, int, str, list[BarSum]]]:
    """Bars of days, of the first level, as they are kept at each level: level, day, mark and bars."""
    found = list[tuple[str, int, str, list[BarSum]]]()
    for day_ms, bars in by_day.items():
        for level in levels:
            bars = bars if level is levels[0] else merged(bars, level.grid)  # each of the one before: there are fewer
            found.append((level.text, day_ms, marks[day_ms], bars))
    return found


def _part_ms(series: Series) -> int:
    """The length of the parts in which a day is made: an hour where its records are very many."""
    step_ms = rule_of(series).step_ms
    return DAY_MS if step_ms is not None and step_ms >= MINUTE_MS else HOUR_MS


def in_coarse_order(spans: Sequence[TimeRange]) -> list[TimeRange]:
    """So that any beginning of them is spread over all: the middle one of each half, then of each quarter."""
    bits = max(len(spans) - 1, 0).bit_length()
    return [spans[at] for at in _reversed_bits(bits) if at < len(spans)]


def _reversed_bits(bits: int) -> Iterator[int]:
    for number in range(1 << bits):
        yield int(f"{number:0{bits}b}"[::-1], 2) if bits else 0
