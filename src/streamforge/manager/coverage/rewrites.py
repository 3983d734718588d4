"""Ranges of a series whose stored records are, or may be, others than before: what was made of them is out of date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge_utils.model.coverage import Segment, Verdict, outside, touching
from streamforge_utils.model.timeranges import TimeRange

MOST = 100
"""Ranges that a document names, at most: of more, neighbours become one that holds them."""


class Rewrite(msgspec.Struct, frozen=True, kw_only=True):
    """A half-open range of which records were removed or stored a second time. number: a later one has a greater."""

    start_ms: int
    end_ms: int
    number: int


def with_rewritten(before: tuple[Rewrite, ...], spans: Iterable[TimeRange]) -> tuple[Rewrite, ...]:
    """`before` with some ranges more; sorted, disjoint."""
    number = max((one.number for one in before), default=0) + 1
    new = [Rewrite(start_ms=span.start_ms, end_ms=span.end_ms, number=number) for span in spans]
    if not new:
        return before
    found = list[Rewrite]()
    for one in sorted([*before, *new], key=lambda one: one.start_ms):
        if found and one.start_ms <= found[-1].end_ms:
            one = _both(found.pop(), one)
        found.append(one)
    while len(found) > MOST:
        found = [_both(*found[at : at + 2]) if at + 1 < len(found) else found[at] for at in range(0, len(found), 2)]
    return tuple(found)


def loaded_again(known: Sequence[Segment], loaded: Iterable[TimeRange]) -> list[TimeRange]:
    """Those of `loaded` of which something was stored before. known: sorted, disjoint."""
    return [span for span in loaded if any(one.verdict is Verdict.STORED for one in touching(known, span))]


def gone(before: Sequence[Segment], after: Sequence[Segment]) -> list[TimeRange]:
    """What was stored `before` and is not stored in the same collection `after`; both are sorted, disjoint."""
    same = 0  # mostly nearly all: a series may have thousands, and grows at its end
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    olds, news = ([one for one in some[same:] if one.verdict is Verdict.STORED] for some in (before, after))
    return [
        left.span
        for old in olds
        for left in outside([old], [one for one in touching(news, old.span) if one.collection == old.collection])
    ]


def _both(one: Rewrite, other: Rewrite) -> Rewrite:
    return Rewrite(
        start_ms=min(one.start_ms, other.start_ms),
        end_ms=max(one.end_ms, other.end_ms),
        number=max(one.number, other.number),
    )
