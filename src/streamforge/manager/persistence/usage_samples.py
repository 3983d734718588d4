"""How the room that the store's data take has grown: samples, kept beside the workflows."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from streamforge_utils.model.errors import ConflictError
from streamforge_utils.model.usage import Sample, with_sample
from streamforge_utils.ports.store import StateStore

KIND, ID = "usage", "store"


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    format: int = 1
    samples: tuple[Sample, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Known).decode


class UsageSamples:
    """One sample an hour, for thirty days."""

    def __init__(self, states: StateStore) -> None:
        self._states = states

    async def all(self) -> Sequence[Sample]:
        """The samples, oldest first. Raises RetryableError."""
        state = await self._states.get(KIND, ID)
        return () if state is None else _decode(state.body).samples

    async def add(self, latest: Sample) -> Sequence[Sample]:
        """Keep a sample; returns all. Raises RetryableError."""
        state = await self._states.get(KIND, ID)
        samples = with_sample(() if state is None else _decode(state.body).samples, latest)
        with contextlib.suppress(ConflictError):  # another manager has just measured too
            await self._states.put(
                KIND, ID, _encode(_Known(samples=samples)), expected=None if state is None else state.revision
            )
        return samples
