"""Loads trades, single or aggregated, as they happen, from the exchange's streams into the data topic."""

from __future__ import annotations

from streamforge_utils.runtime.life.worker_definition import ALL_TIME, Definition, Role, Source, Use
from streamforge_utils.runtime.live.live_worker import LiveParameters
from streamforge_utils.runtime.live.stream_loader import load_ids

DEFINITION = Definition(
    target="loader-ws-trades",
    summary="loads trades, single or aggregated, from the exchange's streams",
    role=Role.LOADER,
    types=("ws_trades", "ws_agg_trades"),
    source=Source.STREAM,
    parameters=LiveParameters,
    uses=frozenset({Use.STREAM, Use.EXCHANGE, Use.OUTPUT}),
    run=load_ids,
    defaults={"TIME_RANGE": ALL_TIME},
)
