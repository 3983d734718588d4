"""How models did over time: the equity after fees, and the rank-IC of each month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models import prediction_metrics as metrics
from streamforge.analytics.models.card import CardSeries, ModelSeries
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.dataset_definition import DatasetDefinition

_POINTS = 300
_DIGITS = 6


def card_series(
    definition: DatasetDefinition,
    tested: Sequence[Sample],
    rank_ics: Mapping[str, Mapping[int, Floats]],
    returns: Sequence[tuple[str, Floats]],
) -> CardSeries:
    """rank_ics: by model and seed, of the tested samples that count. returns: of each model and seed, after fees."""
    ends = [one.time_ms + definition.span_ms for one in tested]
    step = -(-len(ends) // _POINTS)
    shown = sorted({*range(len(ends) - 1, -1, -step)})
    months = [_month(one.time_ms) for one in tested]
    counting = [month for month, one in zip(months, tested, strict=True) if metrics.counts(one)]
    listed = sorted({*months})
    models = []
    for name, own in rank_ics.items():
        equity = 1 + np.cumsum(np.mean([one for model, one in returns if model == name], axis=0))
        by_moment = np.mean([*own.values()], axis=0)
        models.append(
            ModelSeries(
                model=name,
                equity=[round(float(equity[at]), _DIGITS) for at in shown],
                rank_ic=[_mean(by_moment, counting, month) for month in listed],
            )
        )
    return CardSeries(times_ms=[ends[at] for at in shown], months=listed, models=models)


def _mean(values: Floats, months: Sequence[str], month: str) -> float | None:
    own = [float(value) for value, one in zip(values, months, strict=True) if one == month]
    return round(sum(own) / len(own), _DIGITS) if own else None


def _month(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m")
