"""Stores the JSON objects of any topic."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec

from streamforge_utils.model.json_documents import JsonDocuments, compiled
from streamforge_utils.model.topic_reading import JSON_TYPE
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use
from streamforge_utils.runtime.sink.json_converter import convert_json
from streamforge_utils.runtime.sink.sinks import SinkParameters, store_input


class ConnectorParameters(SinkParameters, frozen=True, kw_only=True):
    """What can be chosen for it."""

    json_schema: Annotated[
        str,
        msgspec.Meta(
            description="a JSON Schema (2020-12, or the draft that its `$schema` names) that every message must fit; "
            "messages that do not match become dead letters; empty: any object is stored"
        ),
    ] = ""


async def store(ctx: Context[ConnectorParameters]) -> None:
    """Store every message of the topic that is a JSON object; the others become dead letters."""
    documents = JsonDocuments(ctx.parameters.json_schema)
    await store_input(ctx, partial(convert_json, documents, replay=ctx.replay))


def _checked(
    definition: Definition[ConnectorParameters], parameters: ConnectorParameters
) -> Definition[ConnectorParameters]:
    if parameters.json_schema:
        compiled(parameters.json_schema)
    return definition


DEFINITION = Definition(
    target="arango-connector",
    summary="stores the JSON objects of a topic of any producer",
    role=Role.SINK,
    types=(JSON_TYPE,),
    parameters=ConnectorParameters,
    uses=frozenset({Use.INPUT, Use.STORE}),
    run=store,
    defaults={
        "SYMBOL": "JSON",
        "TYPE": JSON_TYPE,
        "TIME_RANGE": "1970-01-01",
        "STREAMFORGE_UNTIL": "end",
        "STREAMFORGE_DEAD_LETTERS": "{QUEUE_ID}-data-dlq",
    },
    adapt=_checked,
)
