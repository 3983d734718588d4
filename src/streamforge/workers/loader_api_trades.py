"""Loads trades, single or aggregated, from the exchange's REST API into the data topic, in the order of their ids."""

from __future__ import annotations

from streamforge_utils.runtime.history.history_loader import HistoryParameters, load_history
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use

DEFINITION = Definition(
    target="loader-api-trades",
    summary="loads trades, single or aggregated, from the exchange's REST API",
    role=Role.LOADER,
    types=("api_trades", "api_agg_trades"),
    parameters=HistoryParameters,
    uses=frozenset({Use.EXCHANGE, Use.OUTPUT}),
    run=load_history,
)
