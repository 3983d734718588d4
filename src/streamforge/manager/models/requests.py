"""From a request for a model to a workflow: what can be refused before the exchange is asked is refused here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from streamforge.analytics.graphs.definition import read_definition
from streamforge.analytics.graphs.order import check_graph_name, check_type, interval_of
from streamforge.analytics.models.dataset_definition import DatasetDefinition, bars_a_day, baseline_features
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge.analytics.models.folds import FoldRules, folds
from streamforge.analytics.models.scoring_order import scores_of
from streamforge.manager.analysis_requests import check_inputs
from streamforge.manager.engine.document import Workflow
from streamforge.manager.use_cases import StepRequest
from streamforge.manager.workflow_labels import check_labels
from streamforge.manager.workflows.analyses.model import Analysis
from streamforge.manager.workflows.analyses.model_input import SCORE_TYPE, TARGET, TYPE, ModelInput, ScoreInput
from streamforge.manager.workflows.one_step import one_step_workflow
from streamforge.manager.workflows.series.requests import checked_step
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.bars import bar_interval
from streamforge_utils.model.timeranges import TimeRange, resolve_time_range

T = TypeVar("T")

_EDGES = {"threshold", "top_k", "mst", "tmfg"}
_DAYS_SEEN, _BARS_SEEN = 60, 168


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model asked for.

    symbols: names and patterns, or none, where `batch` names the batch whose symbols are meant. type: of the series.
    time_range: in which its moments lie, and their targets end. definition: of the graph, as of a `GraphRequest`; what
    is left out is chosen by the interval. horizon: of the targets, in bars; None: a day. folds: as `FoldRules`; what is
    left out is a share of the moments. seeds, fee_bp, top, trials: as `EvaluationSettings`; None: its default.
    load_missing: what lacks of the series is loaded first. parameters: of gnn-trainer. labels: to find it by.
    """

    name: str
    symbols: tuple[str, ...] = ()
    batch: str = ""
    type: str
    time_range: str
    definition: dict[str, Any] = {}
    horizon: int | None = None
    folds: dict[str, Any] = {}
    seeds: tuple[int, ...] | None = None
    fee_bp: float | None = None
    top: int | None = None
    trials: int | None = None
    load_missing: bool = False
    parameters: dict[str, Any] = {}
    image: str | None = None
    labels: dict[str, str] = {}


class CheckedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a model that can become a workflow, if its series are there. span: all its bars end in it."""

    name: str
    type: str
    dataset: DatasetDefinition
    evaluation: EvaluationSettings
    span: TimeRange
    requested: str
    step: StepRequest
    labels: dict[str, str] = {}

    def made(self, symbols: Sequence[str], batch: str = "") -> ModelInput:
        """What its workflow remembers."""
        return ModelInput(
            name=self.name,
            dataset=self.dataset,
            evaluation=self.evaluation,
            type=self.type,
            symbols=tuple(symbols),
            batch=batch,
        )


def check_model(request: ModelRequest, now_ms: int) -> CheckedModel:
    """The request in its one spelling. Raises InvalidInput naming the field."""
    name = check_graph_name(request.name, "model")
    check_inputs(request.symbols, request.batch)
    dataset = _dataset(request)
    type_name = check_type(dataset.graph, request.type)
    asked = resolve_time_range(request.time_range, now_ms)
    end_ms = min(asked.end_ms, now_ms // 1000 * 1000)
    times = dataset.decision_times(asked.start_ms, end_ms)
    if not times:
        raise InvalidInput(
            "time_range",
            f"time range {request.time_range}: no target ends in it; they last {dataset.horizon} bars of "
            f"{dataset.graph.interval}, and begin one bar after their moment: give a longer range",
        )
    return CheckedModel(
        name=name,
        type=type_name,
        dataset=dataset,
        evaluation=_evaluation(request, dataset, times),
        span=TimeRange(asked.start_ms, end_ms),
        requested=request.time_range,
        step=checked_step(StepRequest(target=TARGET, image=request.image, parameters=request.parameters)),
        labels=check_labels(request.labels),
    )


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Scores asked for, of a published model.

    time_range: of the moments; or `since`, which is `last`: from where the scores end on, of the first ones from the
    end of the training on. load_missing, image, labels: as of a `ModelRequest`.
    """

    name: str
    time_range: str = ""
    since: str = ""
    load_missing: bool = False
    image: str | None = None
    labels: dict[str, str] = {}


