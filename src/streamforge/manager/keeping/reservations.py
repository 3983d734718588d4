"""What is reserved before a workflow is made: the code that names it, and the Idempotency-Key that asked for it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import msgspec

from streamforge.manager.service import KeyReused, StartRequest
from streamforge_utils.model import names
from streamforge_utils.model.errors import ConflictError, RetryableError
from streamforge_utils.ports.store import State, StateStore

KEY_KIND = "idempotency-key"
CODE_KIND = "code"
DRAWS = 20


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What an Idempotency-Key stands for. request: digest of the request that came with it."""

    request: str
    code: str
    queue_id: str


QueueId = Callable[[str], str]
"""The queue_id that a code gives."""


class Reservations:
    """Codes and keys in the state store. new_code: draws a code."""

    def __init__(self, states: StateStore, new_code: Callable[[], str] | None = None) -> None:
        self._states = states
        self._new_code = new_code or _random_code

    async def code(self, queue_id: QueueId) -> str:
        """A code that no workflow has or had: jobs are named by it, whatever the day and the interval.

        Raises RetryableError.
        """
        for _ in range(DRAWS):
            code = self._new_code()
            body = msgspec.json.encode({"queue_id": queue_id(code)})
            try:
                await self._states.put(CODE_KIND, code, body, expected=None)
            except ConflictError:
                continue
            return code
        raise RetryableError(f"no free queue_id was found in {DRAWS} draws", retry_after=1)

    async def find(self, key: str, request: StartRequest) -> Reservation | None:
        """What was reserved under the key. Raises KeyReused if that was for another request."""
        state = await self._states.get(KEY_KIND, _key_id(key))
        return None if state is None else _reservation(state, request)

    async def reserve(self, key: str, request: StartRequest, queue_id: QueueId) -> Reservation:
        """What is reserved under the key, from now on if not yet. Raises KeyReused or RetryableError."""
        for _ in range(DRAWS):
            found = await self.find(key, request)
            if found is not None:
                return found
            code = await self.code(queue_id)
            reservation = Reservation(request=_digest(request), code=code, queue_id=queue_id(code))
            try:
                await self._states.put(KEY_KIND, _key_id(key), msgspec.json.encode(reservation), expected=None)
            except ConflictError:
                continue
            return reservation
        raise RetryableError("the request could not be reserved under its Idempotency-Key", retry_after=1)


def _key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _digest(request: StartRequest) -> str:
    return hashlib.sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()


def _reservation(state: State, request: StartRequest) -> Reservation:
    reservation = msgspec.json.decode(state.body, type=Reservation)
    if reservation.request != _digest(request):
        raise KeyReused("this Idempotency-Key came before with another request: use a new key")
    return reservation


def _random_code() -> str:
    return "".join(secrets.choice(names.CODE_ALPHABET) for _ in range(names.CODE_LENGTH))
