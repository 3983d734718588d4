"""Documents of one collection: stored in batches, read in the order of their keys.

Who is stored is decided by the server. From 3.12 on it skips a document whose `_version` is not greater than that of
the one there (`versionAttribute`); before, a statement compares them. What was there comes back with the answer and
tells whether the content is another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango import cursor, document_bodies, queries
from streamforge_utils.adapters.arango.arango_collections import RECORDS, Catalogue, path_of
from streamforge_utils.adapters.arango.arango_errors import DATA, NO_COLLECTION, NO_DOCUMENT, UNIQUE, Refused, of_all
from streamforge_utils.adapters.arango.arango_transport import TooLarge, Transport
from streamforge_utils.adapters.arango.batches import Batch, side_by_side, waves
from streamforge_utils.adapters.arango.server_version import Server
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Answer, Document, Outcome

_STORED = Answer(Outcome.STORED)
_UNCHANGED = Answer(Outcome.UNCHANGED)
_STALE = Answer(Outcome.STALE)
REMOVED_AT_ONCE: Final = 5_000
_REMAKINGS: Final = 50
_RACES: Final = 4
"""How often a key that somebody else inserts at the same moment is tried again before it counts as taken."""

Content = dict[str, Any]
_Store = Callable[[Batch], Awaitable[list[Answer]]]


class _Element(msgspec.Struct):
    """The answer for one document of an array."""

    key: str = msgspec.field(name="_key", default="")
    revision: str = msgspec.field(name="_rev", default="")
    before: str = msgspec.field(name="_oldRev", default="")
    old: Content | None = None
    error: bool = False
    number: int = msgspec.field(name="errorNum", default=0)
    message: str = msgspec.field(name="errorMessage", default="")


class _Count(msgspec.Struct):
    count: int


_Row = tuple[str, Any, msgspec.Raw]
_encode = msgspec.json.Encoder().encode
_decode_count = msgspec.json.Decoder(_Count).decode
_decode_elements = msgspec.json.Decoder(list[_Element]).decode
_decode_rows = msgspec.json.Decoder(cursor.Page[_Row]).decode
_decode_keys = msgspec.json.Decoder(cursor.Page[str]).decode
_decode_counts = msgspec.json.Decoder(cursor.Page[int]).decode
_decode_olds = msgspec.json.Decoder(cursor.Page[Content | None]).decode
_decode_content = msgspec.json.Decoder(Content).decode


class Documents:
    """The documents of every collection of the database."""

    def __init__(self, transport: Transport, server: Server, catalogue: Catalogue) -> None:
        self._transport = transport
        self._server = server
        self._catalogue = catalogue

    async def upsert(self, collection: str, documents: Sequence[Document]) -> list[Answer]:
        """Store the documents, of which there is one; one answer each, in order."""
        store = self._upsert_array if await self._server.keeps_newer() else self._upsert_guarded
        columns = DocumentColumns.of(documents)
        if not document_bodies.all_plain(columns):
            return await self._carefully(store, collection, columns)

        async def plain(start: int, end: int) -> list[Answer]:
            some = columns[start:end]
            body = document_bodies.plain_array(some)
            if body is None:
                return await self._carefully(store, collection, some)
            return await store(Batch(collection, some, body))

        cuts = document_bodies.chunks(document_bodies.sizes(columns))
        found = await side_by_side([partial(plain, start, end) for start, end in cuts])
        return found[0] if len(found) == 1 else [answer for some in found for answer in some]

    async def _carefully(self, store: _Store, collection: str, documents: DocumentColumns) -> list[Answer]:
        """Store the documents, each of which is looked at, in their order where a key is there twice."""
        answers: list[Answer] = [_STORED] * len(documents)
        refused = document_bodies.flaws(documents)
        for position, reason in refused.items():
            answers[position] = Answer(Outcome.REFUSED, reason)
        sizes = document_bodies.sizes(documents)
        for wave in waves(documents, refused):
            cuts = [wave[start:end] for start, end in document_bodies.chunks([sizes[n] for n in wave])]
            storing = [partial(store, Batch(collection, [documents[n] for n in cut])) for cut in cuts]
            for cut, some in zip(cuts, await side_by_side(storing), strict=True):
                for position, answer in zip(cut, some, strict=True):
                    answers[position] = answer
        return answers

    async def read(self, collection: str, first: str, last: str | None, limit: int) -> list[Document]:
        """Documents with first <= key < last, ascending."""
        rows = await cursor.everything(
            self._transport,
            queries.documents(collection, first, last, limit),
            _decode_rows,
            what=f"read the collection {collection}",
            answers=(NO_COLLECTION,),
        )
        return [Document(key, _version(version), bytes(body)) for key, version, body in rows]

    async def keys(self, collection: str, first: str, last: str | None, limit: int) -> list[str]:
        """The keys that `read` would give."""
        return await cursor.everything(
            self._transport,
            queries.keys(collection, first, last, limit),
            _decode_keys,
            what=f"read the keys of the collection {collection}",
            answers=(NO_COLLECTION,),
        )

    async def count(self, collection: str, first: str, last: str | None) -> int:
        """How many documents have first <= key < last."""
        what = f"count the collection {collection}"
        if not first and last is None:  # the server knows it
            path = f"{path_of(collection)}/count"
            reply = await self._transport.ask("GET", path, what=what, answers=(NO_COLLECTION,))
            return 0 if reply.number else reply.read(_decode_count).count
        query = queries.count(collection, first, last)
        return sum(await cursor.everything(self._transport, query, _decode_counts, what=what, answers=(NO_COLLECTION,)))

    async def delete(self, collection: str, first: str, last: str) -> int:
        """Remove the documents with first <= key < last; how many there were.

        Some thousands at a time, by their keys: however many there are, each answer comes soon; one that got lost is
        asked for again.
        """
        what = f"remove from the collection {collection}"
        removed = 0
        patience = self._transport.patience(what)
        while keys := await self.keys(collection, first, last, REMOVED_AT_ONCE):
            reply = await self._transport.ask(
                "DELETE",
                f"/_api/document/{quote(collection, safe='')}",
                what=what,
                query={"silent": "true"},
                body=_encode(keys),
                answers=(NO_COLLECTION,),
            )
            if reply.number:
                break
            # Only errors are listed; what is gone already is none.
            elements = reply.read(_decode_elements) if reply.body.startswith(b"[") else []
            failed = [element for element in elements if element.number != NO_DOCUMENT]
            removed += len(keys) - len(failed)
            if failed:
                if error := of_all(self._transport.connection, what, failed[0].number, failed[0].message):
                    raise error
                await patience.failed(f"{len(failed)} documents, error {failed[0].number}", "document")
            else:
                first = keys[-1] + "\x00"
                patience = self._transport.patience(what)
        return removed

    async def flush(self, collection: str) -> None:
        """Return once what was stored in the collection is on the disk."""
        await cursor.written(
            self._transport,
            queries.flush(collection),
            what=f"flush the collection {collection}",
            answers=(NO_COLLECTION,),
        )

    async def _upsert_array(self, batch: Batch) -> list[Answer]:
        """Store documents of different keys by one call; the server compares the versions."""
        answers: list[Answer | None] = []
        left = batch.all
        races = 0
        what = f"store in the collection {batch.collection}"
        patience = self._transport.patience(what)
        while left:
            try:
                body = await self._post(batch, left)
            except (Refused, TooLarge) as refused:
                if not _is_of_data(refused):
                    raise
                return await self._halves(batch, refused, self._upsert_array)
            if b'"error":true' not in body and b'"_oldRev"' not in body and body.count(b'"_key":') == len(left):
                return [answer or _STORED for answer in answers] or [_STORED] * len(left)
            answers = answers or [None] * len(batch.documents)
            elements = _elements(body, len(left))
            skipped: list[int] = []
            again: list[int] = []
            said, raced = "", False
            for position, element in zip(left, elements, strict=True):
                if element.error and _is_race(element) and races < _RACES:
                    said, raced = "another process inserts the same key", True
                    again.append(position)
                elif element.error and (
                    error := of_all(self._transport.connection, what, element.number, element.message)
                ):
                    raise error
                elif element.error and element.number in DATA:
                    answers[position] = Answer(Outcome.REFUSED, _reason(batch.documents[position], element))
                elif element.error:
                    said = f"error {element.number}: {element.message[:200]}"
                    again.append(position)
                elif element.before and element.before == element.revision:
                    skipped.append(position)
                elif element.before and element.old is not None and _same(element.old, batch.documents[position]):
                    answers[position] = _UNCHANGED
                else:
                    answers[position] = _STORED
            for position, answer in zip(skipped, await self._skipped(batch.only(skipped)), strict=True):
                answers[position] = answer
            races += raced
            if again:
                await patience.failed(f"{len(again)} documents, {said}", "document")
            left = again
        return [answer or _STORED for answer in answers]

    async def _post(self, batch: Batch, positions: Sequence[int]) -> bytes:
        body = batch.only(positions).array()
        for _ in range(_REMAKINGS):
            await self._catalogue.ensure(batch.collection, RECORDS)
            reply = await self._transport.ask(
                "POST",
                f"/_api/document/{quote(batch.collection, safe='')}",
                what=f"store in the collection {batch.collection}",
                query={"overwriteMode": "replace", "versionAttribute": "_version", "returnOld": "true"},
                body=body,
                answers=(NO_COLLECTION,),
            )
            if not reply.number:
                return reply.body
            self._catalogue.forget(batch.collection)
        raise _dropped(batch.collection)

    async def _skipped(self, batch: Batch) -> list[Answer]:
        """What to answer for documents that the server skipped, because theirs were not newer than those there."""
        if not batch.documents:
            return []
        rows = await cursor.everything(
            self._transport,
            queries.present(batch.collection, [document.key for document in batch.documents]),
            _decode_rows,
            what=f"look at what is in the collection {batch.collection}",
            answers=(NO_COLLECTION,),
        )
        there = {key: (_version(version), body) for key, version, body in rows}
        answers: list[Answer] = []
        equal: list[int] = []
        for position, document in enumerate(batch.documents):
            version, body = there.get(document.key, (-1, msgspec.Raw(b"null")))
            if version > document.version:
                answers.append(_UNCHANGED if _same_text(body, document) else _STALE)
            elif version == document.version and _same_text(body, document):
                answers.append(_UNCHANGED)
            else:
                # Of the same moment, and another: the later word counts. (Or it was removed meanwhile.)
                equal.append(position)
                answers.append(_STALE)
        if equal:
            for position, answer in zip(equal, await self._upsert_guarded(batch.only(equal)), strict=True):
                answers[position] = answer
        return answers

    async def _upsert_guarded(self, batch: Batch) -> list[Answer]:
        """Store documents of different keys by one statement, which compares the versions: all of them or none."""
        query = queries.guarded_upsert(batch.collection, msgspec.Raw(batch.array()), len(batch.documents))
        what = f"store in the collection {batch.collection}"
        patience = self._transport.patience(what)
        races = 0
        for _ in range(_REMAKINGS):
            await self._catalogue.ensure(batch.collection, RECORDS)
            try:
                reply = await cursor.send(self._transport, query, what=what, answers=(NO_COLLECTION,))
            except (Refused, TooLarge) as error:
                if not _is_of_data(error):
                    raise
                if not _is_race(error) or races == _RACES:
                    return await self._halves(batch, error, self._upsert_guarded)
                # Somebody else inserts one of the keys: seen now, it is replaced the next time.
                races += 1
                await patience.failed("another process inserts the same key", "race")
                continue
            if not reply.number:
                olds = reply.read(_decode_olds).result
                if len(olds) != len(batch.documents):
                    raise RetryableError(f"ArangoDB answered for {len(olds)} of {len(batch.documents)} documents")
                return [_judged(old, document) for old, document in zip(olds, batch.documents, strict=True)]
            self._catalogue.forget(batch.collection)
        raise _dropped(batch.collection)

    async def _halves(self, batch: Batch, error: Refused | TooLarge, store: _Store) -> list[Answer]:
        """One of the documents is at fault: store the others, and find out which one."""
        if len(batch.documents) == 1:
            return [Answer(Outcome.REFUSED, f"the document {batch.documents[0].key!r}: {error}")]
        middle = len(batch.documents) // 2
        first = await store(batch.only(range(middle)))
        return first + await store(batch.only(range(middle, len(batch.documents))))


def _elements(body: bytes, expected: int) -> list[_Element]:
    try:
        found = _decode_elements(body)
    except msgspec.MsgspecError as error:
        raise RetryableError(f"ArangoDB's answer cannot be read ({error}): {body[:100]!r}") from error
    if len(found) != expected:
        raise RetryableError(f"ArangoDB answered for {len(found)} of {expected} documents")
    return found


def _judged(old: Content | None, document: Document) -> Answer:
    if old is None:
        return _STORED
    if _same(old, document):
        return _UNCHANGED
    return _STALE if _version(old.get("_version")) > document.version else _STORED


def _version(found: Any) -> int:
    """A document's version; 0 for one of a foreign hand that has none, or something else under its name."""
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) and found >= 0 else 0


def _same(old: Content, document: Document) -> bool:
    """Whether the document that was there has the same content."""
    content = {name: value for name, value in old.items() if name not in ("_key", "_id", "_rev", "_version")}
    return content == _decode_content(document.body)


def _same_text(body: msgspec.Raw, document: Document) -> bool:
    return bool(msgspec.json.decode(body) == _decode_content(document.body))


def _is_of_data(error: Refused | TooLarge) -> bool:
    """Whether fewer documents at once may do better."""
    return isinstance(error, TooLarge) or error.of_data


def _is_race(error: _Element | Refused | TooLarge) -> bool:
    """Whether the key itself is taken, which a call that replaces meets only while somebody else inserts it."""
    if isinstance(error, TooLarge):
        return False
    said = error.message if isinstance(error, _Element) else str(error)
    return error.number == UNIQUE and "of type primary" in said


def _reason(document: Document, element: _Element) -> str:
    return f"the document {document.key!r} is refused by ArangoDB (error {element.number}): {element.message[:300]}"


def _dropped(collection: str) -> RetryableError:
    return RetryableError(f"the collection {collection} is dropped again and again by another process; try again")
