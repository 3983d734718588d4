"""Synthetic markets whose truth is known: whether the past of a coin, or of its group, says what comes next."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamforge.analytics.graphs.definition import read_definition
from streamforge.analytics.graphs.panel import Bars, Floats, Panel
from streamforge.analytics.models.dataset import Dataset, DatasetDefinition, decision_times, make_dataset

DAY_MS = 86_400_000
START_MS = 1_704_067_200_000  # 2024-01-01
GROUP = 5


def definition(horizon: int = 1, **fields: Any) -> DatasetDefinition:
    given = {
        "interval": "1d",
        "window": 40,
        "step": 1,
        "top_k": 4,
        "features": ["return_1", "return_5", "volatility_10", "volume_5"],
        "universe": {"min_volatility": 0},
    }
    return DatasetDefinition(graph=read_definition({**given, **fields}), horizon=horizon)


def moves(days: int, coins: int, seed: int, *, group: float = 0.0, own: float = 0.0) -> Floats:
    """Returns of logarithms; coins of a group share a part of theirs, by which a graph finds it.

    group: how much of what the others of the group did alone comes back two days later; own: the same of all that the
    coin itself did. A decision sees the bar that closes, the next one is not traded, and the one behind it is the
    target of horizon 1.
    """
    generator = np.random.default_rng(seed)
    shared = np.repeat(generator.normal(size=(days, coins // GROUP)), GROUP, axis=1)
    alone = generator.normal(size=(days, coins))
    others = (alone.reshape(days, -1, GROUP).sum(axis=2).repeat(GROUP, axis=1) - alone) / np.sqrt(GROUP - 1)
    found = shared + alone + 0.5 * generator.normal(size=(days, 1))
    for day in range(2, days):
        found[day] += group * others[day - 2] + own * found[day - 2]
    return np.asarray(0.02 * found)


def panel_of(returns: Floats, *, noise: float = 0.0, seed: int = 0) -> Panel:
    """noise: the deviation by which prices are off, as between bid and ask; an open is the close before."""
    generator = np.random.default_rng([seed, 1])
    prices = 100 * np.exp(np.cumsum(returns, axis=0) + noise * generator.normal(size=returns.shape))
    days = len(returns)
    times = START_MS + DAY_MS * np.arange(days)
    bars = {
        f"C{coin:03}USDT": Bars(
            times,
            prices[:, coin],
            generator.uniform(1e5, 1e6, days),
            np.concatenate([[100.0], prices[:-1, coin]]),
        )
        for coin in range(returns.shape[1])
    }
    return Panel.of(bars, start_ms=START_MS, end_ms=START_MS + days * DAY_MS, bar_ms=DAY_MS)


def dataset_of(panel: Panel, made: DatasetDefinition | None = None) -> Dataset:
    made = made or definition()
    return make_dataset(made, panel, decision_times(made, panel))
