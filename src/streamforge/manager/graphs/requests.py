"""From a request for a graph to a workflow: what can be refused before the exchange is asked is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from streamforge.analytics.graphs.definition import GraphDefinition, read_definition
from streamforge.analytics.graphs.order import check_graph_name, check_type, interval_of
from streamforge.manager.analysis_requests import check_inputs
from streamforge.manager.engine.document import Workflow
from streamforge.manager.use_cases import StepRequest
from streamforge.manager.workflow_labels import check_labels
from streamforge.manager.workflows.analyses.graph_input import TARGET, TYPE, GraphInput
from streamforge.manager.workflows.analyses.model import Analysis
from streamforge.manager.workflows.one_step import one_step_workflow
from streamforge.manager.workflows.series.requests import checked_step
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import TimeRange, resolve_time_range


class GraphRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A graph asked for.

    symbols: names and patterns, or none, where `batch` names the batch whose symbols are meant. type: of the series.
    time_range: of its snapshots. definition: as `GraphDefinition`, but for the interval, which follows from the type.
    load_missing: what lacks of the series is loaded first. parameters: of graph-builder. labels: to find it by.
    """

    graph: str
    symbols: tuple[str, ...] = ()
    batch: str = ""
    type: str
    time_range: str
    definition: dict[str, Any] = {}
    load_missing: bool = False
    parameters: dict[str, Any] = {}
    image: str | None = None
    labels: dict[str, str] = {}


class CheckedGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a graph that can become a workflow, if its series are there. span: of its snapshots."""

    graph: str
    type: str
    definition: GraphDefinition
    span: TimeRange
    requested: str
    step: StepRequest
    labels: dict[str, str] = {}


def check_graph(request: GraphRequest, now_ms: int) -> CheckedGraph:
    """The request in its one spelling. Raises InvalidInput naming the field."""
    name = check_graph_name(request.graph)
    check_inputs(request.symbols, request.batch)
    definition = read_definition({"interval": interval_of(request.type), **request.definition})
    type_name = check_type(definition, request.type)
    asked = resolve_time_range(request.time_range, now_ms)
    # A snapshot of now sees what is closed by now.
    end_ms = min(asked.end_ms, now_ms // 1000 * 1000 + 1000)
    if asked.start_ms >= end_ms or not definition.snapshot_times(asked.start_ms, end_ms):
        raise InvalidInput(
            "time_range",
            f"time range {request.time_range}: no snapshot of it is over; they are {definition.step} bars of "
            f"{definition.interval} apart",
        )
    return CheckedGraph(
        graph=name,
        type=type_name,
        definition=definition,
        span=TimeRange(asked.start_ms, end_ms),
        requested=request.time_range,
        step=checked_step(StepRequest(target=TARGET, image=request.image, parameters=request.parameters)),
        labels=check_labels(request.labels),
    )


def workflow_of_graph(checked: CheckedGraph, symbols: Sequence[str], batch: str, *, code: str, now_ms: int) -> Workflow:
    """The workflow, under the name that `code` gives it."""
    return one_step_workflow(
        checked.graph.upper(),
        TYPE,
        checked.step,
        f"{checked.graph}_snapshots",
        code=code,
        requested=checked.requested,
        span=checked.span,
        labels=checked.labels,
        created_ms=now_ms,
        form=Analysis(
            made=GraphInput(
                graph=checked.graph,
                definition=checked.definition,
                type=checked.type,
                symbols=tuple(symbols),
                batch=batch,
            )
        ),
    )
