"""Checks that no sample shows what closes later, and that no target knows more than its trade: `python -m
tests.analytics.models.blindness --cases 10000`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from random import Random

from streamforge.analytics.graphs.panel import Bars, Panel
from streamforge.analytics.models.dataset import Dataset, DatasetDefinition, Sample, make_dataset
from streamforge.analytics.models.dataset_definition import DELAY
from tests.analytics.graphs.random_markets import (
    START_MS,
    Market,
    drawn_definition,
    drawn_market,
    with_another_future,
)

Make = Callable[[DatasetDefinition, Panel, list[int]], Dataset]
Traded = dict[str, dict[int, tuple[float, float, float]]]
"""Of each coin by the time at which a bar opens: open, close and quote volume."""
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


def check_target(case: int, make: Make = make_dataset) -> int:
    """Raises AssertionError where a bar before the entry of a trade, or one that closes after its end, changes its
    target. Returns how many returns were compared where all bars but those of the trade were others.

    The bar at whose open the trade ends may close, and be traded, as it likes.
    """
    random = Random(case)
    graph = drawn_definition(random)
    definition = DatasetDefinition(graph=graph, horizon=random.choice([1, 2, 6, 12]))
    bars = graph.lookback + random.choice([3, 30])
    drawn = drawn_market(random, graph, bars + _BARS_AFTER)
    at = graph.snapshot_times(START_MS, START_MS + bars * graph.bar_ms)[-1]
    entry = at + DELAY * graph.bar_ms
    leaving, end_ms = entry + definition.horizon_ms, at + _BARS_AFTER * graph.bar_ms
    market = {one: {time: (random.uniform(50, 200), *bar) for time, bar in own.items()} for one, own in drawn.items()}

    def sample(of: Traded) -> Sample:
        return make(definition, _panel_of_trades(of, graph.bar_ms, end_ms), [at]).samples[0]

    def others(since_ms: int) -> Traded:
        """Bars from this time on that are not of the trade are changed, added and removed."""
        found: Traded = {}
        for symbol, own in market.items():
            found[symbol] = {time: bar for time, bar in own.items() if time < since_ms or entry <= time < leaving}
            for time in range(START_MS, end_ms, graph.bar_ms):
                other = random.uniform(1, 500), random.uniform(1, 500), random.choice([1e4, 1e9])
                if time == leaving and time in own:
                    found[symbol][time] = own[time][0], *other[1:]
                elif time >= since_ms and not entry <= time <= leaving and random.random() < 0.8:
                    found[symbol][time] = other
        return found

    told, unseen = sample(market), sample(others(at))
    if (told.seen(), told.target.tobytes()) != (unseen.seen(), unseen.target.tobytes()):
        raise AssertionError(f"case {case}: the target at {at} knows bars that are not of its trade; {definition}")
    all_others = sample(others(START_MS))
    known = dict(zip(all_others.symbols, all_others.returns, strict=True))
    both = [(of, known[one]) for one, of in zip(told.symbols, told.returns, strict=True) if one in known]
    if any(one.tobytes() != other.tobytes() for one, other in both):
        raise AssertionError(f"case {case}: a return at {at} is of bars before its trade; {definition}")
    return sum(one == one for one, _ in both)


def _panel_of_trades(market: Traded, bar_ms: int, end_ms: int) -> Panel:
    found = {}
    for symbol, bars in market.items():
        opens, closes, volumes = ([bars[time][at] for time in sorted(bars)] for at in (0, 1, 2))
        found[symbol] = Bars(sorted(bars), closes, volumes, opens)
    return Panel.of(found, start_ms=START_MS, end_ms=end_ms, bar_ms=bar_ms)


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
    targets = sum(check_target(case) for case in range(cases))
    print(f"{cases:,} cases, {targets:,} targets: none knew a bar that was not of its trade")


if __name__ == "__main__":
    main()
