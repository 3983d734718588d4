"""The JSON that the API answers about what there is: kinds of workers, messages, and the paths of the API itself."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from streamforge import workers
from streamforge.manager.answers import example, meaning, one_of
from streamforge.manager.catalogue import schemas
from streamforge.manager.workflows.series.requests import default_targets
from streamforge_utils.model.kinds.registry import kinds


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of worker."""

    target: Annotated[str, example("loader-api-candles")]
    role: Annotated[str, one_of(("loader", "sink", "analyst", "diagnostic"))]
    summary: str
    types: Annotated[list[str], meaning("The types it works on, or what they begin with.")]
    parameters: Annotated[dict[str, Any], meaning("JSON Schema 2020-12 of its parameters.")]


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """The catalogue of targets."""

    targets: list[Target]
    types: Annotated[list[str], meaning("What a request may ask for.", ["api_candles_1m"])] = []


class SchemaEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The schema of one message."""

    name: Annotated[str, example("candle")]
    title: str
    description: str
    link: str = ""


class Schemas(msgspec.Struct, frozen=True, kw_only=True):
    """The messages that travel on the topics."""

    schemas: list[SchemaEntry]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A path that a GET request has an answer for."""

    path: Annotated[str, example("/queues")]
    summary: str


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on from here."""

    service: Annotated[str, msgspec.Meta(extra_json_schema={"const": "queue-manager"})] = "queue-manager"
    version: str
    links: list[Link]


def targets_answer() -> Targets:
    """The workers that this version knows."""
    known = [(name, workers.definition(name)) for name in sorted(workers.targets())]
    return Targets(
        targets=[
            Target(
                target=name,
                role=definition.role.value,
                summary=definition.summary,
                types=list(definition.types),
                parameters=schemas.standalone(definition.json_schema()),
            )
            for name, definition in known
        ],
        types=[one for kind in kinds() for one in kind.types if default_targets(one)],
    )


def schemas_answer() -> Schemas:
    """The messages that this version knows."""
    found = schemas.message_schemas()
    listed = [(name, schema["title"], schema["description"]) for name, schema in found.items()]
    return Schemas(
        schemas=[
            SchemaEntry(name=name, title=title, description=text, link=f"/schemas/{name}")
            for name, title, text in listed
        ]
    )
