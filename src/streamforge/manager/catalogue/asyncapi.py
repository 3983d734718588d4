"""The topics as AsyncAPI 3.1: who sends which message where, with the same schemas as `schemas.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamforge.manager.catalogue import schemas
from streamforge.version import installed_version
from streamforge_utils.model import names
from streamforge_utils.model.kinds.registry import kinds
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.ports.bus import Retention, TopicSpec
from streamforge_utils.runtime.life.settings import CONTROL_TOPIC, EVENTS_TOPIC
from streamforge_utils.runtime.output.topic_specs import data_topic, dead_letters_topic, talk_topic

VERSION = "3.1.0"
_BINDING = "0.5.0"
"""Version of the Kafka bindings."""
_QUEUE_PARAMETER: dict[str, Any] = {
    "queue_id": {
        "description": "the workflow, as POST /queues/start named it",
        "examples": ["wf-btcusdt-api_candles_1m-20240801-abc123"],
    }
}


def document() -> dict[str, Any]:
    """The AsyncAPI document."""
    found = schemas.message_schemas()
    records = [schemas.schema_name(kind) for kind in kinds()]
    messages = {name: _message(name, found[name]) for name in ("command", "event", *records, "end-of-stream")}
    messages["command"]["bindings"] = _kafka(key=_key("queue_id, or * for every workflow"))
    messages["event"]["bindings"] = _kafka(key=_key("queue_id"))
    for record in records:
        messages[record]["bindings"] = _kafka(key=_key("the record's _key"))
    messages["end-of-stream"]["bindings"] = _kafka(key={"type": "string", "const": EOS_KEY.decode()})
    messages["dead-letter"] = {
        "name": "dead-letter",
        "title": "Dead letter",
        "summary": "A record that could not be stored: its original bytes, and in its headers why and from where.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": "#/components/schemas/dead-letter-headers"},
        "payload": {"description": "The original bytes, unchanged."},
        "bindings": _kafka(key=_key("the original key")),
        "examples": [{"headers": dict(example)} for example in found["dead-letter-headers"]["examples"]],
    }
    data = data_topic(names.data_topic("{queue_id}"), ())
    dead_letters = dead_letters_topic(names.dlq_topic(data.name), ())
    channels = {
        "control": _channel(talk_topic(CONTROL_TOPIC), "What workers are told.", ["command"]),
        "events": _channel(talk_topic(EVENTS_TOPIC), "What workers say.", ["event"]),
        "data": _channel(
            data,
            "The records of one workflow, all of them until it is over; one partition. Kafka forgets none of it: once "
            f"{_mebibytes(data)} MiB are unread, the loader waits.",
            [*records, "end-of-stream"],
        ),
        "dlq": _channel(
            dead_letters,
            "What of one workflow could not be stored. Kafka forgets none of it: once "
            f"{_mebibytes(dead_letters)} MiB wait for a replay, the workflow fails and says so.",
            ["dead-letter"],
        ),
    }
    group = {
        "type": "string",
        "description": "QUEUE_ID-TARGET: the processes of one step share the topic",
        "examples": [names.consumer_group(_QUEUE_PARAMETER["queue_id"]["examples"][0], "arango-candles")],
    }
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "StreamForge topics",
            "version": installed_version(),
            "description": "Services know topics, never each other: this is all that they say.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{brokers}",
                "protocol": "kafka-secure",
                "description": "The brokers of KAFKA_BOOTSTRAP_SERVERS; the embedded bus has the same topics.",
                "variables": {"brokers": {"description": "HOST:PORT of a broker", "default": "localhost:9093"}},
                "security": [{"$ref": "#/components/securitySchemes/scram"}],
            }
        },
        "channels": channels,
        "operations": {
            "sendCommand": _operation("send", "control", ["command"], "queue-manager commands the workers"),
            "receiveCommand": _operation("receive", "control", ["command"], "every worker reads them all, in no group"),
            "sendEvent": _operation("send", "events", ["event"], "a worker says how it is"),
            "receiveEvent": _operation("receive", "events", ["event"], "queue-manager hears the workers"),
            "sendRecord": _operation(
                "send", "data", [*records, "end-of-stream"], "a loader writes records, then an end-of-stream marker"
            ),
            "receiveRecord": _operation(
                "receive",
                "data",
                [*records, "end-of-stream"],
                "a sink stores records until the marker of every loader",
                _kafka(groupId=group),
            ),
            "sendDeadLetter": _operation("send", "dlq", ["dead-letter"], "a sink puts aside what can never be stored"),
            "receiveDeadLetter": _operation(
                "receive", "dlq", ["dead-letter"], "a replay reads it again", _kafka(groupId=group)
            ),
        },
        "components": {
            "messages": messages,
            "securitySchemes": {"scram": {"type": "scramSha512", "description": "KAFKA_USER and KAFKA_PASSWORD"}},
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


def _channel(topic: TopicSpec, description: str, messages: list[str]) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": topic.name,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": _kafka(partitions=1, topicConfiguration=_configuration(topic)),
    }
    if "{queue_id}" in topic.name:
        channel["parameters"] = _QUEUE_PARAMETER
    return channel


def _configuration(topic: TopicSpec) -> dict[str, Any]:
    """How Kafka is told to keep it; what the bindings know of that."""
    rolling = topic.retention is Retention.ROLLING
    return {
        "cleanup.policy": ["delete"],
        "retention.ms": int(topic.max_age_s * 1000) if rolling and topic.max_age_s is not None else -1,
        "retention.bytes": topic.max_bytes if rolling else -1,
    }


def _mebibytes(topic: TopicSpec) -> int:
    return topic.max_bytes // 1024**2


def _operation(
    action: str, channel: str, messages: list[str], summary: str, bindings: Mapping[str, object] | None = None
) -> dict[str, Any]:
    return {
        **({} if bindings is None else {"bindings": bindings}),
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _kafka(**fields: object) -> dict[str, Any]:
    return {"kafka": {**fields, "bindingVersion": _BINDING}}


def _key(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _embedded(schema: dict[str, Any]) -> dict[str, Any]:
    # Inside AsyncAPI a schema is known by its place; an $id would move the base of its references.
    return {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
