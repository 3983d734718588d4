"""Stores the trades, single or aggregated, of a data topic."""

from __future__ import annotations

from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use
from streamforge_utils.runtime.sink.sinks import SinkParameters, sink

DEFINITION = Definition(
    target="arango-trades",
    summary="stores the trades of a data topic, single or aggregated",
    role=Role.SINK,
    types=("api_trades", "api_agg_trades", "ws_trades", "ws_agg_trades"),
    parameters=SinkParameters,
    uses=frozenset({Use.INPUT, Use.STORE}),
    run=sink,
)
