"""Checks that no snapshot sees a bar that closes later: `python -m tests.analytics.graphs.blindness --cases 10000`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from random import Random

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.panel import Panel
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from tests.analytics.graphs.random_markets import (
    START_MS,
    drawn_definition,
    drawn_market,
    panel_of,
    with_another_future,
)

Build = Callable[[GraphDefinition, Panel, Iterable[int]], Iterator[Snapshot]]


def built(definition: GraphDefinition, panel: Panel, times: Iterable[int]) -> Iterator[Snapshot]:
    """As graph-builder does."""
    return SnapshotBuilder(definition).series(panel, times)


def check(case: int, build: Build = built) -> int:
    """Raises AssertionError where what closes after a snapshot changes it. Returns how many edges it had."""
    random = Random(case)
    definition = drawn_definition(random)
    bars = definition.lookback + random.choice([3, 30])
    market = drawn_market(random, definition, bars)
    times = [*definition.snapshot_times(START_MS, START_MS + bars * definition.bar_ms)]
    at = times[random.choice([-1, -2 * len(times) // 9, random.randrange(len(times))])]
    before = [time for time in times if time <= at][-2:]
    (*_, told) = build(definition, panel_of(market, definition), before)
    changed = with_another_future(random, market, definition, at)
    (*_, other) = build(definition, panel_of(changed, definition), before)
    if told.content() != other.content():
        raise AssertionError(f"case {case}: the snapshot at {at} sees what closes after it; {definition}")
    return len(told.edges.sources)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, metavar="N", help="how many")
    cases = parser.parse_args().cases
    edges = sum(check(case) for case in range(cases))
    print(f"{cases:,} cases, {edges:,} edges: no snapshot saw a bar that closed later")


if __name__ == "__main__":
    main()
