"""Loads candles as they close, by the exchange's streams and its REST API, into the data topic."""

from __future__ import annotations

from streamforge_utils.runtime.life.worker_definition import ALL_TIME, Definition, Role, Source, Use
from streamforge_utils.runtime.live.bar_loader import load_bars
from streamforge_utils.runtime.live.live_worker import LiveParameters

DEFINITION = Definition(
    target="loader-ws-candles",
    summary="loads candles as they close, by the exchange's streams",
    role=Role.LOADER,
    types=("ws_candles_",),
    source=Source.STREAM,
    parameters=LiveParameters,
    uses=frozenset({Use.STREAM, Use.EXCHANGE, Use.OUTPUT}),
    run=load_bars,
    defaults={"TIME_RANGE": ALL_TIME},
)
