"""Stores the candles of a data topic."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge_utils.model.candles import stored_document, stored_documents
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.conversion import Conversion
from streamforge_utils.runtime.sinks import sink
from streamforge_utils.runtime.worker_definition import Definition, Role, Use

CONVERSION = Conversion(one=stored_document, many=stored_documents)


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a sink of candles."""

    store_patience_seconds: Annotated[
        float,
        msgspec.Meta(ge=0, description="how long a store that does not answer is asked again before the attempt fails"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 60.0


async def run(ctx: Context[Parameters]) -> None:
    """Store the topic's candles, in its order."""
    await sink(ctx, CONVERSION, store_patience_s=ctx.parameters.store_patience_seconds)


DEFINITION = Definition(
    target="arango-candles",
    summary="stores the candles of a data topic",
    role=Role.SINK,
    types=("api_candles_",),
    parameters=Parameters,
    uses=frozenset({Use.INPUT, Use.STORE}),
    run=run,
)
