"""Documents as the text that is sent, and what of them the server would never take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from streamforge_utils.model.documents import all_acceptable, refusal
from streamforge_utils.ports.store import Document

CHUNK_BYTES: Final = 1_000_000
"""Of one request: some 2,600 candles. More at once cost the client more, not less; a larger document goes alone."""
CHUNK_DOCUMENTS: Final = 10_000

_OWN: Final = frozenset({"_key", "_id", "_rev", "_version"})


class _Own(msgspec.Struct, gc=False):
    """The attributes of a text that are not its document's; what else it holds is only looked through."""

    key: str = msgspec.field(name="_key")
    version: int = msgspec.field(name="_version")
    id: msgspec.Raw | None = msgspec.field(name="_id", default=None)
    revision: msgspec.Raw | None = msgspec.field(name="_rev", default=None)


_decode_own = msgspec.json.Decoder(list[_Own]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def texts(documents: Sequence[Document]) -> tuple[list[bytes], dict[int, str]]:
    """The text of each document, and why some can never be stored, by position (their text is empty)."""
    keys, versions = [d.key for d in documents], [d.version for d in documents]
    bodies = [d.body for d in documents]
    if all_acceptable(keys, versions, bodies):
        found = [
            b'{"_key":"%b","_version":%d,%b' % (key.encode(), version, body[1:])
            if body[1] == 0x22  # a quote: there is an attribute
            else _text(key, version, body)
            for key, version, body in zip(keys, versions, bodies, strict=True)
        ]
        if _sound(found, keys, versions):
            return found, {}
    found, reasons = [], {}
    for position, (key, version, body) in enumerate(zip(keys, versions, bodies, strict=True)):
        reason = refusal(key, version, body) or _flaw(key, body)
        if reason is None:
            found.append(_text(key, version, body))
        else:
            found.append(b"")
            reasons[position] = reason
    return found, reasons


def chunks(parts: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where to cut the texts so that no request is too large: from, to."""
    if len(parts) <= CHUNK_DOCUMENTS and sum(map(len, parts)) <= CHUNK_BYTES:
        yield 0, len(parts)
        return
    start, size = 0, 0
    for position, part in enumerate(parts):
        if position > start and (size + len(part) > CHUNK_BYTES or position - start >= CHUNK_DOCUMENTS):
            yield start, position
            start, size = position, 0
        size += len(part) + 1
    yield start, len(parts)


def array(parts: Sequence[bytes]) -> bytes:
    """The texts as one JSON array."""
    return b"[" + b",".join(parts) + b"]"


def _text(key: str, version: int, body: bytes) -> bytes:
    rest = body.strip(b" \t\r\n")[1:].lstrip(b" \t\r\n")
    comma = b"" if rest == b"}" else b","
    return b'{"_key":"%b","_version":%d%b%b' % (key.encode(), version, comma, rest)


def _sound(parts: list[bytes], keys: list[str], versions: list[int]) -> bool:
    """Whether each text is one JSON object without attributes that are ArangoDB's or ours; False proves nothing."""
    whole = array(parts)
    try:
        if not whole.isascii():
            whole.decode()
        found = _decode_own(whole)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        return False
    # Of an attribute that is there twice, the later counts: it would be another.
    return (
        [own.key for own in found] == keys
        and [own.version for own in found] == versions
        and not any(own.id or own.revision for own in found)
    )


def _flaw(key: str, body: bytes) -> str | None:
    try:
        names = _decode_object(body).keys()
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        return f"the body of {key!r} is not a JSON object: {error}"
    own = sorted(names & _OWN)
    if own:
        return f"the body of {key!r} holds {', '.join(own)}, which ArangoDB and StreamForge set themselves: rename it"
    return None
