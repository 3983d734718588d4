"""Stores the order book of a data topic: best levels, whole books, the ledger and diffs."""

from __future__ import annotations

from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use
from streamforge_utils.runtime.sink.book_sink import BookSinkParameters, store_books

DEFINITION = Definition(
    target="arango-orderbook",
    summary="stores the order books of a data topic, and how far they can be trusted",
    role=Role.SINK,
    types=("ws_orderbook",),
    parameters=BookSinkParameters,
    uses=frozenset({Use.INPUT, Use.STORE, Use.OBJECTS}),
    run=store_books,
)
