"""A series as it is stored, and its bars computed from every record and every step, to compare an answer with."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import NamedTuple

import msgspec

from streamforge.manager.bars.answers import Bars
from streamforge.manager.bars.service import Picture
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.coverage import Segment, Verdict, overlay, verdict_of
from streamforge_utils.model.kinds.registry import kind_of, rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.verdict_runs import BEST_FIRST
from streamforge_utils.ports.store import Document
from tests.manager.memory_service import NOW_MS, MemoryService

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS = 1_721_606_400_000  # 2024-07-22, a Monday
SYMBOL = "BTCUSDT"
Record = tuple[int, float, float, float, float, float]


class Stored(NamedTuple):
    """A series as it is stored: what is known of each time, and its records by time."""

    series: Series
    segments: Sequence[Segment]
    records: Sequence[Record]


def drawn(
    series: Series, days: int, verdicts: Sequence[tuple[int, Verdict]], seed: int, late: int = 0, early: int = 0
) -> Stored:
    """A series of some days on a grid; verdicts: each with so many steps, again and again. Collections are by day.

    It begins so many steps late, and ends so many early.
    """
    draws, rule, step_ms = Random(seed), rule_of(series), rule_of(series).step_ms or 0
    assert isinstance(rule, Grid)
    segments, records = list[Segment](), list[Record]()
    at_ms, turn, stop_ms = START_MS + late * step_ms, 0, START_MS + days * DAY_MS - early * step_ms
    while at_ms < stop_ms:
        steps, verdict = verdicts[turn % len(verdicts)]
        end_ms = min(at_ms + steps * step_ms, (at_ms // DAY_MS + 1) * DAY_MS, stop_ms)
        held, placed = verdict is Verdict.STORED, verdict in (Verdict.STORED, Verdict.EXPIRED)
        segments.append(
            Segment(
                start_ms=at_ms, end_ms=end_ms, verdict=verdict, collection=f"day{at_ms // DAY_MS}" if placed else None
            )
        )
        if held:
            for time_ms in rule.times(at_ms, end_ms):
                first, high, low, last, size = (draws.randrange(1, 10**6) / 1000 for _ in range(5))
                records.append((time_ms, first, high, low, last, size))
        at_ms, turn = end_ms, turn + 1
    return Stored(series, segments, records)


async def store(service: MemoryService, stored: Stored) -> None:
    """Also what nobody has proven: a record for each step of a hole."""
    rule = rule_of(stored.series)
    assert isinstance(rule, Grid)
    for segment in stored.segments:
        inside: list[Record] = [one for one in stored.records if one[0] in segment.span]
        if segment.verdict is not Verdict.STORED:
            inside = [(time_ms, 7.0, 7.0, 7.0, 7.0, 7.0) for time_ms in rule.times(segment.start_ms, segment.end_ms)]
        collection = segment.collection or f"day{segment.start_ms // DAY_MS}"
        await service.world.store.upsert(collection, [document(stored.series, one) for one in inside])
    await service.know(stored.series, stored.segments)


def cut(stored: Stored, gone: Sequence[TimeRange]) -> Stored:
    """The series without what lies in these; what is left of it is known as before."""
    segments = [verdict_of(one, Verdict.UNKNOWN) for one in gone]
    records = [one for one in stored.records if not any(one[0] in span for span in gone)]
    return stored._replace(segments=overlay(stored.segments, segments), records=records)


def document(series: Series, record: Record, version: int = 1) -> Document:
    names = ("open_time", "open", "high", "low", "close", "volume")
    body = msgspec.json.encode(dict(zip(names, record, strict=True)))
    return Document(kind_of(series).key(series, record[0]), version, body)


def plain(stored: Stored, found: Bars) -> Bars:
    """The same bars, computed from every record and every step."""
    times, rows = list(found.time), list[tuple[object, ...]]()
    step_ms, asked = rule_of(stored.series).step_ms or 0, asked_of(stored)
    for open_ms, end_ms in zip(times, [*times[1:], found.end_ms], strict=True):
        held = [one for one in stored.records if open_ms <= one[0] < end_ms]
        steps = range(open_ms, end_ms, step_ms)
        # Nobody lacks what nobody asked for: it makes no hole of a bar at an edge of what was asked for.
        edge = any(at in asked for at in steps)
        said = [
            verdict_at(stored, at)
            for at in steps
            if at in asked or not edge or verdict_at(stored, at) is not Verdict.UNKNOWN
        ]
        prices = (held[0][1], max(o[2] for o in held), min(o[3] for o in held), held[-1][4]) if held else (None,) * 4
        volume = float(sum(Decimal(repr(one[5])) for one in held)) if held else None
        expected = sum(one not in (Verdict.CLOSED, Verdict.PENDING) for one in said)
        rows.append((*prices, volume, len(held), expected, max(said, key=BEST_FIRST.index).value))
    within = [at for at in range(found.start_ms, found.end_ms, step_ms) if at in asked]
    assert [found.asked_start_ms, found.asked_end_ms] == ([within[0], within[-1] + step_ms] if within else [None] * 2)
    columns = zip(*rows, strict=True)
    names = ("open", "high", "low", "close", "volume", "n", "expected", "verdict")
    return msgspec.structs.replace(found, computing=0, **dict(zip(names, map(list, columns), strict=True)))


def asked_of(stored: Stored) -> TimeRange:
    """What is closed at an end was not asked for, unless all of it is closed."""
    inner = [one for one in stored.segments if one.verdict is not Verdict.CLOSED] or stored.segments
    return TimeRange(inner[0].start_ms, inner[-1].end_ms)


def verdict_at(stored: Stored, time_ms: int) -> Verdict:
    if time_ms + (rule_of(stored.series).step_ms or 0) > NOW_MS:
        return Verdict.PENDING
    return next((one.verdict for one in stored.segments if time_ms in one.span), Verdict.UNKNOWN)


async def picture(service: MemoryService, stored: Stored, span: TimeRange | None = None, most: int = 100) -> Picture:
    start_ms, end_ms = (None, None) if span is None else (span.start_ms, span.end_ms)
    type_name = kind_of(stored.series).type_of(stored.series.interval)
    return await service.bars.bars(SYMBOL, type_name, start_ms, end_ms, most)


async def whole(service: MemoryService, stored: Stored, span: TimeRange | None = None, most: int = 100) -> Bars:
    """The bars once all are computed; what is there before that is right, too."""
    for _ in range(3):
        found = (await picture(service, stored, span, most)).bars
        right = plain(stored, found)
        for at in range(len(found.time)):
            if found.n[at] is None:
                assert found.computing, "only what is said to be computed is not known"
                assert (found.open[at], found.volume[at]) == (None, None)
            else:
                assert [(c[at], r[at]) for c, r in columns(found, right)] == [
                    (r[at], r[at]) for _, r in columns(found, right)
                ]
            assert found.verdict[at] == right.verdict[at]
        if not found.computing:
            assert found == right
            return found
        await service.bars.queue.idle()
    raise AssertionError("it is never all computed")


def columns(*some: Bars) -> list[tuple[Sequence[object], ...]]:
    names = ("time", "open", "high", "low", "close", "volume", "n")
    return [tuple(getattr(one, name) for one in some) for name in names]
