"""Compares a model on a graph with the ladder, and checks with the switchboard that the comparison can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from streamforge.analytics.graphs.panel import Floats, Panel
from streamforge.analytics.models import prediction_metrics as metrics
from streamforge.analytics.models.card import Card, EvaluationSettings, Score, SwitchScore
from streamforge.analytics.models.card_series import card_series
from streamforge.analytics.models.dataset import Dataset
from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.folds import folds
from streamforge.analytics.models.ladder import Checkpoints, LadderRun, PartEpoch, Progress, run_ladder
from streamforge.analytics.models.ladder_processes import LadderProcesses
from streamforge.analytics.models.model import Contender
from streamforge.analytics.models.portfolio import Portfolio
from streamforge.analytics.models.switchboard import Switch, switched
from streamforge.analytics.models.verdict import Standing, verdict
from streamforge_utils.model.errors import InvalidInput

SHUFFLED_T_AT_MOST = 3.0
"""A true shuffle is above it once in 370 times."""
_AHEAD_AT_LEAST = 0.5
_PLANTED_T_AT_LEAST = 2.0
_DAY_MS = 86_400_000
_NEEDED = ("zero", "reversal", "momentum", "low_volatility", "ridge", "no_edges", "shuffled", "random", "graph")


def evaluated(
    dataset: Dataset,
    panel: Panel,
    contenders: Sequence[Contender],
    settings: EvaluationSettings,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
    processes: LadderProcesses | None = None,
    on_epoch: PartEpoch | None = None,
) -> tuple[Card, LadderRun]:
    """The card of the ladder, and what was predicted. panel: the one the dataset was made of; it serves the switchboard
    alone. progress: called for the parts of the ladder and the switchboard, numbered together.

    Raises InvalidInput for a ladder without one of its models, no seeds, and tests that tell nothing, before a model
    learns; and what `run_ladder` raises.
    """
    by_name = {one.name: one for one in contenders}
    missing = [name for name in _NEEDED if name not in by_name]
    if missing or len(by_name) < len(contenders):
        raise InvalidInput("models", f"the ladder needs each model once; missing: {', '.join(missing) or 'none'}")
    if not settings.seeds or len({*settings.seeds}) < len(settings.seeds):
        raise InvalidInput("seeds", "seeds are none, or one comes twice: name five that differ")
    parts = folds(dataset.definition, settings.folds, [one.time_ms for one in dataset.samples])
    tested = [dataset.samples[at] for one in parts for at in one.test]
    if not any(metrics.counts(sample) for sample in tested):
        raise InvalidInput(
            "universe",
            "no tested moment has three coins with returns that differ: their prices stand still, or the rules of the "
            "universe leave them out; name other coins, or widen the rules",
        )
    if progress is not None:
        runs = sum(len(settings.seeds) if one.seeded else 1 for one in contenders) + len(Switch)
        progress = _numbered(progress, len(parts) * runs)
    told = checkpoints, progress, processes, on_epoch
    run = run_ladder(dataset, contenders, settings.folds, settings.seeds, *told)
    trials = settings.trials or len(contenders)
    rank_ics = {name: _rank_ics(run, name) for name in run.predictions}
    scored = [
        _score(dataset, run, name, seed, series, settings, trials)
        for name, own in rank_ics.items()
        for seed, series in own.items()
    ]
    scores = [score for score, _ in scored]
    board, failed = _switchboard(dataset, panel, by_name, settings, scores, *told)
    standings = {
        name: Standing(own, float(np.mean([one.sharpe_net for one in scores if one.model == name])))
        for name, own in rank_ics.items()
    }
    moments = len(standings["graph"].of(settings.seeds[0]))
    card = Card(
        dataset=dataset.definition,
        dataset_sha256=dataset.sha256,
        settings=settings,
        trials=trials,
        moments=len(tested),
        first_ms=tested[0].time_ms,
        last_ms=tested[-1].time_ms,
        coins=(min(len(one.symbols) for one in tested), max(len(one.symbols) for one in tested)),
        predictions_sha256=run.sha256,
        verdict=verdict(standings, settings.seeds, metrics.lags(moments, _overlap(dataset)), failed),
        scores=scores,
        switchboard=board,
        series=card_series(dataset.definition, tested, rank_ics, [(one.model, net) for one, net in scored]),
    )
    return card, run


def _numbered(progress: Progress, total: int) -> Progress:
    """Numbers the parts of several ladders as those of one."""
    done = count(1)
    return lambda part, _, __: progress(part, next(done), total)


def _overlap(dataset: Dataset) -> int:
    """How many moments after its own the target of one reaches into."""
    return (dataset.definition.horizon - 1) // dataset.definition.graph.step


def _rank_ics(run: LadderRun, name: str) -> dict[int, Floats]:
    return {
        seed: metrics.information_coefficients(run.tested, predictions, ranked=True)
        for seed, predictions in run.predictions[name].items()
    }


def _score(
    dataset: Dataset,
    run: LadderRun,
    name: str,
    seed: int,
    rank_ics: Floats,
    settings: EvaluationSettings,
    trials: int,
) -> tuple[Score, Floats]:
    """And the return of each moment after fees, of all positions that are held at once the share of one."""
    tested, predictions = run.tested, run.predictions[name][seed]
    block_ms = max(_DAY_MS, -(-dataset.definition.horizon_ms // _DAY_MS) * _DAY_MS)
    direction = metrics.Direction(tested, predictions, seed=seed, block_ms=block_ms)
    precision, base_rate = metrics.precision_at(tested, predictions, settings.top)
    portfolio = Portfolio(dataset.definition, tested, predictions, settings.fee_bp)
    score = Score(
        model=name,
        seed=seed,
        ic=float(metrics.information_coefficients(tested, predictions, ranked=False).mean()),
        rank_ic=float(rank_ics.mean()),
        icir=metrics.information_ratio(rank_ics),
        t=metrics.t_statistic(rank_ics, metrics.lags(len(rank_ics), _overlap(dataset))),
        accuracy=direction.share,
        accuracy_low=direction.low,
        accuracy_high=direction.high,
        up=direction.up,
        precision=precision,
        base_rate=base_rate,
        turnover=float(portfolio.turnover.mean()),
        sharpe=portfolio.sharpe(net=False),
        sharpe_net=portfolio.sharpe(net=True),
        deflated=portfolio.deflated(trials),
    )
    return score, portfolio.share


def _switchboard(
    dataset: Dataset,
    panel: Panel,
    contenders: dict[str, Contender],
    settings: EvaluationSettings,
    scores: Sequence[Score],
    checkpoints: Checkpoints | None,
    progress: Progress | None,
    processes: LadderProcesses | None,
    on_epoch: PartEpoch | None,
) -> tuple[list[SwitchScore], list[str]]:
    """A score for each switch, and what failed of the self-tests."""
    seed = settings.seeds[0]
    found = dict[Switch, SwitchScore]()
    for switch in Switch:
        name = "graph" if switch is Switch.FUTURE_GRAPH else "ridge"
        wrong = switched(switch, dataset, panel, seed)
        told = checkpoints, progress, processes, on_epoch
        run = run_ladder(wrong, [contenders[name]], settings.folds, [seed], *told)
        score, _ = _score(wrong, run, name, seed, _rank_ics(run, name)[seed], settings, trials=1)
        found[switch] = SwitchScore(
            switch=switch,
            model=name,
            honest=next(one.rank_ic for one in scores if (one.model, one.seed) == (name, seed)),
            rank_ic=score.rank_ic,
            t=score.t,
            sharpe_net=score.sharpe_net,
        )
    return [*found.values()], self_tests(found, dataset.definition)


def self_tests(board: dict[Switch, SwitchScore], definition: DatasetDefinition) -> list[str]:
    """What of the switchboard cannot be, if samples, folds and metrics are right.

    Of the other switches it depends on the market what they bring.
    """
    shuffled, planted = board[Switch.SHUFFLED_TARGET], board[Switch.PLANTED_SIGNAL]
    ahead = board[Switch.FEATURES_AHEAD]
    failed = []
    if shuffled.t is not None and abs(shuffled.t) > SHUFFLED_T_AT_MOST:
        failed.append(f"self-test shuffled_target: t is {shuffled.t:.1f}, where there is nothing to predict")
    planted_t = planted.t or 0.0
    if planted_t < _PLANTED_T_AT_LEAST or planted.rank_ic <= planted.honest:
        failed.append(
            f"self-test planted_signal: rank-IC is {planted.rank_ic:.4f} (t {planted_t:.1f}) with a signal that is "
            f"there, and {planted.honest:.4f} without: it was not found"
        )
    if ahead.rank_ic <= _AHEAD_AT_LEAST:
        failed.append(
            f"self-test features_ahead: rank-IC is {ahead.rank_ic:.4f} though the features have most of the target "
            f"in them; more than {_AHEAD_AT_LEAST} is expected"
        )
    return failed + (_of_one_bar(board, definition) if definition.horizon == 1 else [])


def _of_one_bar(board: dict[Switch, SwitchScore], definition: DatasetDefinition) -> list[str]:
    """The same of the switches that must show where a target lasts one bar: of longer ones they see a part, which
    prices that bounce may undo."""
    centred, early = board[Switch.CENTRED_FEATURE], board[Switch.EARLY_FILL]
    failed = []
    if centred.rank_ic <= centred.honest:
        failed.append(
            f"self-test centred_feature: rank-IC is {centred.rank_ic:.4f} with a feature that has the target in it, "
            f"and {centred.honest:.4f} without: it was not found"
        )
    if "return_1" in definition.graph.features and early.rank_ic <= _AHEAD_AT_LEAST:
        failed.append(
            f"self-test early_fill: rank-IC is {early.rank_ic:.4f} though the target is a feature; more than "
            f"{_AHEAD_AT_LEAST} is expected"
        )
    return failed
