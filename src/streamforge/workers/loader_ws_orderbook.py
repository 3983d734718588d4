"""Loads the order book of a symbol as it changes, from the exchange's streams into the data topic."""

from __future__ import annotations

from streamforge_utils.runtime.life.worker_definition import ALL_TIME, Definition, Role, Source, Use
from streamforge_utils.runtime.live.book_loader import BookParameters, load_book

DEFINITION = Definition(
    target="loader-ws-orderbook",
    summary="loads order books, and how far they can be trusted, from the exchange's streams",
    role=Role.LOADER,
    types=("ws_orderbook",),
    source=Source.STREAM,
    parameters=BookParameters,
    uses=frozenset({Use.STREAM, Use.EXCHANGE, Use.OUTPUT}),
    run=load_book,
    defaults={"TIME_RANGE": ALL_TIME},
)
