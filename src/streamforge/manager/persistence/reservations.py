"""What is reserved before a workflow is made: the code that names it, and the Idempotency-Key that asked for it.

A key is remembered for a day, or until its workflow is removed. A code is remembered as long as its workflow, and a
week longer: nothing of the old workflow may be met under the name of a new one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import TypeVar

import msgspec
import structlog

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.persistence.workflow_store import KIND as WORKFLOW_KIND
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.use_cases import KeyReused, StartRequest
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model import names
from streamforge_utils.model.errors import ConflictError, DamagedFile, RetryableError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.store import State, StateStore, states_of

T = TypeVar("T")
_log = structlog.get_logger(__name__)

KEY_KIND = "idempotency-key"
CODE_KIND = "code"
DRAWS = 20
KEY_KEPT_MS = 86_400_000
CODE_KEPT_MS = 7 * 86_400_000
"""How long a code stays taken after its workflow was removed."""

_REMOVED = {"removed": "yes"}
_ADDED = ("since", "default_start", "skip_unknown", "labels")
"""Fields that requests of older versions did not have: a key from before an upgrade still stands for its request."""


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What an Idempotency-Key stands for. request: digest of the request that came with it.

    joined: another request had made the workflow. asked: the range that was asked for then, as far as it was over.
    """

    request: str
    code: str
    queue_id: str
    joined: bool = False
    asked: TimeRange | None = None


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A code's state. removed_ms: when its workflow was removed."""

    queue_id: str
    removed_ms: int | None = None


QueueId = Callable[[str], str]
"""The queue_id that a code gives."""


