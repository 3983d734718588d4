"""Documents as the text that is sent: what of them the server would never take, and how they are cut into requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from streamforge_utils.model.documents import all_acceptable, refusal
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Answer, Document

CHUNK_BYTES: Final = 500_000
"""Of one request: some 1,300 candles. While the server stores them, the next are made; a larger document goes alone."""
CHUNK_DOCUMENTS: Final = 5_000
AT_ONCE: Final = 3
"""Requests of one call under way: a server has several threads, and one is busy while the next arrives."""

_AROUND: Final = len('{"_key":"","_version":,') + 19  # the digits of the greatest version
_OWN: Final = frozenset({"_key", "_id", "_rev", "_version"})


T = TypeVar("T")
Storing = Callable[[], Awaitable[list[Answer]]]


class Batch(Generic[T]):
    """Documents or edges of one collection and different keys, small enough for one request.

    text: what makes one of them a JSON text. body: their array, if it is made already.
    """

    def __init__(self, collection: str, items: Sequence[T], text: Callable[[T], bytes], body: bytes = b"") -> None:
        self.collection = collection
        self.items = items
        self._text = text
        self._body = body

    def __len__(self) -> int:
        return len(self.items)

    def array(self) -> bytes:
        """All as one JSON array."""
        return self._body or array([self._text(item) for item in self.items])

    def only(self, positions: Sequence[int]) -> Batch[T]:
        """Some of them."""
        if len(positions) == len(self.items):
            return self
        return Batch(self.collection, [self.items[n] for n in positions], self._text)


class _Own(msgspec.Struct, gc=False):
    """The attributes of a text that are not its document's; what else it holds is only looked through."""

    key: str = msgspec.field(name="_key")
    version: int = msgspec.field(name="_version")
    id: msgspec.Raw | None = msgspec.field(name="_id", default=None)
    revision: msgspec.Raw | None = msgspec.field(name="_rev", default=None)


_decode_own = msgspec.json.Decoder(list[_Own]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def all_plain(columns: DocumentColumns) -> bool:
    """Whether at a glance nothing of them would be refused, and no key is there twice; there is at least one.

    `plain_array` looks closer.
    """
    acceptable = all_acceptable(columns.keys, columns.versions, columns.bodies, encoded=columns.encoded)
    return acceptable and len(set(columns.keys)) == len(columns)


def plain_array(columns: DocumentColumns) -> bytes | None:
    """The documents as one JSON array, made and looked at together; None if one may have to be refused."""
    keys, versions, bodies = columns.keys, columns.versions, columns.bodies
    whole = array(
        [
            b'{"_key":"%b","_version":%d,%b' % (key.encode(), version, body[1:])
            if body[1] == 0x22  # a quote: there is an attribute
            else text(key, version, body)
            for key, version, body in zip(keys, versions, bodies, strict=True)
        ]
    )
    return whole if _sound(whole, keys, versions) else None


def flaws(documents: Sequence[Document]) -> dict[int, str]:
    """Which documents can never be stored, by position, and why."""
    found: dict[int, str] = {}
    for position, document in enumerate(documents):
        key, version, body = document.key, document.version, document.body
        reason = refusal(key, version, body) or _flaw(key, body)
        if reason is not None:
            found[position] = reason
    return found


def sizes(documents: DocumentColumns) -> list[int]:
    """Bytes of each document's text, or a few more."""
    return [len(key) + len(body) + _AROUND for key, body in zip(documents.keys, documents.bodies, strict=True)]


def chunks(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where to cut texts of these sizes so that no request is too large: from, to."""
    if len(sizes) <= CHUNK_DOCUMENTS and sum(sizes) <= CHUNK_BYTES:
        yield 0, len(sizes)
        return
    start, total = 0, 0
    for position, size in enumerate(sizes):
        if position > start and (total + size > CHUNK_BYTES or position - start >= CHUNK_DOCUMENTS):
            yield start, position
            start, total = position, 0
        total += size + 1
    yield start, len(sizes)


def array(parts: Sequence[bytes]) -> bytes:
    """The texts as one JSON array."""
    return b"[" + b",".join(parts) + b"]"


def text_of(document: Document) -> bytes:
    """A document as it is sent."""
    return text(document.key, document.version, document.body)


def text(key: str, version: int, body: bytes) -> bytes:
    """A document as it is sent."""
    rest = body.strip(b" \t\r\n")[1:].lstrip(b" \t\r\n")
    comma = b"" if rest == b"}" else b","
    return b'{"_key":"%b","_version":%d%b%b' % (key.encode(), version, comma, rest)


async def side_by_side(storing: Sequence[Storing]) -> list[list[Answer]]:
    """What each gives, a few of them under way at a time; the first failure ends them all."""
    if len(storing) == 1:
        return [await storing[0]()]
    found: list[list[Answer]] = [[]] * len(storing)
    left = iter(enumerate(storing))

    async def some() -> None:
        for at, one in left:
            found[at] = await one()

    tasks: list[asyncio.Task[None]] = []
    try:
        for _ in range(min(AT_ONCE, len(storing))):
            tasks.append(asyncio.create_task(some(), name="store documents"))
            await asyncio.sleep(0)  # what the one before has made goes out before the next is made
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def waves(documents: Sequence[Document], left_out: Iterable[int] = ()) -> list[list[int]]:
    """Positions to be stored, one wave after the other: a key that occurs twice is in two of them, in order."""
    out = set(left_out)
    found: list[list[int]] = []
    seen: dict[str, int] = {}
    for position, document in enumerate(documents):
        if position in out:
            continue
        wave = seen.get(document.key, 0)
        seen[document.key] = wave + 1
        if wave == len(found):
            found.append([])
        found[wave].append(position)
    return found


def _sound(whole: bytes, keys: Sequence[str], versions: Sequence[int]) -> bool:
    """Whether each text is one JSON object without attributes that are ArangoDB's or ours; False proves nothing."""
    try:
        if not whole.isascii():
            whole.decode()
        found = _decode_own(whole)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        return False
    # Of an attribute that is there twice, the later counts: it would be another.
    return (
        [own.key for own in found] == list(keys)
        and [own.version for own in found] == list(versions)
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