class NothingToScore(InvalidInput):
    """No moment is over that has no score yet."""


def scored_span(request: ScoreRequest, dataset: DatasetDefinition, reached_ms: int, now_ms: int) -> TimeRange:
    """The range whose moments are meant. reached_ms: where scores end. Raises InvalidInput, NothingToScore where
    it is for none."""
    if bool(request.time_range) == bool(request.since) or request.since not in ("", "last"):
        raise InvalidInput("time_range", "name the range of the moments, or `last` in since: one of the two")
    now_ms = now_ms // 1000 * 1000 + 1000  # a moment of now sees what is closed by now
    if request.since:
        start_ms, end_ms = reached_ms, now_ms
    else:
        asked = resolve_time_range(request.time_range, now_ms)
        start_ms, end_ms = asked.start_ms, min(asked.end_ms, now_ms)
    times = dataset.graph.snapshot_times(start_ms, end_ms)
    if not times:
        raise NothingToScore(
            "time_range",
            f"there is no moment in {request.time_range or 'what came since the last score'}: they are "
            f"{dataset.graph.step} bars of {dataset.graph.interval} apart; ask again later, or for a longer range",
        )
    return TimeRange(start_ms, min(end_ms, times[-1] + dataset.graph.step_ms))


def workflow_of_scores(
    request: ScoreRequest, made: ScoreInput, span: TimeRange, parameters: dict[str, Any], *, code: str, now_ms: int
) -> Workflow:
    """The workflow, under the name that `code` gives it. parameters: those that the model was trained with."""
    return one_step_workflow(
        made.name.upper(),
        SCORE_TYPE,
        checked_step(StepRequest(target=TARGET, image=request.image, parameters=parameters)),
        scores_of(made.name),
        code=code,
        requested=request.time_range or "since last",
        span=span,
        labels=check_labels(request.labels),
        created_ms=now_ms,
        form=Analysis(made=made),
    )


def workflow_of_model(checked: CheckedModel, made: ModelInput, *, code: str, now_ms: int) -> Workflow:
    """The workflow, under the name that `code` gives it."""
    return one_step_workflow(
        checked.name.upper(),
        TYPE,
        checked.step,
        scores_of(checked.name),
        code=code,
        requested=checked.requested,
        span=checked.span,
        labels=checked.labels,
        created_ms=now_ms,
        form=Analysis(made=made),
    )


def _dataset(request: ModelRequest) -> DatasetDefinition:
    given: dict[str, Any] = {"interval": interval_of(request.type), **request.definition}
    if not _EDGES & {*given}:
        given["top_k"] = 10
    bar_ms = bar_interval(str(given["interval"])).grid.length_ms or 0
    day = max(1, 86_400_000 // bar_ms) if bar_ms else 1
    chosen: dict[str, Any] = {
        "window": _BARS_SEEN if day > 1 else _DAYS_SEEN,
        "step": day,
        "features": [f"return_{day}", f"return_{7 * day}", f"volatility_{7 * day}", f"volume_{7 * day}"],
    }
    graph = read_definition({**chosen, **given})
    baseline_features(graph)
    horizon = bars_a_day(graph) if request.horizon is None else request.horizon
    return _converted({"graph": graph, "horizon": horizon}, DatasetDefinition, "horizon")


def _evaluation(request: ModelRequest, dataset: DatasetDefinition, times: range) -> EvaluationSettings:
    shares = {"test": max(1, len(times) // 10), "least_train": max(2, len(times) // 3)}
    given = {
        name: value for name in ("seeds", "fee_bp", "top", "trials") if (value := getattr(request, name)) is not None
    }
    found = _converted({"folds": {**shares, **request.folds}, **given}, EvaluationSettings, "folds")
    if not found.seeds or len({*found.seeds}) < len(found.seeds):
        raise InvalidInput("seeds", "seeds are none, or one comes twice: name five that differ")
    folds(dataset, found.folds, times)  # whether there is any
    return found


def _converted(fields: dict[str, Any], kind: type[T], field: str) -> T:
    try:
        return msgspec.convert(msgspec.to_builtins(fields), kind)
    except msgspec.ValidationError as error:
        path, text = re.search(r"`\$\.([a-z_]+)", str(error)), str(error)
        if "unknown field" in text:
            text += f"; the fields are {', '.join(FoldRules.__struct_fields__)}"
        raise InvalidInput(path[1] if path else field, f"how models are compared: {text}") from error
