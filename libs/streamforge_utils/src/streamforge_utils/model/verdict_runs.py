"""Runs of one verdict, for a picture: where several meet in one place of it, the worst one is shown.

Pure; times are unix milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from streamforge_utils.model.coverage import Ranged, Verdict
from streamforge_utils.model.timeranges import TimeRange

BEST_FIRST = (
    Verdict.STORED,
    Verdict.CLOSED,
    Verdict.PENDING,
    Verdict.EXCHANGE,
    Verdict.EXPIRED,
    Verdict.LOST,
    Verdict.UNKNOWN,
    Verdict.OURS,
)
"""From what lacks nothing to what somebody has to do something about."""
_RANK = {verdict: rank for rank, verdict in enumerate(BEST_FIRST)}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; of none it is `unknown`."""
    return max(verdicts, key=_RANK.__getitem__, default=Verdict.UNKNOWN)


HOLES = frozenset(Verdict) - {Verdict.STORED, Verdict.CLOSED, Verdict.PENDING}
"""The verdicts of records that are expected and not stored."""


class VerdictRun(msgspec.Struct, frozen=True, array_like=True):
    """A half-open range with one verdict."""

    start_ms: int
    end_ms: int
    verdict: Verdict


class RunFigures(NamedTuple):
    """What runs add up to.

    share: of the time of which records are expected, how much is stored, 0 to 1; None: none are expected. hole: the
    longest range without what is expected, of whatever verdicts; of several of one length the first. proven_end_ms:
    where what is stored ends.
    """

    share: float | None
    hole: TimeRange | None
    proven_end_ms: int | None


def figures_of(runs: Iterable[VerdictRun]) -> RunFigures:
    """The figures of runs (sorted, disjoint)."""
    stored = expected = 0
    proven_end_ms: int | None = None
    longest: TimeRange | None = None
    hole: TimeRange | None = None
    for run in runs:
        length = run.end_ms - run.start_ms
        if run.verdict is Verdict.STORED:
            stored, proven_end_ms = stored + length, run.end_ms
        expected += length if run.verdict is Verdict.STORED or run.verdict in HOLES else 0
        if run.verdict in HOLES:
            meets = hole is not None and hole.end_ms == run.start_ms
            hole = TimeRange(hole.start_ms if hole and meets else run.start_ms, run.end_ms)
            longest = hole if longest is None or hole.length_ms > longest.length_ms else longest
    return RunFigures(stored / expected if expected else None, longest, proven_end_ms)


def runs_of(segments: Iterable[Ranged]) -> list[VerdictRun]:
    """The runs of segments (sorted, disjoint): neighbours of one verdict are one run."""
    return _joined(VerdictRun(one.start_ms, one.end_ms, Verdict(one.verdict)) for one in segments)


def on_bins(runs: Sequence[VerdictRun], span: TimeRange, bins: int) -> list[VerdictRun]:
    """`runs` (sorted, disjoint, of `span`) as they are where these are at most `bins`; else on so many bins.

    Then each begins and ends with a bin, a part of `span` of one length, and of the verdicts in a bin the worst counts.
    """
    if len(runs) <= bins:
        return list(runs)
    length_ms = -(-span.length_ms // bins)
    found: list[tuple[int, int, Verdict]] = []
    for run in runs:
        first = (run.start_ms - span.start_ms) // length_ms
        end = -(-(run.end_ms - span.start_ms) // length_ms)
        if found and found[-1][1] > first:  # it begins in the last bin of the one before
            before_first, _, verdict = found[-1]
            if worst((verdict, run.verdict)) is verdict:
                first += 1
            elif before_first == first:
                found.pop()
            else:
                found[-1] = (before_first, first, verdict)
        if first < end:
            found.append((first, end, run.verdict))
    edges = ((span.start_ms + first * length_ms, span.start_ms + end * length_ms, what) for first, end, what in found)
    return _joined(VerdictRun(start_ms, min(end_ms, span.end_ms), verdict) for start_ms, end_ms, verdict in edges)


def parts_of(runs: Sequence[VerdictRun], edges: Sequence[int]) -> Iterator[list[VerdictRun]]:
    """The parts of `runs` (sorted, disjoint) in each range between two neighbours of `edges`, ascending."""
    at = 0
    for start_ms, end_ms in pairwise(edges):
        while at < len(runs) and runs[at].end_ms <= start_ms:
            at += 1
        parts, on = list[VerdictRun](), at
        while on < len(runs) and runs[on].start_ms < end_ms:
            one = runs[on]
            parts.append(VerdictRun(max(one.start_ms, start_ms), min(one.end_ms, end_ms), one.verdict))
            on += 1
        yield parts


def _joined(runs: Iterable[VerdictRun]) -> list[VerdictRun]:
    found: list[VerdictRun] = []
    for run in runs:
        if found and found[-1].end_ms == run.start_ms and found[-1].verdict is run.verdict:
            run = VerdictRun(found.pop().start_ms, run.end_ms, run.verdict)
        found.append(run)
    return found
