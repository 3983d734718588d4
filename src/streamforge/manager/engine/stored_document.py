"""The document of a workflow, as the store keeps it, of this version and of older ones."""

from __future__ import annotations

import msgspec

from streamforge.manager.engine.document import FORMAT, Workflow
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.timeranges import parse_time_range


class _Format(msgspec.Struct):
    format: int


encode_workflow = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Workflow).decode
_decode_format = msgspec.json.Decoder(_Format).decode


def require_format(body: bytes, newest: int, what: str = "") -> int:
    """The format of a document. Raises ConfigError, which begins with `what`, for one of a newer version."""
    written = _decode_format(body).format
    if written > newest:
        raise ConfigError(f"{what}format {written}; this version knows up to {newest}: upgrade StreamForge")
    return written


def decode_workflow(body: bytes) -> Workflow:
    """Read a document written by this version or an older one. Raises ConfigError for one of a newer version."""
    written = require_format(body, FORMAT)
    return _of_format_1(body) if written == 1 else msgspec.structs.replace(_decode(body), format=FORMAT)


def _of_format_1(body: bytes) -> Workflow:
    """Its plan named ranges alone; all of them were loaded over REST."""
    document = msgspec.json.decode(body)
    if (plan := document.get("plan")) is not None:
        plan["parts"] = [{"span": msgspec.to_builtins(parse_time_range(text))} for text in plan.pop("load")]
    return msgspec.convert({**document, "format": FORMAT}, Workflow)
