"""The store: documents in collections, workflow states with compare-and-set, edges between documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from enum import StrEnum
from typing import Any, Protocol, TypedDict, Unpack

import msgspec

from streamforge_utils.model.series import Series


class Document(msgspec.Struct, frozen=True, gc=False):
    """A document. version: when its content was observed, unix milliseconds. body: a JSON object, without the key.

    What is read equals what was stored; spaces, the order of attributes and the way of writing a number may be others.
    """

    key: str
    version: int
    body: bytes


class Outcome(StrEnum):
    """The outcome of one document.

    stored: new, or it replaced an older content. unchanged: the same content was there. stale: a newer version is
    there and stays. refused: it can never be stored (`Answer.reason` says why).
    """

    STORED = "stored"
    UNCHANGED = "unchanged"
    STALE = "stale"
    REFUSED = "refused"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The outcome for one document, with the reason of a refusal."""

    outcome: Outcome
    reason: str = ""


def count_outcomes(answers: Sequence[Answer]) -> Mapping[Outcome, int]:
    """How many answers there are of each outcome."""
    if answers and answers.count(answers[0]) == len(answers):  # mostly: all of them are stored
        return {answers[0].outcome: len(answers)}
    return Counter([answer.outcome for answer in answers])


class DocumentStore(Protocol):
    """Documents by key. Collections are made on first use, by any number of processes at once."""

    @property
    def upserts_at_once(self) -> int:
        """So many calls of `upsert` at a time keep it busy; 1 where they are carried out one after the other anyway."""

    async def upsert(self, collection: str, documents: Sequence[Document]) -> Sequence[Answer]:
        """Store `documents`, one answer each, in their order; on return they survive the death of any process.

        An older version never overwrites a newer one. Equal content is `unchanged` (the newer version is kept). One
        refused document does not keep the others from being stored. A key that occurs twice is taken in order.
        Raises RetryableError (nothing of this call is promised; storing it again is harmless) or ConfigError.
        """

    async def read(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 1000
    ) -> Sequence[Document]:
        """Documents with first <= key < last, in ascending order of keys (by code point), at most `limit`.

        A collection that does not exist is empty. Raises RetryableError.
        """

    async def keys(
        self, collection: str, *, first: str = "", last: str | None = None, limit: int = 100_000
    ) -> Sequence[str]:
        """The keys alone, as `read` would give them."""

    async def present(self, collection: str, keys: Sequence[str]) -> Set[str]:
        """Which of `keys`, a few thousand at most, are there. Raises RetryableError."""

    async def fetch(self, collection: str, keys: Sequence[str]) -> Sequence[Document]:
        """The documents with these keys, some thousands, that are there, sorted by key. Raises RetryableError."""

    async def count(self, collection: str, *, first: str = "", last: str | None = None) -> int:
        """How many documents have first <= key < last. Raises RetryableError."""


class RecordStore(Protocol):
    """Records of a series: documents whose key says the position (a time or an id), and whose fields a kind knows."""

    async def positions(self, collection: str, series: Series, within: range, *, limit: int) -> Sequence[int]:
        """The positions in `within` at which there are records of the series, ascending, at most `limit`.

        Raises RetryableError.
        """

    async def values(
        self, collection: str, series: Series, within: range, names: Sequence[str], *, limit: int
    ) -> Sequence[tuple[Any, ...]]:
        """The fields of these names (of the kind's `stored`) of the records at positions in `within`, at most `limit`.

        Ascending by position, a tuple a record, nested values as lists.
        Raises RetryableError, or PermanentError for a document that is no record of the kind.
        """


class Collections(Protocol):
    """The collections themselves, and the removal of what lies in them."""

    async def names(self) -> Sequence[str]:
        """The names of all collections of documents, sorted."""

    async def drop(self, collection: str) -> None:
        """Remove the collection with its documents, or its edges. A name that is not there is no error."""

    async def delete(self, collection: str, *, first: str, last: str) -> int:
        """Remove the documents with first <= key < last; returns how many there were. Raises RetryableError."""

    async def delete_keys(self, collection: str, keys: Sequence[str]) -> None:
        """Remove the documents with these keys, in as few requests as can be; keys that are not there are passed over.

        Raises RetryableError.
        """

    async def flush(self, collection: str) -> None:
        """On return what any process has stored in the collection survives power loss too.

        A missing collection is no error. A store that promises this of every `upsert` has nothing to do here. Raises
        RetryableError.
        """


