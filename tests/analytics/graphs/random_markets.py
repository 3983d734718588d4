"""Random definitions of graphs, and random bars with holes, coins that end and prices that stand still."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from streamforge.analytics.graphs.definition import GraphDefinition, read_definition
from streamforge.analytics.graphs.panel import Bars, Panel

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_704_067_200_000  # 2024-01-01

Market = dict[str, dict[int, tuple[float, float]]]
"""Of each coin by the time at which a bar opens: close and quote volume."""


def drawn_definition(random: Random) -> GraphDefinition:
    method = random.choice(["pearson", "spearman", "partial", "lead_lag"])
    choices: list[dict[str, Any]] = [
        {"threshold": random.choice([0.0, 0.1, 0.3, 0.6])},
        {"top_k": random.choice([1, 2, 3, 50])},
    ]
    if method != "lead_lag":
        choices += [{"mst": True}, {"tmfg": True}]
    universe: dict[str, Any] = {"min_volatility": random.choice([0.0, 0.001, 0.008])}
    if random.random() < 0.5:
        universe |= {"volume_days": random.choice([1, 2]), "largest": random.choice([0, 3, 5])}
        universe |= {"min_quote_volume": random.choice([0, 10**6])}
    return read_definition(
        {
            "interval": random.choice(["1h", "4h"]),
            "method": method,
            "window": random.choice([8, 12, 30]),
            "step": random.choice([1, 2, 6]),
            "lag": random.choice([1, 3]) if method == "lead_lag" else 0,
            "sign": random.choice(["positive", "negative", "any"]),
            "min_overlap": random.choice([0.5, 0.9, 1.0]),
            "measures": random.random() < 0.7,
            "features": random.sample(["return_1", "return_9", "volatility_5", "volatility_12", "volume_3"], 3),
            "universe": universe,
            **random.choice(choices),
        }
    )


def drawn_market(random: Random, definition: GraphDefinition, bars: int) -> Market:
    """Coins that move together, some of which begin late, end early, have holes, or stand still."""
    coins = random.choice([1, 6, 9, 12])
    generator = np.random.default_rng(random.randrange(2**32))
    together = generator.normal(size=bars)
    market: Market = {}
    for number in range(coins):
        moves = 0.01 * (random.choice([-1, 0, 0.5, 2]) * together + generator.normal(size=bars))
        if random.random() < 0.1:
            moves[:] = 0.0
        closes = 100 * np.exp(np.cumsum(moves))
        first, end = random.choice([0] * 6 + [bars // 2]), random.choice([bars] * 6 + [bars - 5])
        holes = {random.randrange(bars) for _ in range(random.choice([0, 0, 0, 1, bars // 9]))}
        market[f"C{number}USDT"] = {
            START_MS + at * definition.bar_ms: (float(closes[at]), random.choice([1e4, 1e6, 1e8]))
            for at in range(first, end)
            if at not in holes
        }
    return market


def panel_of(market: Market, definition: GraphDefinition) -> Panel:
    end_ms = max((time for bars in market.values() for time in bars), default=START_MS) + definition.bar_ms
    found = {}
    for symbol, bars in market.items():
        times = sorted(bars)
        found[symbol] = Bars(times, [bars[time][0] for time in times], [bars[time][1] for time in times])
    return Panel.of(found, start_ms=START_MS, end_ms=end_ms, bar_ms=definition.bar_ms)


def with_another_future(random: Random, market: Market, definition: GraphDefinition, time_ms: int) -> Market:
    """The market with bars that close after `time_ms` changed, added and removed; a coin may come with them."""
    bar_ms = definition.bar_ms
    later = range(START_MS + -(-(time_ms - bar_ms + 1 - START_MS) // bar_ms) * bar_ms, time_ms + 40 * bar_ms, bar_ms)
    changed: Market = {}
    for symbol, bars in market.items():
        own = {time: bar for time, bar in bars.items() if time + bar_ms <= time_ms}
        fate = random.choice(["gone", "other", "longer"])
        for time in later:
            if time in bars and fate != "gone" and random.random() < 0.8:
                own[time] = (bars[time][0] * random.choice([0.01, 1.0, 100.0]), bars[time][1] * 10)
            elif fate == "longer" and random.random() < 0.5:
                own[time] = (random.uniform(1, 100), 1e9)
        changed[symbol] = own
    if random.random() < 0.3:
        changed["A NEW COIN"] = {time: (random.uniform(1, 100), 1e9) for time in later}
    return changed
