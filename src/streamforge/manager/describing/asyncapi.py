"""The topics as AsyncAPI 3.0: who sends which message where, with the same schemas as `schemas.py`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from streamforge.manager.describing import schemas
from streamforge_utils.model import names
from streamforge_utils.model.markers import EOS_KEY

VERSION = "3.0.0"
CONTROL_TOPIC = "queue-control"
EVENTS_TOPIC = "queue-events"
_QUEUE_PARAMETER = {
    "queue_id": {
        "description": "the workflow, as POST /queues/start named it",
        "examples": ["wf-btcusdt-api_candles_1m-20240801-abc123"],
    }
}
_NAMES = ("command", "event", "candle", "end-of-stream")


def document() -> dict[str, Any]:
    """The AsyncAPI document."""
    found = schemas.message_schemas()
    messages = {name: _message(name, found[name]) for name in _NAMES}
    messages["command"]["bindings"] = {"kafka": {"key": _key("queue_id, or * for every workflow")}}
    messages["event"]["bindings"] = {"kafka": {"key": _key("queue_id")}}
    messages["candle"]["bindings"] = {"kafka": {"key": _key("the record's _key")}}
    messages["end-of-stream"]["bindings"] = {"kafka": {"key": {"type": "string", "const": EOS_KEY.decode()}}}
    messages["dead-letter"] = {
        "name": "dead-letter",
        "title": "Dead letter",
        "summary": "A record that could not be stored: its original bytes, and in its headers why and from where.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": "#/components/schemas/dead-letter-headers"},
        "payload": {"description": "The original bytes, whatever they are."},
    }
    channels = {
        "control": _channel(CONTROL_TOPIC, "What workers are told.", ["command"]),
        "events": _channel(EVENTS_TOPIC, "What workers say.", ["event"]),
        "data": _channel(
            names.data_topic("{queue_id}"), "The records of one workflow; one partition.", ["candle", "end-of-stream"]
        ),
        "dlq": _channel(
            names.dlq_topic(names.data_topic("{queue_id}")),
            "What of one workflow could not be stored.",
            ["dead-letter"],
        ),
    }
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "StreamForge topics",
            "version": version("streamforge"),
            "description": "Services know topics, never each other: this is all that they say.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            "sendCommand": _operation("send", "control", ["command"], "queue-manager commands the workers"),
            "receiveEvent": _operation("receive", "events", ["event"], "queue-manager hears the workers"),
            "sendRecord": _operation(
                "send", "data", ["candle", "end-of-stream"], "a loader writes records, then an end-of-stream marker"
            ),
            "receiveRecord": _operation(
                "receive", "data", ["candle", "end-of-stream"], "a sink stores records until the marker of every loader"
            ),
            "sendDeadLetter": _operation("send", "dlq", ["dead-letter"], "a sink puts aside what can never be stored"),
            "receiveDeadLetter": _operation("receive", "dlq", ["dead-letter"], "a replay reads it again"),
        },
        "components": {
            "messages": messages,
            "schemas": {name: _embedded(schema) for name, schema in found.items()},
        },
    }


def _message(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": schema["title"],
        "summary": schema["description"],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "examples": [{"payload": example} for example in schema["examples"]],
    }


def _channel(address: str, description: str, messages: list[str]) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if "{queue_id}" in address:
        channel["parameters"] = _QUEUE_PARAMETER
    return channel


def _operation(action: str, channel: str, messages: list[str], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _key(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _embedded(schema: dict[str, Any]) -> dict[str, Any]:
    # Inside AsyncAPI a schema is known by its place; an $id would move the base of its references.
    return {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
