"""Documents of one collection: stored in batches, read in the order of their keys.

Who is stored is decided by the server. From 3.12 on it skips a document whose `_version` is not greater than that of
the one there (`versionAttribute`); before, a statement compares them. What was there comes back with the answer and
tells whether the content is another.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence, Set
from functools import partial
from operator import attrgetter
from typing import Any, Final

import msgspec

from streamforge_utils.adapters.arango import document_bodies, queries
from streamforge_utils.adapters.arango.arango_collections import (
    RACES,
    REMOVED_AT_ONCE,
    Database,
    Element,
    Elements,
    Kind,
    check_collection,
    halves,
    records_of,
)
from streamforge_utils.adapters.arango.arango_errors import NO_COLLECTION, Refused
from streamforge_utils.adapters.arango.arango_transport import path_of
from streamforge_utils.adapters.arango.document_bodies import Batch, side_by_side, text_of, waves
from streamforge_utils.model.kinds.registry import kind_of_document
from streamforge_utils.model.series import Series
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.records import positions_of_keys, values_of_documents
from streamforge_utils.ports.store import Answer, Document, Outcome, count_outcomes

_STORED = Answer(Outcome.STORED)
_UNCHANGED = Answer(Outcome.UNCHANGED)
_STALE = Answer(Outcome.STALE)
_GUARDED: Final = {"overwriteMode": "replace", "versionAttribute": "_version", "returnOld": "true"}

Content = dict[str, Any]
_Write = Callable[[Batch[Document]], Awaitable[Elements]]
_Store = Callable[[Batch[Document]], Awaitable[list[Answer]]]
_Row = tuple[str, Any, msgspec.Raw]


class _Count(msgspec.Struct):
    count: int


_decode_rows = msgspec.json.Decoder(queries.Page[_Row]).decode
_decode_keys = msgspec.json.Decoder(queries.Page[str]).decode
_decode_counts = msgspec.json.Decoder(queries.Page[int]).decode
_decode_olds = msgspec.json.Decoder(queries.Page[Content | None]).decode
_decode_count = msgspec.json.Decoder(_Count).decode
_decode_content = msgspec.json.Decoder(Content).decode


class Documents(Database):
    """The documents of every collection of the database."""

    @property
    def upserts_at_once(self) -> int:
        return 2  # the second is made ready while the server stores the first

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        """See `DocumentStore.upsert`. Raises PermanentError for an illegal collection name."""
        check_collection(collection)
        if not documents:
            return []
        began = time.perf_counter()
        write = self._replace if await self._server.keeps_newer() else self._replace_guarded
        answers = await self._upsert(partial(self._judge, write), collection, DocumentColumns.of(documents))
        observer = self._transport.observer
        observer.count("store_write_seconds", time.perf_counter() - began)
        for outcome, number in count_outcomes(answers).items():
            observer.count("store_documents", number, outcome=outcome.value)
        return answers

    async def _upsert(self, store: _Store, collection: str, columns: DocumentColumns) -> list[Answer]:
        if not document_bodies.all_plain(columns):
            return await self._carefully(store, collection, columns)

        async def plain(start: int, end: int) -> list[Answer]:
            some = columns[start:end]
            body = document_bodies.plain_array(some)
            if body is None:
                return await self._carefully(store, collection, some)
            return await store(Batch(collection, some, text_of, body))

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
            storing = [partial(store, Batch(collection, [documents[n] for n in cut], text_of)) for cut in cuts]
            for cut, some in zip(cuts, await side_by_side(storing), strict=True):
                for position, answer in zip(cut, some, strict=True):
                    answers[position] = answer
        return answers

    async def read(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 1000
    ) -> Sequence[Document]:
        check_collection(collection)
        if limit <= 0:
            return []
        query = queries.documents(collection, first, last, limit)
        rows = await queries.everything(self._transport, query, _decode_rows, f"read the collection {collection}")
        return [Document(key, _version(version), bytes(body)) for key, version, body in rows]

    async def values(
        self, collection: str, series: Series, within: range, names: Sequence[str], *, limit: int
    ) -> Sequence[tuple[Any, ...]]:
        return await values_of_documents(self, collection, series, within, names, limit)

    async def positions(self, collection: str, series: Series, within: range, *, limit: int) -> Sequence[int]:
        return await positions_of_keys(self, collection, series, within, limit)

    async def keys(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 100_000
    ) -> Sequence[str]:
        check_collection(collection)
        if limit <= 0:
            return []
        query = queries.keys(collection, first, last, limit)
        what = f"read the keys of the collection {collection}"
        return await queries.everything(self._transport, query, _decode_keys, what)

    async def present(self, collection: str, keys: Sequence[str]) -> Set[str]:
        check_collection(collection)
        if not keys:
            return frozenset()
        what = f"look for keys in the collection {collection}"
        query = queries.present_keys(collection, keys)
        return frozenset(await queries.everything(self._transport, query, _decode_keys, what))

    async def fetch(self, collection: str, keys: Sequence[str]) -> Sequence[Document]:
        check_collection(collection)
        if not keys:
            return []
        query = queries.present(collection, keys)
        rows = await queries.everything(self._transport, query, _decode_rows, f"read the collection {collection}")
        found = [Document(key, _version(version), bytes(body)) for key, version, body in rows]
        return sorted(found, key=attrgetter("key"))

    async def count(self, collection: str, *, first: str = "", last: str | None = None) -> int:
        check_collection(collection)
        what = f"count the collection {collection}"
        if not first and last is None:  # the server knows it
            path = f"{path_of(collection)}/count"
            reply = await self._transport.ask("GET", path, what=what, answers=(NO_COLLECTION,))
            return 0 if reply.number else reply.read(_decode_count).count
        query = queries.count(collection, first, last)
        return sum(await queries.everything(self._transport, query, _decode_counts, what))

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        """See `Collections.delete`.

        Some thousands at a time, by their keys: however many there are, each answer comes soon; one that got lost is
        asked for again.
        """
        removed = 0
        while keys := await self.keys(collection, first=first, last=last, limit=REMOVED_AT_ONCE):
            await self._remove(collection, keys)
            removed += len(keys)
            first = keys[-1] + "\x00"
        return removed

    async def flush(self, collection: str) -> None:
        check_collection(collection)
        await queries.send(self._transport, queries.flush(collection), f"flush the collection {collection}")

    async def _replace(self, batch: Batch[Document]) -> Elements:
        """Store documents by one call; the server compares the versions."""
        return await self._write(batch, _kind_of(batch), _GUARDED)

    async def _replace_guarded(self, batch: Batch[Document]) -> Elements:
        """Store documents by one statement, which compares the versions: all of them or none."""
        query = queries.guarded_upsert(batch.collection, msgspec.Raw(batch.array()), len(batch))
        what = f"store in the collection {batch.collection}"
        patience = self._transport.patience(what)
        send = partial(queries.send, self._transport, query, what)
        kind = _kind_of(batch)
        for races in range(RACES + 1):
            try:
                reply = await self._on(batch.collection, kind, send)
            except Refused as error:
                if not error.refusal.is_race or races == RACES:
                    return await halves(batch, self._replace_guarded, error)
                # Seen now, it is replaced the next time.
                await patience.failed("another process inserts the same key", "race")
            else:
                olds = reply.read_each(lambda body: _decode_olds(body).result, len(batch))
                return [None if old is None else Element(old=old) for old in olds]
        raise AssertionError("the last round returns")

    async def _judge(self, write: _Write, batch: Batch[Document]) -> list[Answer]:
        """Store a batch, and return the outcome for each document."""
        elements = await write(batch)
        answers = [_judged(element, document) for element, document in zip(elements, batch.items, strict=True)]
        # What the server skipped is not newer than what is there.
        skipped = [position for position, element in enumerate(elements) if element is not None and element.skipped]
        for position, answer in zip(skipped, await self._skipped(batch.only(skipped)), strict=True):
            answers[position] = answer
        return answers

    async def _skipped(self, batch: Batch[Document]) -> list[Answer]:
        """What to answer for documents that the server skipped."""
        if not batch.items:
            return []
        query = queries.present(batch.collection, [document.key for document in batch.items])
        what = f"look at what is in the collection {batch.collection}"
        rows = await queries.everything(self._transport, query, _decode_rows, what)
        there = {key: (_version(version), msgspec.json.decode(body)) for key, version, body in rows}
        answers: list[Answer] = []
        equal: list[int] = []
        for position, document in enumerate(batch.items):
            version, content = there.get(document.key, (-1, None))
            if version >= document.version and content == _decode_content(document.body):
                answers.append(_UNCHANGED)
            else:
                answers.append(_STALE)
                if version <= document.version:
                    # Of the same moment, and another: the later word counts. (Or it was removed meanwhile.)
                    equal.append(position)
        if equal:
            again = await self._judge(self._replace_guarded, batch.only(equal))
            for position, answer in zip(equal, again, strict=True):
                answers[position] = answer
        return answers


def _kind_of(batch: Batch[Document]) -> Kind:
    """What the collection needs to have for a batch: the indexes of the kind whose record comes first in it.

    Records of several kinds do not come in one batch of a worker that knows them.
    """
    first = batch.items[0]
    return records_of(kind_of_document(first.key, first.body))


def _judged(element: Element | None, document: Document) -> Answer:
    if element is not None and element.error:
        return Answer(Outcome.REFUSED, f"the document {document.key!r} {element.told}")
    if element is None or element.old is None:
        return _STORED
    old = element.old
    content = {name: value for name, value in old.items() if name not in ("_key", "_id", "_rev", "_version")}
    if content == _decode_content(document.body):
        return _UNCHANGED
    return _STALE if _version(old.get("_version")) > document.version else _STORED


def _version(found: Any) -> int:
    """A document's version; 0 for one of a foreign hand that has none, or something else under its name."""
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) and found >= 0 else 0
