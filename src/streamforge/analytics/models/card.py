"""What a run of the ladder found, as data and as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge.analytics.graphs.graph_manifest import GraphIdentity
from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.evaluation_settings import EvaluationSettings as EvaluationSettings
from streamforge.analytics.models.verdict import Outcome, Verdict
from streamforge_utils.model.timeranges import TimeRange

FORMAT = 1
COLUMNS = ["model", "seeds", "IC", "rank-IC", "ICIR", "t", "accuracy", "up", "prec@k", "base rate"]
COLUMNS += ["turnover", "Sharpe", "net", "deflated"]
NO_T = "–: the rank-IC is the same at all moments, so that there is no ICIR and no t."


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model and seed, over all tests.

    ic, rank_ic: means over moments. icir, t: of the rank-IC, None where it does not vary; t by Newey and West.
    accuracy: of the direction, with its 95 % interval; up: the share of returns above 0. precision: at `top`;
    base_rate: what chance gives. turnover: of a moment, by the sum of positions. sharpe, sharpe_net: of a year, before
    and after fees. deflated: the probability that the latter is not the best by chance of so many trials.
    """

    model: str
    seed: int
    ic: float
    rank_ic: float
    icir: float | None
    t: float | None
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
    t: float | None
    sharpe_net: float


class ModelSeries(msgspec.Struct, frozen=True, kw_only=True):
    """How a model did over time, the mean over its seeds.

    equity: of 1 at the beginning, after fees, nothing reinvested. rank_ic: of each month; None: nothing could be told.
    """

    model: str
    equity: list[float]
    rank_ic: list[float | None]


class CardSeries(msgspec.Struct, frozen=True, kw_only=True):
    """What pictures are drawn of. times_ms: of the equity, some of the moments at which a target ends, the last one
    included. months: `2024-08`."""

    times_ms: list[int]
    months: list[str]
    models: list[ModelSeries]


class TrainingNote(msgspec.Struct, frozen=True, kw_only=True):
    """How the models were made. name: of what is published. model: which one has the graph; settings: its own.
    versions: of what may change the last digits. graph: that they learnt on; None: it was not told."""

    name: str
    model: str
    settings: str
    device: str
    threads: int
    versions: dict[str, str]
    graph: GraphIdentity | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the ladder. moments: tested; first_ms, last_ms: the first and the last of them. coins: the fewest and
    the most of a moment. predictions_sha256: of those of the right dataset. training: None: it was run by hand."""

    format: int = FORMAT
    training: TrainingNote | None = None
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
    series: CardSeries


def markdown(card: Card) -> str:
    """The card as a page."""
    told = card.verdict
    lines = [
        f"# {told.outcome.value[0].upper()}{told.outcome.value[1:]}",
        "",
        signal_text(told),
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
            COLUMNS,
            (score_row(group) for group in by_model(card.scores)),
        ),
        "",
        f"Means over seeds. accuracy: of the direction, with the 95 % interval of the first seed. {NO_T}",
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
            (switch_row(one) for one in card.switchboard),
        ),
        "",
        "Not a claim that it can be traded: no spread, no slippage, no cost of being short.",
        "",
        f"Predictions {card.predictions_sha256}, dataset {card.dataset_sha256}.",
        *([] if card.training is None else [training_text(card.training)]),
    ]
    return "\n".join(lines) + "\n"


def signal_text(told: Verdict) -> str:
    """Whether there is a signal, and what the graph was compared with, as sentences."""
    signal = "not told" if told.outcome is Outcome.VOID else "yes" if told.signal else "no"
    without = "" if told.rival == "lightgbm" else "; LightGBM was not run"
    return f"Signal: {signal}. Compared after fees with {told.rival}{without}."


def training_text(note: TrainingNote) -> str:
    """How the models were made, as sentences."""
    versions = ", ".join(f"{name} {version}" for name, version in note.versions.items())
    told = f"Model {note.model} ({note.settings}) on {note.device}, threads {note.threads}; {versions}."
    if (graph := note.graph) is None:
        return told
    span = TimeRange(graph.start_ms, graph.end_ms)
    return f"{told} Graph {graph.graph_id} of {span}, data {graph.data_version}."


def by_model(scores: Sequence[Score]) -> Iterable[list[Score]]:
    """The scores of each model."""
    return ([one for one in scores if one.model == name] for name in dict.fromkeys(one.model for one in scores))


def score_row(scores: Sequence[Score]) -> list[str]:
    """A row below `COLUMNS`, of one model."""

    def mean(field: str, digits: int) -> str:
        return _number(mean_of([getattr(one, field) for one in scores]), digits)

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


def switch_row(one: SwitchScore) -> list[str]:
    """A row of the switchboard."""
    numbers = (one.rank_ic, 4), (one.honest, 4), (one.t, 1), (one.sharpe_net, 2)
    return [one.switch, one.model, *(_number(value, digits) for value, digits in numbers)]


def mean_of(values: Sequence[float | None]) -> float | None:
    """None where one of them is."""
    known = [one for one in values if one is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
