"""Stores the candles of a data topic."""

from __future__ import annotations

from streamforge_utils.runtime.sinks import SinkParameters, sink
from streamforge_utils.runtime.worker_definition import Definition, Role, Use

DEFINITION = Definition(
    target="arango-candles",
    summary="stores the candles of a data topic",
    role=Role.SINK,
    types=("api_candles_", "ws_candles_"),
    parameters=SinkParameters,
    uses=frozenset({Use.INPUT, Use.STORE}),
    run=sink,
)
