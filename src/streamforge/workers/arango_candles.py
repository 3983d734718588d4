"""Stores the candles of a data topic."""

from __future__ import annotations

from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use
from streamforge_utils.runtime.sink.sinks import SinkParameters, sink

DEFINITION = Definition(
    target="arango-candles",
    summary="stores the candles of a data topic",
    role=Role.SINK,
    types=("api_candles_", "ws_candles_"),
    parameters=SinkParameters,
    uses=frozenset({Use.INPUT, Use.STORE}),
    run=sink,
)
