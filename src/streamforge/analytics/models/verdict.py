"""Whether the graph adds anything, and whether there is a signal at all: told by a rule, with its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.baselines import NAIVE
from streamforge.analytics.models.prediction_metrics import NORMAL_95, mean_error

LEAST_SEEDS = 5
NO_LIGHTGBM = "LightGBM was not run, and an edge has to hold against it after fees: model gat runs it"
_COMPARED = ("no_edges", "shuffled")
_STRONGEST = "lightgbm"
_RIVALS = (_STRONGEST, "ridge")


class Outcome(StrEnum):
    """void: a self-test failed, nothing can be said."""

    EDGE = "edge of the graph"
    NO_EDGE = "no edge"
    VOID = "void"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """By how much the rank-IC of `model` is larger than that of `other`, moment by moment, with its 95 % interval."""

    model: str
    other: str
    seed: int
    mean: float
    low: float
    high: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """signal: a model that learns is better than all naive ones. rival: that the graph was compared with after fees."""

    outcome: Outcome
    signal: bool
    rival: str
    reasons: list[str]
    differences: list[Difference]


class Standing(NamedTuple):
    """How a model did. rank_ics: by seed, of each moment. sharpe_net: the mean over seeds."""

    rank_ics: Mapping[int, Floats]
    sharpe_net: float

    def of(self, seed: int) -> Floats:
        """A model without seeds is the same for all."""
        return self.rank_ics.get(seed, next(iter(self.rank_ics.values())))


def verdict(standings: Mapping[str, Standing], seeds: Sequence[int], lag: int, failed: Sequence[str]) -> Verdict:
    """What follows from the ladder.

    `edge of the graph`: with five seeds or more, for each of them, the lower ends of the 95 % intervals of its
    difference to the same model without edges and with shuffled ones are above 0, and its Sharpe ratio after fees is
    not below that of LightGBM. Without that there is no edge, and ridge is the rival. `signal` is told of the first
    seed. `void`: a self-test failed. lag: of the error of a mean. failed: what the self-tests that failed found.
    """
    rival = next(name for name in _RIVALS if name in standings)
    differences = [_difference(standings, "graph", other, seed, lag) for other in (*_COMPARED, rival) for seed in seeds]
    if failed:
        return Verdict(outcome=Outcome.VOID, signal=False, rival=rival, reasons=[*failed], differences=differences)
    reasons = []
    if len(seeds) < LEAST_SEEDS:
        reasons.append(f"{len(seeds)} seeds were run: {LEAST_SEEDS} are needed")
    for other in _COMPARED:
        least = min((one for one in differences if one.other == other), key=lambda one: one.low)
        if least.low <= 0:
            reasons.append(
                f"the difference of rank-IC to {other} is not above 0: "
                f"from {least.low:+.4f} to {least.high:+.4f} (95 %) for seed {least.seed}"
            )
    if rival != _STRONGEST:
        reasons.append(NO_LIGHTGBM)
    graph, best = standings["graph"].sharpe_net, standings[rival].sharpe_net
    if graph < best:
        reasons.append(f"after fees its Sharpe ratio is {graph:.2f}, that of {rival} {best:.2f}")
    return Verdict(
        outcome=Outcome.NO_EDGE if reasons else Outcome.EDGE,
        signal=_signal(standings, seeds[0], lag),
        rival=rival,
        reasons=reasons,
        differences=differences,
    )


def _signal(standings: Mapping[str, Standing], seed: int, lag: int) -> bool:
    """Whether the learning model with the largest rank-IC is above 0, and above each naive one."""
    learning = [name for name in (*_RIVALS, "no_edges", "graph") if name in standings]
    best = max(learning, key=lambda name: float(standings[name].of(seed).mean()))
    return all(_difference(standings, best, other, seed, lag).low > 0 for other in NAIVE)


def _difference(standings: Mapping[str, Standing], model: str, other: str, seed: int, lag: int) -> Difference:
    apart = standings[model].of(seed) - standings[other].of(seed)
    mean = float(np.mean(apart))
    half = NORMAL_95 * mean_error(apart, lag)
    return Difference(model=model, other=other, seed=seed, mean=mean, low=mean - half, high=mean + half)
