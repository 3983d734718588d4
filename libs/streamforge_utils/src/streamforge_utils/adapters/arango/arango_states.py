"""States, each a document that is changed only while it has the revision that was read.

A change carries a mark of its own. Where the answer to a change got lost, the mark tells whether it was made: a change
that is sent again meets its own revision, and that is no conflict. If somebody else has changed the state since, his
mark is there instead: then it is a conflict either way, and what he decided on was our change, if it was made.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Unpack
from urllib.parse import quote

import msgspec

from streamforge_utils.adapters.arango import queries
from streamforge_utils.adapters.arango.arango_collections import STATE_DOCUMENTS, STATES, Database
from streamforge_utils.adapters.arango.arango_errors import (
    CONFLICT,
    MALFORMED_REVISION,
    NO_COLLECTION,
    NO_DOCUMENT,
    UNIQUE,
)
from streamforge_utils.adapters.arango.arango_transport import documents_path
from streamforge_utils.model.documents import KEY_LIMIT
from streamforge_utils.model.errors import ConflictError, InvalidInput, PermanentError
from streamforge_utils.ports.store import Labels, Selected, State


class _Stored(msgspec.Struct):
    """A state as it lies in the collection. text or base64: the body. mark: of the change that wrote it."""

    id: str
    revision: str = msgspec.field(name="_rev")
    labels: dict[str, str] = {}
    created_ms: int = 0
    text: str | None = None
    base64: str | None = None
    mark: str = ""

    def state(self) -> State:
        body = base64.b64decode(self.base64 or "") if self.text is None else self.text.encode()
        return State(id=self.id, revision=self.revision, body=body, labels=self.labels, created_ms=self.created_ms)


class _Written(msgspec.Struct):
    new: _Stored


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode
_decode_written = msgspec.json.Decoder(_Written).decode
_decode_page = msgspec.json.Decoder(queries.Page[_Stored]).decode
_decode_tally = msgspec.json.Decoder(queries.Page[tuple[str | None, int]]).decode

_MISSING: Final = (NO_COLLECTION, NO_DOCUMENT)
_ANOTHER: Final = (CONFLICT, MALFORMED_REVISION, NO_DOCUMENT, NO_COLLECTION)


class States(Database):
    """The states of every kind."""

    async def get(self, kind: str, id: str) -> State | None:
        await self._server.check()
        found = await self._stored(kind, id)
        return None if found is None else found.state()

    async def get_many(self, kind: str, ids: Sequence[str]) -> Mapping[str, State]:
        await self._server.check()
        if not ids:
            return {}
        query = queries.states_named(STATES, [_key(kind, id) for id in ids])
        found = await queries.everything(self._transport, query, _decode_page, f"read states of the kind {kind}")
        return {stored.id: stored.state() for stored in found}

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels = None, created_ms: int = 0
    ) -> State:
        mark = secrets.token_hex(8)
        content: dict[str, Any] = {"mark": mark, **_body(body)}
        if expected is None:
            content |= {"_key": _key(kind, id), "kind": kind, "id": id, "created_ms": created_ms}
            content["labels"] = dict(labels or {})
            make = partial(
                self._transport.ask,
                "POST",
                documents_path(STATES),
                what=f"make the state {kind} {id}",
                query={"returnNew": "true", "waitForSync": "true"},
                body=_encode(content),
                answers=(UNIQUE, NO_COLLECTION),
            )
            reply = await self._on(STATES, STATE_DOCUMENTS, make)
        else:
            if labels is not None:
                content["labels"] = dict(labels)
            reply = await self._transport.ask(
                "PATCH",
                _path(kind, id),
                what=f"change the state {kind} {id}",
                # Without a merge: labels that are not given again are gone.
                query={"returnNew": "true", "waitForSync": "true", "mergeObjects": "false", "keepNull": "false"},
                headers=_if_match(expected),
                body=_encode(content),
                answers=_ANOTHER,
            )
        if not reply.number:
            return reply.read(_decode_written).new.state()
        there = await self._stored(kind, id)
        if there is not None and reply.repeated and there.mark == mark:
            return there.state()
        raise _conflict(kind, id, there, expected)

    async def find(
        self, kind: str, *, after: str | None = None, limit: int = 100, **selected: Unpack[Selected]
    ) -> Sequence[State]:
        """See `StateStore.find`. Raises InvalidInput if the state `after` was removed."""
        await self._server.check()
        edge: tuple[int, str] | None = None
        if after is not None:
            last = await self._stored(kind, after)
            if last is None:
                raise InvalidInput(
                    "after",
                    f"there is no {kind} {after[:80]!r} any more to continue after: begin again at the first page",
                )
            edge = (last.created_ms, last.id)
        if limit <= 0 or queries.selects_nothing(selected):
            return []
        query = queries.states(STATES, kind, selected, edge, limit)
        found = await queries.everything(self._transport, query, _decode_page, f"look for states of the kind {kind}")
        return [stored.state() for stored in found]

    async def tally(self, kind: str, label: str, **selected: Unpack[Selected]) -> Mapping[str, int]:
        await self._server.check()
        if queries.selects_nothing(selected):
            return {}
        query = queries.tally(STATES, kind, label, selected)
        found = await queries.everything(self._transport, query, _decode_tally, f"count states of the kind {kind}")
        return {value: count for value, count in found if value is not None}

    async def remove(self, kind: str, id: str, *, expected: str) -> None:
        reply = await self._transport.ask(
            "DELETE",
            _path(kind, id),
            what=f"remove the state {kind} {id}",
            query={"waitForSync": "true"},
            headers=_if_match(expected),
            answers=_ANOTHER,
        )
        if reply.number in (CONFLICT, MALFORMED_REVISION):
            there = await self._stored(kind, id)
            if there is not None:
                raise _conflict(kind, id, there, expected)

    async def _stored(self, kind: str, id: str) -> _Stored | None:
        reply = await self._transport.ask("GET", _path(kind, id), what=f"read the state {kind} {id}", answers=_MISSING)
        return None if reply.number else reply.read(_decode)


def _conflict(kind: str, id: str, there: _Stored | None, expected: str | None) -> ConflictError:
    if there is None:
        return ConflictError(f"{kind} {id}: it was removed since revision {expected} was read; read again and decide")
    if expected is None:
        return ConflictError(f"{kind} {id}: there is one already (revision {there.revision})")
    return ConflictError(
        f"{kind} {id}: it is at revision {there.revision}, not {expected} any more; read again and decide"
    )


def _body(body: bytes) -> dict[str, str | None]:
    try:
        return {"text": body.decode(), "base64": None}
    except UnicodeDecodeError:
        return {"text": None, "base64": base64.b64encode(body).decode()}


def _key(kind: str, id: str) -> str:
    """A legal key that follows from both; a long one is cut and ends in a hash of the whole."""
    try:
        whole = f"{_quoted(kind)}={_quoted(id)}"
    except UnicodeEncodeError as error:
        raise PermanentError(f"{kind} {id!r}: that is no text") from error
    if len(whole) <= KEY_LIMIT:
        return whole
    return f"{whole[:180]}={hashlib.sha256(whole.encode()).hexdigest()}"


def _quoted(text: str) -> str:
    return quote(text, safe="").replace("~", "%7E")


def _path(kind: str, id: str) -> str:
    return f"{documents_path(STATES)}/{quote(_key(kind, id), safe='')}"


def _if_match(expected: str) -> dict[str, str]:
    legal = expected.isascii() and expected.isprintable() and '"' not in expected and expected != ""
    return {"If-Match": f'"{expected}"' if legal else '"none"'}
