"""What a run of the ladder found, as data and as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from streamforge.analytics.models.dataset import DatasetDefinition
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.verdict import Outcome, Verdict

FORMAT = 1
_COLUMNS = ["model", "seeds", "IC", "rank-IC", "ICIR", "t", "accuracy", "up", "prec@k", "base rate"]
_COLUMNS += ["turnover", "Sharpe", "net", "deflated"]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model and seed, over all tests.

    ic, rank_ic: means over moments. icir, t: of the rank-IC; t by Newey and West. accuracy: of the direction, with its
    95 % interval; up: the share of returns above 0. precision: at `top`; base_rate: what chance gives. turnover: of a
    moment, by the sum of positions. sharpe, sharpe_net: of a year, before and after fees. deflated: the probability
    that the latter is not the best by chance of so many trials.
    """

    model: str
    seed: int
    ic: float
    rank_ic: float
    icir: float
    t: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    up: float
    precision: float
    base_rate: float
    turnover: float
    sharpe: float
    sharpe_net: float
    deflated: float


class SwitchScore(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset that is wrong on purpose brings; honest: the rank-IC of the same model on the right one."""

    switch: str
    model: str
    honest: float
    rank_ic: float
    t: float
    sharpe_net: float


class EvaluationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models are compared. fee_bp: basis points of what is traded. top: of the precision. trials: how many models
    were tried, all runs before this one included; 0: those of the ladder."""

    folds: FoldRules
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    fee_bp: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    top: Annotated[int, msgspec.Meta(ge=1)] = 10
    trials: Annotated[int, msgspec.Meta(ge=0)] = 0


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the ladder. moments: tested; first_ms, last_ms: the first and the last of them. coins: the fewest and
    the most of a moment. predictions_sha256: of those of the right dataset."""

    format: int = FORMAT
    dataset: DatasetDefinition
    dataset_sha256: str
    settings: EvaluationSettings
    trials: int
    moments: int
    first_ms: int
    last_ms: int
    coins: tuple[int, int]
    predictions_sha256: str
    verdict: Verdict
    scores: list[Score]
    switchboard: list[SwitchScore]


def markdown(card: Card) -> str:
    """The card as a page."""
    told = card.verdict
    signal = "not told" if told.outcome is Outcome.VOID else "yes" if told.signal else "no"
    without = "" if told.rival == "lightgbm" else "; LightGBM was not run"
    lines = [
        f"# {told.outcome.value[0].upper()}{told.outcome.value[1:]}",
        "",
        f"Signal: {signal}. Compared after fees with {told.rival}{without}.",
        "",
        *(f"- {reason}" for reason in told.reasons),
        *([""] if told.reasons else []),
        f"{card.moments} moments from {card.first_ms} to {card.last_ms} (unix ms), {card.coins[0]} to {card.coins[1]} "
        f"coins, horizon {card.dataset.horizon} bars of {card.dataset.graph.interval}, seeds {[*card.settings.seeds]}, "
        f"fees {card.settings.fee_bp:g} bp, {card.trials} trials.",
        "",
        "## Models",
        "",
        *_table(
            _COLUMNS,
            (_row(group) for group in _by_model(card.scores)),
        ),
        "",
        "Means over seeds. accuracy: of the direction, with the 95 % interval of the first seed.",
        "",
        "## Rank-IC of the graph less that of others",
        "",
        *_table(
            ["other", "seed", "mean", "95 %"],
            ([d.other, str(d.seed), f"{d.mean:+.4f}", f"{d.low:+.4f} to {d.high:+.4f}"] for d in told.differences),
        ),
        "",
        "## Switchboard",
        "",
        *_table(
            ["wrong on purpose", "model", "rank-IC", "of the right one", "t", "Sharpe net"],
            (
                [s.switch, s.model, f"{s.rank_ic:.4f}", f"{s.honest:.4f}", f"{s.t:.1f}", f"{s.sharpe_net:.2f}"]
                for s in card.switchboard
            ),
        ),
        "",
        "Not a claim that it can be traded: no spread, no slippage, no cost of being short.",
        "",
        f"Predictions {card.predictions_sha256}, dataset {card.dataset_sha256}.",
    ]
    return "\n".join(lines) + "\n"


def _by_model(scores: Sequence[Score]) -> Iterable[list[Score]]:
    return ([one for one in scores if one.model == name] for name in dict.fromkeys(one.model for one in scores))


def _row(scores: Sequence[Score]) -> list[str]:
    def mean(field: str, digits: int) -> str:
        return f"{sum(getattr(one, field) for one in scores) / len(scores):.{digits}f}"

    first = scores[0]
    return [
        first.model,
        str(len(scores)),
        *(mean(field, 4) for field in ("ic", "rank_ic")),
        *(mean(field, 2) for field in ("icir", "t")),
        f"{mean('accuracy', 3)} ({first.accuracy_low:.3f} to {first.accuracy_high:.3f})",
        *(mean(field, 3) for field in ("up", "precision", "base_rate")),
        *(mean(field, 2) for field in ("turnover", "sharpe", "sharpe_net", "deflated")),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
