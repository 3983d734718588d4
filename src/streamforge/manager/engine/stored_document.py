"""The document of a workflow, as the store keeps it, of this version and of older ones."""

from __future__ import annotations

import msgspec

from streamforge.manager.engine.document import FORMAT, Workflow
from streamforge.manager.engine.registry import read_part, upgraded
from streamforge_utils.model.errors import ConfigError


class _Format(msgspec.Struct):
    format: int


encode_workflow = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Workflow, dec_hook=read_part).decode
_decode_format = msgspec.json.Decoder(_Format).decode


def require_format(body: bytes, newest: int, what: str = "") -> int:
    """The format of a document. Raises ConfigError, which begins with `what`, for one of a newer version."""
    written = _decode_format(body).format
    if written > newest:
        raise ConfigError(f"{what}format {written}; this version knows up to {newest}: upgrade StreamForge")
    return written


def decode_workflow(body: bytes) -> Workflow:
    """Read a document written by this version or an older one. Raises ConfigError for one of a newer version."""
    if require_format(body, FORMAT) == FORMAT:
        return _decode(body)
    older = upgraded(msgspec.json.decode(body))
    return msgspec.convert(older, Workflow, dec_hook=read_part, str_keys=True)
