"""What may be stored: names of collections, keys and bodies of documents. The same for every store."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Final

from streamforge_utils.model.errors import PermanentError

KEY_LIMIT: Final = 254
BODY_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one document."""
VERSION_LIMIT: Final = 2**63
KEY_CHARACTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.@()+,=;$!*'%:"

_KEY = re.compile(f"[{re.escape(KEY_CHARACTERS.decode())}]{{1,{KEY_LIMIT}}}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,255}")
_OPENING, _CLOSING = b"{}"
_first_byte, _last_byte = itemgetter(0), itemgetter(-1)


def check_name(collection: str) -> str:
    """`collection` itself. Raises PermanentError if no store could have one of that name."""
    if _NAME.fullmatch(collection) is None:
        raise PermanentError(
            f"collection name {collection[:80]!r} is not legal: up to 256 letters, digits, _ and -, a letter first"
        )
    return collection


def is_key(text: str) -> bool:
    """Whether `text` may be a document's key."""
    return _KEY.fullmatch(text) is not None


def is_object(body: bytes) -> bool:
    """Whether `body` looks like a JSON object; only its ends are looked at."""
    stripped = body.strip(b" \t\r\n")
    return stripped[:1] == b"{" and stripped[-1:] == b"}" and len(stripped) > 1


def is_document(name: str) -> bool:
    """Whether `name` has the form `collection/key`."""
    collection, slash, key = name.partition("/")
    return bool(slash) and is_key(key) and _NAME.fullmatch(collection) is not None


def refusal(key: str, version: int, body: bytes) -> str | None:
    """Why the document can never be stored; None if it can."""
    if not is_key(key):
        return (
            f"the key {key[:80]!r} is not legal: 1 to {KEY_LIMIT} characters, letters, digits and _-.@()+,=;$!*'%: only"
        )
    if len(body) > BODY_LIMIT:
        return f"the body of {key[:80]!r} has {len(body)} bytes, more than {BODY_LIMIT}"
    if not is_object(body):
        return f"the body of {key[:80]!r} is not a JSON object: {body[:40]!r}"
    if not 0 <= version < VERSION_LIMIT:
        return f"the version {version} of {key[:80]!r} is not a time in unix milliseconds"
    return None


def all_acceptable(
    keys: Sequence[str], versions: Sequence[int], bodies: Sequence[bytes], *, encoded: bool = False
) -> bool:
    """Whether nothing of them would be refused; asked of thousands at once. There is at least one.

    encoded: nothing is wrong with the bodies.
    """
    joined = "".join(keys)
    if not joined.isascii() or joined.encode().translate(None, KEY_CHARACTERS):
        return False
    lengths = set(map(len, keys))
    if min(lengths) < 1 or max(lengths) > KEY_LIMIT:
        return False
    times = set(versions)  # mostly few
    if min(times) < 0 or max(times) >= VERSION_LIMIT:
        return False
    return encoded or (max(map(len, bodies)) <= BODY_LIMIT and _are_objects(bodies))


def are_edges(names: Collection[str], bodies: Sequence[bytes]) -> bool:
    """Whether edges between these documents, with these bodies, may be stored: asked of thousands at once.

    A cheap test, so `False` proves nothing.
    """
    return all(map(is_document, names)) and _are_objects(bodies)


def check_edge(source: str, destination: str, body: bytes) -> None:
    """Raises PermanentError for an edge that no store could have."""
    for end, name in (("source", source), ("destination", destination)):
        if not is_document(name):
            raise PermanentError(f"edge {end} {name[:80]!r} does not name a document: write collection/key")
    if not is_object(body):
        raise PermanentError(f"edge {source} to {destination}: its body is not a JSON object")


def _are_objects(bodies: Sequence[bytes]) -> bool:
    if not bodies or min(map(len, bodies)) < 2:
        return not bodies
    return set(map(_first_byte, bodies)) == {_OPENING} and set(map(_last_byte, bodies)) == {_CLOSING}
