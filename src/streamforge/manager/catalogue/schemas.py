"""The JSON Schema (2020-12) of everything that travels on a topic, each with examples that fit it.

The schemas come from the types in `model/`; what a type cannot say (units, forms of text) is added here.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streamforge import workers
from streamforge_utils.model.kinds.kind import Number, RecordKind
from streamforge_utils.model.kinds.registry import kinds
from streamforge_utils.model.messages import Command, EndOfStream, Event, Progress

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID_PREFIX = "urn:streamforge:schema:"

_QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"
_DECIMAL = {"pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["64628.01000000"]}
_MS = "unix milliseconds, UTC"


_PAYLOADS: Mapping[str, Mapping[str, Any]] = {
    "simulate-loading": {"rate": 10, "record_size": 256, "events": 100},
    "fail-after": {"seconds": 3},
}
"""An example of each payload of a command that single targets obey."""

_WHO: Mapping[str, Any] = {
    "queue_id": _QUEUE,
    "producer": "arango-candles__abc123",
    "target": "arango-candles",
    "symbol": "BTCUSDT",
    "type": "api_candles_1m",
    "attempt": 1,
}


@functools.cache
def _all() -> dict[str, dict[str, Any]]:
    return {
        "command": _schema(
            "command",
            "Command",
            "A command to a worker, on queue-control.",
            Command,
            {},
            [
                {
                    "command": "start",
                    "queue_id": _QUEUE,
                    "target": "loader-api-candles",
                    "telemetry_id": "loader-api-candles__abc123",
                    "symbol": "BTCUSDT",
                    "type": "api_candles_1m",
                    "time_range": "2024-08-01",
                    "kafka_topic": f"{_QUEUE}-data",
                    "collection_name": "btcusdt_api_candles_1m_2024_08_01",
                    "attempt": 1,
                    "timestamp": 1722556800.25,
                },
                {"command": "stop", "queue_id": _QUEUE, "timestamp": 1722556801.5},
                {"command": "ping", "queue_id": "*", "sent_at": 1722556802.0},
                {
                    "command": "budget",
                    "queue_id": _QUEUE,
                    "target": "loader-api-candles",
                    "timestamp": 1722556803.0,
                    "payload": {"weight_per_minute": 600},
                },
                {
                    "command": "takeover",
                    "queue_id": _QUEUE,
                    "target": "loader-ws-trades",
                    "attempt": 2,
                    "timestamp": 1722556803.5,
                },
                *(
                    {"command": command, "queue_id": _QUEUE, "timestamp": 1722556804.0, "payload": payload}
                    for command, payload in _PAYLOADS.items()
                ),
            ],
        ),
        "event": _schema(
            "event",
            "Event",
            "What a worker says, on queue-events.",
            Event,
            {},
            [
                {"event": "started", "status": "started", **_WHO, "timestamp": 1722556800.5},
                {
                    "event": "loading",
                    "status": "loading",
                    **_WHO,
                    "records_written": 720,
                    "timestamp": 1722556805.5,
                    "extra": {"records": 720, "rate": 144.0, "share": 0.5, "lag": 280},
                },
                {
                    "event": "finished",
                    "status": "finished",
                    **_WHO,
                    "records_written": 1440,
                    "finished": True,
                    "timestamp": 1722556810.5,
                },
                {
                    "event": "error",
                    "status": "error",
                    **_WHO,
                    "finished": True,
                    "timestamp": 1722556810.5,
                    "error_message": "the store does not answer: 5 tries in 30 s",
                },
                {"event": "pong", **_WHO, "ping_ts": 1722556802.0, "ponged_at": 1722556802.012},
            ],
        ),
        "progress": _schema(
            "progress",
            "Progress",
            "How far a worker is, in the extra of its events.",
            Progress,
            {},
            [{"records": 720, "position": 1722513600000, "share": 0.5, "rate": 144.0}],
        ),
        **_of_kinds(),
        "end-of-stream": _marker(),
        "dead-letter-headers": _dead_letter_headers(),
        **_payloads(),
    }


def _of_kinds() -> dict[str, dict[str, Any]]:
    """The messages and documents of every kind."""
    found = {}
    for kind in kinds():
        name, example = schema_name(kind), kind.example
        decimal = {field.name for field in msgspec.structs.fields(kind.stored) if field.type is Number}
        notes = {field: {**note, **_DECIMAL} if field in decimal else dict(note) for field, note in kind.notes.items()}
        message = [] if example is None else [msgspec.json.decode(msgspec.json.encode(example))]
        found[name] = _schema(name, kind.record.__name__, _first_line(kind.record), kind.record, notes, message)
        stored = f"stored-{name}"
        notes = {field: dict(kind.notes[field]) for field in kind.columns if field in kind.notes}
        document = (
            [] if example is None else [msgspec.json.decode(kind.document(None, msgspec.json.encode(example))[2])]
        )
        found[stored] = _schema(stored, kind.stored.__name__, _first_line(kind.stored), kind.stored, notes, document)
    return found


def schema_name(kind: RecordKind) -> str:
    """The name of the schema of a kind's messages."""
    return kind.schema or kind.name


