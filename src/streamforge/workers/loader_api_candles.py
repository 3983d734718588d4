"""Loads candles from the exchange's REST API into the data topic, oldest first."""

from __future__ import annotations

from streamforge_utils.runtime.history.history_loader import HistoryParameters, load_history
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use

DEFINITION = Definition(
    target="loader-api-candles",
    summary="loads candles from the exchange's REST API",
    role=Role.LOADER,
    types=("api_candles_",),
    parameters=HistoryParameters,
    uses=frozenset({Use.EXCHANGE, Use.OUTPUT}),
    run=load_history,
)
