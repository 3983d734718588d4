"""The plan of a workflow of an analyst: what its series have is settled first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from streamforge.analytics.graphs.order import order_name, unsettled
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Failure, Workflow
from streamforge.manager.engine.lifecycle.findings import Awaited, Planned, Proven, Refused
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.graph_proof import prove_graph
from streamforge.manager.workflows.analyses.model import Ordered, graph_of
from streamforge.manager.workflows.analyses.model_input import ModelInput, ScoreInput
from streamforge.manager.workflows.analyses.model_proof import prove_model, prove_scores
from streamforge.manager.workflows.analyses.objects import name_held, objects_of
from streamforge.manager.workflows.series.model import claimed_span, loaded_series, loads_series
from streamforge_utils.model.coverage import Segment, clip
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange

Analysis = GraphInput | ModelInput | ScoreInput
_SHOWN = 5


async def plan_analysis(deps: Dependencies, workflow: Workflow, made: Analysis) -> Planned | Awaited | Refused:
    """Wait until what every series has in the range that is seen is proven, then store the order for the analyst.

    What nobody loads is refused by name. Raises RetryableError, or PermanentError: a model that is to score, or the
    graph of that name, is another one by now.
    """
    objects = objects_of(deps)
    async with name_held(deps, "graph" if isinstance(made, GraphInput) else "model", made.name):
        if isinstance(made, ScoreInput):
            await _require_model(deps, made)
        if isinstance(made, GraphInput):
            await _require_definition(deps, workflow, made)
        if isinstance(made, ModelInput) and (other := next(_first(deps, workflow), None)) is not None:
            raise PermanentError(
                f"workflow {other.queue_id} trains model {made.name}, and the name means the latest training: wait for "
                "its end or stop it, then retry this one"
            )
    batch = None if not made.batch else await deps.batches.get(made.batch)
    if batch is not None and not batch.ended:  # hundreds of series are not looked at again and again meanwhile
        return Awaited(f"the end of batch {made.batch}, which loads its series", deps.clock.now_ms())
    order = made.order(workflow.span)
    inputs, lacking, awaited = dict[str, list[Segment]](), list[str](), list[str]()
    for symbol in made.symbols:
        series = series_of(symbol, made.type)
        known = await deps.coverage.known(series)
        segments = clip(known.segments, order.seen)
        inputs[symbol] = [*segments]
        if (hole := unsettled(inputs[symbol], order.seen)) is not None:
            (awaited if _is_loaded(deps, series, hole) else lacking).append(f"{symbol} {made.type} {hole}")
    now_ms = deps.clock.now_ms()
    if lacking:
        return Refused(
            Failure(
                code=FailureCode.INPUT_NOT_PROVEN,
                reason=f"it is not proven what {len(lacking)} of {len(made.symbols)} series have of what {made.name} "
                f"sees, and no workflow loads it: {_some(lacking)}",
                next_step=f"see why batch {made.batch} has not loaded it, then retry this workflow"
                if batch is not None and batch.type == made.type
                else "load these ranges and retry, or ask for it again with load_missing (`--load-missing`)",
            )
        )
    if awaited:
        return Awaited(f"the proof of {_some(awaited)}", now_ms)
    order = msgspec.structs.replace(order, inputs=inputs)
    await objects.put(order_name(workflow.queue_id), msgspec.json.encode(order))
    return Planned(Ordered(len(order.times)))


def _first(deps: Dependencies, workflow: Workflow) -> Iterator[Workflow]:
    """Others that make what is of the same name, and go first: they are planned, or are planned at the same time."""
    for other in (one.workflow for one in deps.workflows.live.values()):
        is_alike = (other.type, other.symbol) == (workflow.type, workflow.symbol)
        is_first = other.queue_id < workflow.queue_id or (other.form.is_prepared and other.queue_id > workflow.queue_id)
        if is_alike and is_first:
            yield other


async def _require_definition(deps: Dependencies, workflow: Workflow, made: GraphInput) -> None:
    """Another graph may have been made under the name since this one was asked for, or be in the making: of a
    workflow that is retried nobody asks whether the name is free."""
    for other in _first(deps, workflow):
        if (graph := graph_of(other)) is not None and graph.definition.id != made.definition.id:
            raise PermanentError(
                f"workflow {other.queue_id} makes graph {made.graph} by another definition, and its snapshots would "
                "lie among these: stop it and remove its graph, or ask for this one under another name"
            )
    known = await deps.graphs.get(made.graph)
    if known is not None and known.definition_id != made.definition.id:
        raise PermanentError(
            f"graph {made.graph} is there with another definition by now, and its snapshots would lie among these: ask "
            "for this one under another name"
        )


async def _require_model(deps: Dependencies, scores: ScoreInput) -> None:
    """Scores of an earlier training would take the place of those of the latest one."""
    known = await deps.models.get(scores.name)
    if known is None or known.run_id != scores.run_id:
        now = "is gone" if known is None else f"was trained again and is run {known.run_id} now"
        raise PermanentError(
            f"model {scores.name} {now}, and these scores are of its run {scores.run_id}: ask for scores of the latest "
            "run instead"
        )


async def prove_analysis(deps: Dependencies, workflow: Workflow, made: Analysis) -> Proven:
    """Look at what was made once more. Raises as `prove_graph`, `prove_model` and `prove_scores`."""
    if isinstance(made, GraphInput):
        return await prove_graph(deps, workflow, made)
    if isinstance(made, ModelInput):
        return await prove_model(deps, workflow, made)
    return await prove_scores(deps, workflow, made)


def _is_loaded(deps: Dependencies, series: Series, hole: TimeRange) -> bool:
    """Whether a workflow that goes on loads some of `hole`."""
    live = (one.workflow for one in deps.workflows.live.values())
    return any(
        loads_series(one) and loaded_series(one) == series and claimed_span(one).intersection(hole) is not None
        for one in live
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