class Reservations:
    """Codes and keys in the state store. new_code: draws a code."""

    def __init__(self, states: StateStore, clock: Clock, new_code: Callable[[], str] | None = None) -> None:
        self._states = states
        self._clock = clock
        self._new_code = new_code or _random_code

    async def code(self, queue_id: QueueId) -> str:
        """A code that no workflow has or had: jobs are named by it, for every day and interval.

        Raises RetryableError.
        """
        for _ in range(DRAWS):
            code = self._new_code()
            body = msgspec.json.encode(_Taken(queue_id=queue_id(code)))
            try:
                await self._states.put(CODE_KIND, code, body, expected=None, created_ms=self._clock.now_ms())
            except ConflictError:
                continue
            return code
        raise RetryableError(f"no free queue_id was found in {DRAWS} draws", retry_after=1)

    async def own_code(self, seed: str, queue_id: QueueId) -> tuple[str, bool]:
        """The code that follows from `seed`, and whether it is reserved already: asking again gives the same.

        Raises RetryableError.
        """
        for draw in range(DRAWS):
            code = _derived_code(f"{seed}#{draw}")
            state = await self._states.get(CODE_KIND, code)
            if state is None:
                return code, False
            taken = _decoded(state, _Taken)
            if taken.queue_id == queue_id(code) and taken.removed_ms is None:
                return code, True
        raise RetryableError(f"no free queue_id was found in {DRAWS} draws", retry_after=1)

    async def take(self, code: str, queue_id: str) -> None:
        """Reserve the code, unless it is reserved for this queue_id. Raises ConflictError if it is for another one."""
        body = msgspec.json.encode(_Taken(queue_id=queue_id))
        try:
            await self._states.put(CODE_KIND, code, body, expected=None, created_ms=self._clock.now_ms())
        except ConflictError:
            state = await self._states.get(CODE_KIND, code)
            if state is None or state.body != body:
                raise

    async def find(self, key: str, request: msgspec.Struct) -> Reservation | None:
        """What was reserved under the key. Raises KeyReused if that was for another request."""
        state = await self._states.get(KEY_KIND, _key_id(key))
        return None if state is None else _reservation(state, request)

    async def reserve(self, key: str, request: msgspec.Struct, queue_id: QueueId) -> Reservation:
        """What is reserved under the key, from now on if not yet. Raises KeyReused or RetryableError."""
        for _ in range(DRAWS):
            found = await self.find(key, request)
            if found is not None:
                return found
            code = await self.code(queue_id)
            reservation = Reservation(request=_digest(request), code=code, queue_id=queue_id(code))
            try:
                await self._keep(key, reservation, None)
            except ConflictError:
                await self._remove(CODE_KIND, await self._states.get(CODE_KIND, code))
                continue
            return reservation
        raise _not_reserved()

    async def point(self, key: str, request: msgspec.Struct, queue_id: str, asked: TimeRange | None) -> None:
        """Let the key stand for a workflow that the request joined. Raises KeyReused or RetryableError."""
        code = queue_id[-names.CODE_LENGTH :]
        reservation = Reservation(request=_digest(request), code=code, queue_id=queue_id, joined=True, asked=asked)
        for _ in range(DRAWS):
            state = await self._states.get(KEY_KIND, _key_id(key))
            if state is not None:
                _reservation(state, request)
            with suppress(ConflictError):
                await self._keep(key, reservation, None if state is None else state.revision)
                return
        raise _not_reserved()

    async def _keep(self, key: str, reservation: Reservation, expected: str | None) -> None:
        await self._states.put(
            KEY_KIND,
            _key_id(key),
            msgspec.json.encode(reservation),
            expected=expected,
            labels={"queue_id": reservation.queue_id},
            created_ms=self._clock.now_ms(),
        )

    async def create(self, workflows: WorkflowStore, draft: Callable[[str], Workflow]) -> Workflow:
        """Store the workflow that `draft` makes of a code that is free. Raises RetryableError."""
        for _ in range(DRAWS):
            code = await self.code(lambda code: draft(code).queue_id)
            try:
                return (await workflows.create(draft(code))).workflow
            except ConflictError:
                continue
        raise RetryableError(f"no free queue_id was found in {DRAWS} draws", retry_after=1)

    async def release(self, queue_id: str) -> None:
        """The workflow is about to be removed: its keys are free at once, its code after `CODE_KEPT_MS`."""
        for state in [state async for state in states_of(self._states, KEY_KIND, {"queue_id": [queue_id]})]:
            await self._remove(KEY_KIND, state)
        code = queue_id[-names.CODE_LENGTH :]
        taken = await self._states.get(CODE_KIND, code)
        if taken is not None:
            body = msgspec.json.encode(_Taken(queue_id=queue_id, removed_ms=self._clock.now_ms()))
            await self._states.put(CODE_KIND, code, body, expected=taken.revision, labels=_REMOVED)

    async def expire(self, in_use: Collection[str], held: Iterable[str] = ()) -> None:
        """Forget what was kept long enough. in_use: queue_ids of which there is a job or a topic. held: keys of what
        is not made yet, and will be asked for again."""
        now_ms, still_held = self._clock.now_ms(), set(map(_key_id, held))
        for state in [state async for state in states_of(self._states, KEY_KIND)]:
            if now_ms - state.created_ms > KEY_KEPT_MS and state.id not in still_held:
                await self._remove(KEY_KIND, state)
        removed = {name: [value] for name, value in _REMOVED.items()}
        for state in [state async for state in states_of(self._states, CODE_KIND, removed)]:
            try:
                taken = _decoded(state, _Taken)
            except DamagedFile as error:  # it is kept, and holds up no other one
                _log.error("a reservation cannot be read", error=str(error))
                continue
            since_ms = now_ms if taken.removed_ms is None else taken.removed_ms
            if now_ms - since_ms <= CODE_KEPT_MS or taken.queue_id in in_use:
                continue
            if await self._states.get(WORKFLOW_KIND, taken.queue_id) is None:  # its removal may have been cut short
                await self._remove(CODE_KIND, state)

    async def _remove(self, kind: str, state: State | None) -> None:
        if state is None:
            return
        with suppress(ConflictError):  # it was changed a moment ago: it is not what was to be forgotten
            await self._states.remove(kind, state.id, expected=state.revision)


def _not_reserved() -> RetryableError:
    return RetryableError("the request could not be reserved under its Idempotency-Key", retry_after=1)


def _key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _digest(request: msgspec.Struct) -> str:
    """The same for what an older version reserved: it knew no source and no `since`, and what `fixed` says follows
    from the steps."""
    fields = msgspec.to_builtins(request)
    if isinstance(request, StartRequest):
        del fields["fixed"]
        if request.source is SourceChoice.AUTO:
            del fields["source"]
    for name in _ADDED:
        if name in fields and fields[name] in (None, False, {}):
            del fields[name]
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()


def _decoded(state: State, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(state.body, type=kind)
    except DECODE_ERRORS as error:
        raise DamagedFile(
            f"the reservation {state.id} cannot be read, its document is damaged ({error}): restore the store from a "
            "copy"
        ) from error


def _reservation(state: State, request: msgspec.Struct) -> Reservation:
    reservation = _decoded(state, Reservation)
    if reservation.request != _digest(request):
        raise KeyReused("this Idempotency-Key came before with another request: use a new key")
    return reservation


def _random_code() -> str:
    return "".join(secrets.choice(names.CODE_ALPHABET) for _ in range(names.CODE_LENGTH))


def _derived_code(seed: str) -> str:
    number, code = int.from_bytes(hashlib.sha256(seed.encode()).digest()), ""
    for _ in range(names.CODE_LENGTH):
        number, index = divmod(number, len(names.CODE_ALPHABET))
        code += names.CODE_ALPHABET[index]
    return code
