"""Saying the same thing only now and then: what others send must not fill the log."""

from __future__ import annotations

from streamforge_utils.ports.clock import Clock

EVERY_S = 60.0


class Sparingly:
    """Says of each kind of happening whether to speak of it: of the first, then once in `every_s`."""

    def __init__(self, clock: Clock, every_s: float = EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._spoken_at: dict[str, float] = {}
        self._passed_over: dict[str, int] = {}

    def speak(self, kind: str) -> int | None:
        """How many of `kind` were passed over since the last that was spoken of; None: pass over this one too.

        There must be few kinds: each is remembered.
        """
        now = self._clock.monotonic()
        if kind in self._spoken_at and now - self._spoken_at[kind] < self._every_s:
            self._passed_over[kind] = self._passed_over.get(kind, 0) + 1
            return None
        self._spoken_at[kind] = now
        return self._passed_over.pop(kind, 0)