Labels = Mapping[str, str] | None
"""What `find` can select a state by, with the values; None: as they were, of a new state none."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A small document that is changed by compare-and-set.

    revision: opaque, new with every change. labels: what `find` can select by. created_ms: sorts `find`; unix ms.
    """

    id: str
    revision: str
    body: bytes
    labels: dict[str, str] = {}
    created_ms: int = 0


class Selected(TypedDict, total=False):
    """Which states are meant: those of which all that is given holds.

    where: each label has one of the values. begins: of other labels, what their values begin with, any of these, none
    empty. prefix: what the ids begin with.
    """

    where: Mapping[str, Sequence[str]] | None
    begins: Mapping[str, Sequence[str]] | None
    prefix: str


class StateStore(Protocol):
    """States of one kind each (`workflow`, `series`, …), changed one at a time."""

    async def get(self, kind: str, id: str) -> State | None:
        """The state, or None. Raises RetryableError."""

    async def get_many(self, kind: str, ids: Sequence[str]) -> Mapping[str, State]:
        """Those of the states that are there, by their ids. Raises RetryableError."""

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels = None, created_ms: int = 0
    ) -> State:
        """Write the state if its revision is `expected` (None: if there is none yet); durable on return.

        `created_ms` counts on creation only; `labels`, where given, replace the old ones.
        Raises ConflictError (it is another by now) or RetryableError. Where the way to the store broke off in between,
        a conflict may also mean that it was written, and has been changed again since: read it, then decide.
        """

    async def find(
        self, kind: str, *, after: str | None = None, limit: int = 100, **selected: Unpack[Selected]
    ) -> Sequence[State]:
        """The states that are selected, newest first (by `created_ms`, then id), at most `limit`.

        after: the id of the last state of the page before. Raises RetryableError.
        """

    async def tally(self, kind: str, label: str, **selected: Unpack[Selected]) -> Mapping[str, int]:
        """How many of all the states that `find` would give have each value of `label`; those without it are left out.

        Raises RetryableError.
        """

    async def remove(self, kind: str, id: str, *, expected: str) -> None:
        """Remove the state if its revision is `expected`; it is no error if there is none. Raises ConflictError."""


class Edge(msgspec.Struct, frozen=True, gc=False):
    """A directed edge between two documents, each named `collection/key`. body: a JSON object, as a document's."""

    source: str
    destination: str
    body: bytes = b"{}"


class EdgeStore(Protocol):
    """Edges in named collections, one per pair of documents."""

    async def link(self, collection: str, edges: Sequence[Edge]) -> None:
        """Store the edges; one that exists is replaced. Raises RetryableError or PermanentError (malformed name)."""

    async def links(
        self, collection: str, *, source: str | None = None, destination: str | None = None
    ) -> Sequence[Edge]:
        """The edges that leave `source` and arrive at `destination` (where given), sorted. Raises RetryableError."""

    async def links_from(self, collection: str, sources: Sequence[str]) -> Sequence[Edge]:
        """The edges that leave any of `sources`, a few thousand at most, sorted. Raises RetryableError."""

    async def unlink(self, collection: str, sources: Sequence[str]) -> None:
        """Remove the edges that leave any of `sources`, a few thousand at most; it is no error if there is none.

        Raises RetryableError.
        """


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """How much room the data take.

    limit_bytes: at which the store itself stops; None: only the disk limits it. read_only: it has stopped already.
    read_only_in_s, ends_in_s: seconds until it stops taking writes, and until it ends, where it has announced that.
    limit_known: False: there may be a limit, but the store does not show it to this user. whole: False: used_bytes is a
    part only, all that it shows to this user, and the rest counts towards the limit, too.
    """

    used_bytes: int
    limit_bytes: int | None = None
    read_only: bool = False
    read_only_in_s: float | None = None
    ends_in_s: float | None = None
    limit_known: bool = True
    whole: bool = True


class Store(DocumentStore, RecordStore, Collections, StateStore, EdgeStore, Protocol):
    """All of them, as an adapter offers them."""

    async def connect(self) -> None:
        """Return once the store answers; every call does so by itself too. Raises ConfigError or RetryableError."""

    async def usage(self) -> Usage:
        """How much room the data take, about. Raises RetryableError or ConfigError."""

    async def close(self) -> None:
        """Release what the store holds."""


STATES_A_PAGE = 500


async def states_of(
    store: StateStore, kind: str, where: Mapping[str, Sequence[str]] | None = None
) -> AsyncIterator[State]:
    """Every state of a kind, newest first, read page by page. Raises RetryableError."""
    after: str | None = None
    while page := await store.find(kind, where=where, after=after, limit=STATES_A_PAGE):
        for state in page:
            yield state
        if len(page) < STATES_A_PAGE:
            return
        after = page[-1].id
