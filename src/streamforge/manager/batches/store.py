"""Batches in the state store, and the ones that go on in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec
import structlog

from streamforge.manager.batches.model import (
    BATCH_ENDED,
    CUT_SHORT,
    Batch,
    BatchStatus,
    Member,
    Members,
    decode_batch,
    decode_members,
    documents_of,
)
from streamforge.manager.persistence.change_notes import BATCH, ChangeNotes
from streamforge.manager.persistence.conflicts import until_stored
from streamforge_utils.model.errors import ConfigError, ConflictError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.ports.store import State, StateStore, states_of

KIND = "batch"
MEMBERS_KIND = "batch-members"

_LIVE = tuple(status.value for status in BatchStatus if status not in BATCH_ENDED)
_WHOLE = tuple(status.value for status in BatchStatus if status not in CUT_SHORT)
_log = structlog.get_logger(__name__)


class StoredBatch(msgspec.Struct, frozen=True):
    """A batch with the revision it was read at."""

    batch: Batch
    revision: str


class StoredMembers(msgspec.Struct, frozen=True):
    """The members of one document, with its number and the revision it was read at."""

    number: int
    members: tuple[Member, ...]
    revision: str


class BatchStore:
    """All batches. Those that have not ended are kept in memory (`live`), oldest first."""

    def __init__(self, states: StateStore, changes: ChangeNotes | None = None) -> None:
        self._states = states
        self._changes = changes or ChangeNotes()
        self._live: dict[str, StoredBatch] = {}
        self._making: set[str] = set()

    @property
    def live(self) -> Mapping[str, StoredBatch]:
        """The batches that have not ended, by batch_id, as last stored here."""
        return self._live

    async def load(self, *, tidy: bool) -> None:
        """Read the live batches that are not in memory. tidy: remove what is left of those that were cut short.

        tidy is for who drives them, once, before anything else. Raises RetryableError.
        """
        found: list[StoredBatch] = []
        for state in [one async for one in states_of(self._states, KIND, {"status": _LIVE})]:
            stored = _readable(state)
            if stored is None or state.id in self._live or state.id in self._making:
                continue
            if stored.batch.status not in CUT_SHORT:
                found.append(stored)
            elif tidy:
                with suppress(ConflictError):  # another manager has changed it: it is not cut short
                    await self._discard(stored)
        known = {**self._live, **{one.batch.batch_id: one for one in found}}
        self._live.clear()
        self._live |= dict(sorted(known.items(), key=lambda item: item[1].batch.created_ms))

    async def create(self, batch: Batch, members: Sequence[Member]) -> Batch:
        """Store a new batch with its members; on return it goes on. Raises ConflictError if its batch_id is taken."""
        self._making.add(batch.batch_id)
        try:
            making = await self._put(msgspec.structs.replace(batch, status=BatchStatus.MAKING), expected=None)
            for number, document in enumerate(documents_of(members)):
                await self._put_members(batch.batch_id, number, document, expected=None)
            return (await self._put(batch, expected=making.revision)).batch
        finally:
            self._making.discard(batch.batch_id)

    async def get(self, batch_id: str) -> Batch | None:
        """The batch, or None. Raises ConfigError if it cannot be read."""
        if (live := self._live.get(batch_id)) is not None:
            return live.batch
        stored = await self._read(batch_id)
        return None if stored is None or stored.batch.status in CUT_SHORT else stored.batch

    async def find(self, *, after: str | None, limit: int) -> Sequence[Batch]:
        """Batches, newest first; what cannot be read is left out."""
        states = await self._states.find(KIND, where={"status": _WHOLE}, after=after, limit=limit)
        found = [self._live.get(state.id) or _readable(state) for state in states]
        return [stored.batch for stored in found if stored is not None]

    async def members(self, batch_id: str) -> list[StoredMembers]:
        """The members of the batch, in their order. Raises ConfigError if one of them is not there."""
        states = [state async for state in states_of(self._states, MEMBERS_KIND, {"batch": [batch_id]})]
        found = []
        for number, state in enumerate(sorted(states, key=lambda one: one.id)):
            if state.id != _members_id(batch_id, number):
                raise _gone(batch_id, number)
            found.append(StoredMembers(number, _decoded_members(state), state.revision))
        batch, count = await self.get(batch_id), sum(len(document.members) for document in found)
        if batch is not None and batch.size != count:
            raise ConfigError(f"{batch_id}: {count} of its {batch.size} members are there: make the batch again")
        return found

    async def members_of_document(self, batch_id: str, number: int) -> Sequence[Member]:
        """The members number * `MEMBERS_A_DOCUMENT` and those after it that lie in one document. Raises ConfigError."""
        state = await self._states.get(MEMBERS_KIND, _members_id(batch_id, number))
        if state is None:
            raise _gone(batch_id, number)
        return _decoded_members(state)

    async def replace_members(self, batch_id: str, stored: StoredMembers) -> StoredMembers:
        """Store what `stored` holds now. Raises ConflictError if its revision is no longer the latest."""
        document = Members(stored.members)
        return await self._put_members(batch_id, stored.number, document, expected=stored.revision)

    async def change(self, batch_id: str, change: Callable[[Batch], Batch]) -> Batch | None:
        """Apply `change` to the latest document, again whenever another change came first. None: there is none.

        Raises what `change` raises, ConfigError, ConflictError or RetryableError.
        """

        async def attempt() -> Batch | None:
            stored = self._live.get(batch_id) or await self._read(batch_id)
            if stored is None or stored.batch.status in CUT_SHORT:
                return None
            changed = change(stored.batch)
            if changed == stored.batch:
                return changed
            try:
                return (await self._put(changed, expected=stored.revision)).batch
            except ConflictError:
                self._live.pop(batch_id, None)
                raise

        return await until_stored(f"batch {batch_id}", attempt)

    async def remove(self, batch_id: str) -> None:
        """Forget a batch that has ended, with its members; one that is not there is no error. Raises ConflictError."""
        stored = await self._read(batch_id)
        if stored is not None:
            await self._discard(stored)

    async def discard_cut_short(self, batch_id: str) -> None:
        """Remove what is left of a batch whose making was cut short; any other one stays."""
        stored = await self._read(batch_id)
        if stored is not None and stored.batch.status in CUT_SHORT:
            await self._discard(stored)

    async def _discard(self, stored: StoredBatch) -> None:
        batch_id = stored.batch.batch_id
        if stored.batch.status is not BatchStatus.REMOVING:  # first: nobody can let it go on while members are removed
            removing = msgspec.structs.replace(stored.batch, status=BatchStatus.REMOVING)
            stored = await self._put(removing, expected=stored.revision)
        for state in [one async for one in states_of(self._states, MEMBERS_KIND, {"batch": [batch_id]})]:
            await self._states.remove(MEMBERS_KIND, state.id, expected=state.revision)
        await self._states.remove(KIND, batch_id, expected=stored.revision)  # last: until then it is found again
        self._live.pop(batch_id, None)
        self._changes.add(BATCH, batch_id)

    async def _read(self, batch_id: str) -> StoredBatch | None:
        state = await self._states.get(KIND, batch_id)
        if state is None:
            return None
        try:
            return StoredBatch(decode_batch(state.body), state.revision)
        except DECODE_ERRORS as error:
            raise ConfigError(f"batch {batch_id} cannot be read, its document is damaged ({error})") from error

    async def _put(self, batch: Batch, *, expected: str | None) -> StoredBatch:
        state = await self._states.put(
            KIND,
            batch.batch_id,
            msgspec.json.encode(batch),
            expected=expected,
            labels={"status": batch.status.value},
            created_ms=batch.created_ms,
        )
        stored = StoredBatch(batch, state.revision)
        self._changes.add(BATCH, batch.batch_id)
        if batch.ended or batch.status in CUT_SHORT:
            self._live.pop(batch.batch_id, None)
        else:
            self._live[batch.batch_id] = stored
        return stored

    async def _put_members(
        self, batch_id: str, number: int, document: Members, *, expected: str | None
    ) -> StoredMembers:
        state = await self._states.put(
            MEMBERS_KIND,
            _members_id(batch_id, number),
            msgspec.json.encode(document),
            expected=expected,
            labels={"batch": batch_id},
        )
        return StoredMembers(number, document.members, state.revision)


def _decoded_members(state: State) -> tuple[Member, ...]:
    try:
        return decode_members(state.body)
    except DECODE_ERRORS as error:
        raise ConfigError(f"{state.id}: the document of its members is damaged ({error})") from error


def _gone(batch_id: str, number: int) -> ConfigError:
    return ConfigError(f"{batch_id}: document {number} of its members is not there")


def _members_id(batch_id: str, number: int) -> str:
    return f"{batch_id}.{number:04d}"


def _readable(state: State) -> StoredBatch | None:
    try:
        return StoredBatch(decode_batch(state.body), state.revision)
    except (ConfigError, *DECODE_ERRORS) as error:
        _log.error("a batch cannot be read", batch_id=state.id, error=str(error))
        return None
