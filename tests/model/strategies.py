"""What the property tests of the model draw from."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.timeranges import TimeRange

YEAR_2100 = 4_102_444_800_000
times = st.integers(0, YEAR_2100)
seconds = st.integers(0, YEAR_2100 // 1000).map(lambda s: s * 1000)
intervals = st.sampled_from(Interval)
symbols = st.text(st.characters(categories=("Lu", "Ll", "Lo", "Nd"), include_characters="-_."), min_size=1, max_size=60)
codes = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=6)
decimals = st.from_regex(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,12})?", fullmatch=True)

SMALL = 40
"""Coverage is drawn on so few instants that segments meet, overlap and swallow one another."""


@st.composite
def spans(draw: st.DrawFn, last: int = SMALL) -> TimeRange:
    start = draw(st.integers(0, last - 1))
    return TimeRange(start, draw(st.integers(start + 1, last)))


@st.composite
def coverages(draw: st.DrawFn) -> list[Segment]:
    """Segments that are sorted and disjoint, as they are stored."""
    edges = sorted(draw(st.sets(st.integers(0, SMALL), max_size=12)))
    found = []
    for start, end in itertools.pairwise(edges):
        verdict = draw(st.sampled_from([None, *Verdict]))
        if verdict is not None:
            collection = draw(st.sampled_from(["a", "b"])) if verdict is Verdict.STORED else None
            records = end - start if collection else 0
            found.append(Segment(start_ms=start, end_ms=end, verdict=verdict, collection=collection, records=records))
    return found
