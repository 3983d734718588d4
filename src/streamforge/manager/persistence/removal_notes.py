"""Who removed a workflow, a batch or a schedule, and when: all that is left of it, for a while."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from streamforge.manager.actor import RequestNote, actor
from streamforge_utils.model.errors import ConflictError
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.store import StateStore, states_of

KIND = "removal"
KEPT_MS = 90 * 86_400_000
MOST_KEPT = 1000
TIDIED_EVERY = 100
"""So many notes are added until those beyond `MOST_KEPT`, or too old, are removed again."""
_decode = msgspec.json.Decoder(RequestNote).decode


class RemovalNotes:
    """The notes in the state store. Every method raises RetryableError."""

    def __init__(self, states: StateStore, clock: Clock) -> None:
        self._states = states
        self._clock = clock
        self._added = 0

    async def add(self, kind: str, id: str, *, data: bool = False) -> None:
        """Note that who asks now removes it. Call it before it goes: killed in between, nobody sees the note.

        kind: `workflow`, `batch` or `schedule`. data: its records go with it.
        """
        at_ms, name = self._clock.now_ms(), f"{kind}:{id}"
        note = RequestNote(request="remove with data" if data else "remove", by=actor(), at_ms=at_ms)
        with suppress(ConflictError):  # another request removes it, too, and has noted that
            if (old := await self._states.get(KIND, name)) is not None:
                await self._states.remove(KIND, name, expected=old.revision)  # the new one is among the newest
            await self._states.put(KIND, name, msgspec.json.encode(note), expected=None, created_ms=at_ms)
        if self._added % TIDIED_EVERY == 0:
            await self._tidy(at_ms)
        self._added += 1

    async def said(self, kind: str, id: str) -> str | None:
        """The sentence about one that was removed; None: no note of it is kept."""
        state = await self._states.get(KIND, f"{kind}:{id}")
        if state is None or (note := _decode(state.body)).at_ms < self._clock.now_ms() - KEPT_MS:
            return None
        data = ", with its data" if note.request.endswith("data") else ""
        return f"{kind} {id} was removed by {note.by} at {format_ms(note.at_ms)}{data}"

    async def _tidy(self, now_ms: int) -> None:
        found = [state async for state in states_of(self._states, KIND)]
        for number, state in enumerate(found):
            if number >= MOST_KEPT or state.created_ms < now_ms - KEPT_MS:
                with suppress(ConflictError):
                    await self._states.remove(KIND, state.id, expected=state.revision)
