"""Leftovers of a series: records that are to be removed, which no segment of its coverage speaks of any more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec

from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.timeranges import TimeRange

_replace = msgspec.structs.replace


class Leftover(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Records of a series that are to be removed: they lie in `collection`, and no segment speaks of them.

    whole: the collection goes with all that is in it, once it was exported (retention).
    """

    collection: str
    start_ms: int
    end_ms: int
    whole: bool = False

    @property
    def span(self) -> TimeRange:
        return TimeRange(self.start_ms, self.end_ms)


def copies(old: Sequence[Segment], new: Sequence[Segment]) -> list[Leftover]:
    """What `old` knows in another collection than `new` does; both are sorted and disjoint."""
    olds, news = ([s for s in some if s.verdict is Verdict.STORED] for some in (old, new))
    found, at = [], 0
    for before in olds:
        while at < len(news) and news[at].end_ms <= before.start_ms:
            at += 1
        for now in islice(news, at, None):
            common = before.span.intersection(now.span)
            if common is None:
                break
            if before.collection not in (None, now.collection):
                copy = Leftover(collection=before.collection or "", start_ms=common.start_ms, end_ms=common.end_ms)
                found.append(copy)
    return found


def uncovered(left: tuple[Leftover, ...], segments: Sequence[Segment]) -> tuple[Leftover, ...]:
    """The leftovers without what is stored again."""
    for segment in segments if left else ():
        if segment.verdict is Verdict.STORED and segment.collection is not None:
            left = without(left, segment.collection, segment.span)
    return left


def without(leftovers: Sequence[Leftover], collection: str, span: TimeRange) -> tuple[Leftover, ...]:
    """The leftovers but for those of `span` in `collection`."""
    left: list[Leftover] = []
    for one in leftovers:
        if one.collection != collection or one.span.intersection(span) is None:
            left.append(one)
            continue
        if one.start_ms < span.start_ms:
            left.append(_replace(one, end_ms=span.start_ms))
        if span.end_ms < one.end_ms:
            left.append(_replace(one, start_ms=span.end_ms))
    return tuple(left)


def joined(leftovers: Sequence[Leftover]) -> tuple[Leftover, ...]:
    """The leftovers, where those that meet are one."""
    found: list[Leftover] = []
    for one in sorted(leftovers, key=lambda one: (one.collection, one.whole, one.start_ms)):
        last = found[-1] if found else None
        if (
            last is not None
            and (last.collection, last.whole) == (one.collection, one.whole)
            and one.start_ms <= last.end_ms
        ):
            found[-1] = _replace(last, end_ms=max(last.end_ms, one.end_ms))
        else:
            found.append(one)
    return tuple(found)