def _first_line(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or struct.__name__).strip().splitlines()[0]


def _payloads() -> dict[str, dict[str, Any]]:
    """The payloads of the commands that single targets obey."""
    found = {}
    for target in workers.targets():
        for command, kind in workers.definition(target).commands.items():
            text = f"What the command {command} to {target} carries as its payload."
            title = f"Payload of {command}"
            schema = _schema(f"payload-{command}", title, text, kind, {}, [_PAYLOADS[command]])
            for field in schema["properties"].values():
                # What may be left out is described in the branch that is not null.
                for branch in field.get("anyOf", ()):
                    if "description" in branch:
                        field["description"] = branch.pop("description")
            found[f"payload-{command}"] = schema
    return found


def message_schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its name, each complete in itself; the caller may change what it gets."""
    return copy.deepcopy(_all())


def standalone(schema: Mapping[str, Any], **first: object) -> dict[str, Any]:
    """A schema that msgspec made, without a reference at its top, with `first` before the rest."""
    whole = copy.deepcopy(dict(schema))
    definitions = whole.pop("$defs", {})
    reference = whole.pop("$ref", None)
    if isinstance(reference, str):
        whole.update(definitions.pop(reference.rpartition("/")[2]))
    if definitions:
        whole["$defs"] = definitions
    return {"$schema": DIALECT, **first, **whole, **first}


def _schema(
    name: str,
    title: str,
    description: str,
    kind: type[msgspec.Struct],
    notes: Mapping[str, Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    whole = standalone(msgspec.json.schema(kind), **{"$id": ID_PREFIX + name}, title=title, description=description)
    schema: dict[str, Any] = _inlined(whole, whole.pop("$defs", {}))  # it is also a part of the AsyncAPI document
    for field, note in notes.items():
        schema["properties"][field].update(note)
    for field in schema["properties"].values():
        if field.get("maximum") == sys.float_info.max:  # no number of JSON that a program reads is larger
            del field["maximum"]
    schema["examples"] = [dict(example) for example in examples]
    return schema


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    """`node` with each definition in the place of the references to it; none refers to itself."""
    if isinstance(node, list):
        return [_inlined(one, definitions) for one in node]
    if not isinstance(node, dict):
        return node
    found = {name: _inlined(value, definitions) for name, value in node.items() if name != "$ref"}
    return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions) | found if "$ref" in node else found


def _marker() -> dict[str, Any]:
    inner = standalone(msgspec.json.schema(EndOfStream), title="EndOfStream")
    del inner["$schema"]
    inner["description"] = "The producer wrote so many records in its attempt and writes no more."
    inner["properties"]["producer"]["description"] = "telemetry id of the loader"
    return {
        "$schema": DIALECT,
        "$id": ID_PREFIX + "end-of-stream",
        "title": "End of stream",
        "description": "The last message of a loader on a data topic; its key is __eos__.",
        "type": "object",
        "properties": {"end_of_stream": inner},
        "required": ["end_of_stream"],
        "examples": [
            {
                "end_of_stream": {
                    "producer": "loader-api-candles__abc123",
                    "attempt": 1,
                    "records": 1440,
                    "reason": "finished",
                }
            }
        ],
    }


def _dead_letter_headers() -> dict[str, Any]:
    texts = {
        "reason": "why the record could not be stored",
        "topic": "the topic it was read from first",
        "partition": "its partition there, a decimal number",
        "offset": "its offset there, a decimal number",
        "attempt": "the attempt of the sink that refused it, a decimal number",
        "time": f"when it was refused, a decimal number of {_MS}",
    }
    more = {
        "target": "the worker that refused it: no other sink of its workflow replays it",
        "size": "the bytes of a record that is too large for the topic; its first 64 KiB are kept",
        "sha256": "the SHA-256 of the whole of it, hexadecimal",
    }
    return {
        "$schema": DIALECT,
        "$id": ID_PREFIX + "dead-letter-headers",
        "title": "Dead letter headers",
        "description": "The headers of a dead letter, as text; its key and value are the original bytes, if not cut.",
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in (texts | more).items()},
        "required": list(texts),
        "examples": [
            {
                "reason": "not a record of candles: Object missing required field `close`",
                "topic": f"{_QUEUE}-data",
                "partition": "0",
                "offset": "719",
                "attempt": "1",
                "time": "1722556805500",
            }
        ],
    }
