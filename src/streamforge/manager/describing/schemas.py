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
from streamforge_utils.model.commands import Command
from streamforge_utils.model.events import Event, Progress
from streamforge_utils.model.kinds.candles import Candle, StoredCandle
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kinds
from streamforge_utils.model.markers import EndOfStream

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID_PREFIX = "urn:streamforge:schema:"

_QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"
_DECIMAL = {"pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["64628.01000000"]}
_MS = "unix milliseconds, UTC"

_NUMBERS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_asset_volume",
    "taker_buy_base_asset_volume",
    "taker_buy_quote_asset_volume",
)

_CANDLE_NOTES: Mapping[str, Mapping[str, Any]] = {
    "_key": {"description": "identity: SYMBOL_INTERVAL_OPENTIME; also the message's key"},
    "_version": {"description": f"when the exchange was observed, {_MS}; a later observation wins"},
    "symbol": {"description": "as the exchange spells it"},
    "interval": {"description": "as the exchange spells it; 1m is a minute, 1M a month"},
    "open_time": {"description": f"{_MS}; names the candle"},
    "close_time": {"description": f"last millisecond of the candle, {_MS}"},
    "open": {"description": "first price"},
    "high": {"description": "highest price"},
    "low": {"description": "lowest price"},
    "close": {"description": "last price"},
    "volume": {"description": "traded, in the base asset"},
    "quote_asset_volume": {"description": "traded, in the quote asset"},
    "number_of_trades": {"description": "how many trades", "minimum": 0},
    "taker_buy_base_asset_volume": {"description": "bought by takers, in the base asset"},
    "taker_buy_quote_asset_volume": {"description": "bought by takers, in the quote asset"},
}

_CANDLE: Mapping[str, Any] = {
    "_key": "BTCUSDT_1m_1722470400000",
    "_version": 1722556800000,
    "symbol": "BTCUSDT",
    "interval": "1m",
    "open_time": 1722470400000,
    "open": "64628.01000000",
    "high": "64628.01000000",
    "low": "64592.00000000",
    "close": "64592.00000000",
    "volume": "10.13279000",
    "close_time": 1722470459999,
    "quote_asset_volume": "654690.62154600",
    "number_of_trades": 816,
    "taker_buy_base_asset_volume": "3.28471000",
    "taker_buy_quote_asset_volume": "212232.36051530",
}

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
    numbers = {name: {**_CANDLE_NOTES[name], **_DECIMAL} for name in _NUMBERS}
    stored = {
        name: (float(value) if name in _NUMBERS else value)
        for name, value in _CANDLE.items()
        if not name.startswith("_")
    }
    return {
        "command": _schema(
            "command",
            "Command",
            "What a worker is told, on queue-control.",
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
        "candle": _schema(
            "candle",
            "Candle",
            "One candle as a record on a data topic; prices and quantities are the exchange's own decimal text.",
            Candle,
            {**_CANDLE_NOTES, **numbers},
            [dict(_CANDLE)],
        ),
        "stored-candle": _schema(
            "stored-candle",
            "Stored candle",
            "One candle as the store holds it and as the export writes it: the nearest doubles.",
            StoredCandle,
            {name: _CANDLE_NOTES[name] for name in stored},
            [stored],
        ),
        **_of_kinds(),
        "end-of-stream": _marker(),
        "dead-letter-headers": _dead_letter_headers(),
        **_payloads(),
    }


def described_kinds() -> list[RecordKind]:
    """The kinds whose schemas follow from their structs alone; candles have notes and examples here."""
    return [kind for kind in kinds() if kind.record is not Candle]


def _of_kinds() -> dict[str, dict[str, Any]]:
    """The messages and documents of `described_kinds`."""
    found = {}
    for kind in described_kinds():
        for name, struct in ((kind.name, kind.record), (f"stored-{kind.name}", kind.stored)):
            text = (struct.__doc__ or f"A record of {kind.name}.").strip().splitlines()[0]
            found[name] = _schema(name, struct.__name__, text, struct, {}, [])
    return found


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
    schema = standalone(msgspec.json.schema(kind), **{"$id": ID_PREFIX + name}, title=title, description=description)
    for field, note in notes.items():
        schema["properties"][field].update(note)
    for field in schema["properties"].values():
        if field.get("maximum") == sys.float_info.max:  # no number of JSON that a program reads is larger
            del field["maximum"]
    schema["examples"] = [dict(example) for example in examples]
    return schema


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
    return {
        "$schema": DIALECT,
        "$id": ID_PREFIX + "dead-letter-headers",
        "title": "Dead letter headers",
        "description": "The headers of a dead letter, as text; its key and value are the original bytes.",
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in texts.items()},
        "required": list(texts),
        "examples": [
            {
                "reason": "not a candle: Object missing required field `close`",
                "topic": f"{_QUEUE}-data",
                "partition": "0",
                "offset": "719",
                "attempt": "1",
                "time": "1722556805500",
            }
        ],
    }
