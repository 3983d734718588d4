"""What analysts have made: of each name the latest that was found whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from streamforge_utils.model.errors import ConflictError, DamagedFile, RetryableError
from streamforge_utils.ports.store import StateStore

_ROUNDS = 10


class Known(Protocol):
    """made_ms: when it was found whole."""

    @property
    def name(self) -> str: ...

    @property
    def made_ms(self) -> int: ...


K = TypeVar("K", bound=Known)


class KnownStore(Generic[K]):
    """Every call raises RetryableError where the store does not answer.

    kind: of the states, which is also the word for one. form: the struct that is kept. again: what to do about one that
    cannot be read.
    """

    def __init__(self, store: StateStore, kind: str, form: type[K], again: str) -> None:
        self._store = store
        self._kind = kind
        self._form = form
        self._again = again

    async def put(self, known: K) -> None:
        """Let this be the latest of its name."""
        body = msgspec.json.encode(known)
        for _ in range(_ROUNDS):
            state = await self._store.get(self._kind, known.name)
            if state is not None and state.body == body:
                return
            try:
                expected = None if state is None else state.revision
                await self._store.put(self._kind, known.name, body, expected=expected, created_ms=known.made_ms)
                return
            except ConflictError:
                continue
        raise RetryableError(f"the {self._kind} {known.name} is changed again and again by others; try again")

    async def change(self, name: str, changed: Callable[[K], K | None]) -> None:
        """Let the latest of that name be what `changed` makes of it; None: it stays. Without one nothing is changed."""
        for _ in range(_ROUNDS):
            state = await self._store.get(self._kind, name)
            wanted = None if state is None else changed(self._read(name, state.body))
            if state is None or wanted is None:
                return
            try:
                body = msgspec.json.encode(wanted)
                await self._store.put(self._kind, name, body, expected=state.revision, created_ms=wanted.made_ms)
                return
            except ConflictError:
                continue
        raise RetryableError(f"the {self._kind} {name} is changed again and again by others; try again")

    async def get(self, name: str) -> K | None:
        """The latest of that name. Raises DamagedFile."""
        state = await self._store.get(self._kind, name)
        return None if state is None else self._read(name, state.body)

    async def find(self, *, after: str | None = None, limit: int = 100) -> Sequence[K]:
        """All, the latest name first."""
        return [self._read(one.id, one.body) for one in await self._store.find(self._kind, after=after, limit=limit)]

    async def remove(self, name: str) -> None:
        """Forget it; one that is not there is no error."""
        state = await self._store.get(self._kind, name)
        if state is not None:
            await self._store.remove(self._kind, name, expected=state.revision)

    def _read(self, name: str, body: bytes) -> K:
        try:
            return msgspec.json.decode(body, type=self._form)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DamagedFile(
                f"what is known of {self._kind} {name} cannot be read ({error}): {self._again}"
            ) from error
