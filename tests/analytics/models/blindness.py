"""Checks that no sample shows what closes later: `python -m tests.analytics.models.blindness --cases 10000`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from random import Random

from streamforge.analytics.graphs.panel import Bars, Panel
from streamforge.analytics.models.dataset import Dataset, DatasetDefinition, make_dataset
from tests.analytics.graphs.random_markets import (
    START_MS,
    Market,
    drawn_definition,
    drawn_market,
    with_another_future,
)

Make = Callable[[DatasetDefinition, Panel, list[int]], Dataset]
_BARS_AFTER = 40


def check(case: int, make: Make = make_dataset) -> int:
    """Raises AssertionError where what closes after a moment changes what a model sees of it. Returns how many coins
    it had."""
    random = Random(case)
    graph = drawn_definition(random)
    definition = DatasetDefinition(graph=graph, horizon=random.choice([1, 2, 6, 12]))
    bars = graph.lookback + random.choice([3, 30])
    market = drawn_market(random, graph, bars + _BARS_AFTER)
    times = [*graph.snapshot_times(START_MS, START_MS + bars * graph.bar_ms)]
    at = times[random.choice([-1, -2 * len(times) // 9, random.randrange(len(times))])]
    end_ms = at + _BARS_AFTER * graph.bar_ms
    (told,) = make(definition, _panel(market, graph.bar_ms, end_ms), [at]).samples
    changed = with_another_future(random, market, graph, at)
    (other,) = make(definition, _panel(changed, graph.bar_ms, end_ms), [at]).samples
    if told.seen() != other.seen():
        raise AssertionError(f"case {case}: the sample at {at} shows what closes after it; {definition}")
    return len(told.symbols)


def _panel(market: Market, bar_ms: int, end_ms: int) -> Panel:
    found = {}
    for symbol, bars in market.items():
        times = sorted(bars)
        closes, volumes = ([bars[time][at] for time in times] for at in (0, 1))
        found[symbol] = Bars(times, closes, volumes, closes)
    return Panel.of(found, start_ms=START_MS, end_ms=end_ms, bar_ms=bar_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, metavar="N", help="how many")
    cases = parser.parse_args().cases
    coins = sum(check(case) for case in range(cases))
    print(f"{cases:,} cases, {coins:,} coins: no sample showed a bar that closed later")


if __name__ == "__main__":
    main()
