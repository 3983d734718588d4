"""The pages about what travels on topics: `topics.md` and `messages.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.reference.schema_tables import block, fields_table

_MESSAGES = (
    "Every message is JSON in UTF-8, its time UTC. A reader ignores fields that it does not know, so that fields may "
    "be added; the schemas (JSON Schema 2020-12) are in `schemas/`, and a manager serves them at `/schemas`."
)
_TOPICS = (
    "The same topics are on Apache Kafka and on the embedded bus. `asyncapi.json` says it for programs (AsyncAPI 3.1 "
    "with Kafka bindings), and a manager serves it at `/asyncapi.json`. The fields of the messages: "
    "[messages](messages.md)."
)


def messages_page(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """Every message with its fields and its examples."""
    parts = ["# Messages", _MESSAGES]
    for name, schema in schemas.items():
        parts += [f"## {schema['title']}", f"{schema['description']} Schema: [`{name}`](schemas/{name}.json)."]
        parts += [fields_table(schema, schema)]
        parts += ["Examples:" if len(schema["examples"]) > 1 else "Example:", *map(block, schema["examples"])]
    return "\n\n".join(parts) + "\n"


def topics_page(document: Mapping[str, Any]) -> str:
    """Every topic: who sends what, with which key, how it is kept, and an example of each message."""
    parts = ["# Topics", _TOPICS]
    for name, channel in document["channels"].items():
        kafka = channel["bindings"]["kafka"]
        parts += [f"## {channel['address']}", channel["description"]]
        operations = [one for one in document["operations"].values() if one["channel"]["$ref"].endswith(f"/{name}")]
        rows = [(f"{one['action']}s", one["summary"]) for one in operations]
        rows.append(("partitions", str(kafka["partitions"])))
        rows += [(f"`{key}`", _told(value)) for key, value in kafka["topicConfiguration"].items()]
        rows += [
            ("group", one["bindings"]["kafka"]["groupId"]["description"]) for one in operations if "bindings" in one
        ]
        parts += ["\n".join(["| | |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows)])]
        for message in (document["components"]["messages"][key] for key in channel["messages"]):
            key = message["bindings"]["kafka"]["key"]
            told = f"`{key['const']}`" if "const" in key else key["description"]
            parts += [f"### {message['title']}", f"{message['summary']} Key: {told}.", _example(message["examples"][0])]
    return "\n\n".join(parts) + "\n"


def _example(example: Mapping[str, Any]) -> str:
    if "payload" in example:
        return block(example["payload"])
    return "Its headers:\n\n" + block(example["headers"])


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
