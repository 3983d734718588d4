"""Rate-limits repeated log messages: what others send must not fill the log."""

from __future__ import annotations

from streamforge_utils.ports.clock import Clock

EVERY_S = 60.0


class LogThrottle:
    """Lets the first message of each kind pass, then one every `every_s` seconds."""

    def __init__(self, clock: Clock, every_s: float = EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._admitted_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, kind: str) -> int | None:
        """How many of `kind` were suppressed since the last that passed; None: suppress this one too.

        There must be few kinds: each is remembered.
        """
        now = self._clock.monotonic()
        if kind in self._admitted_at and now - self._admitted_at[kind] < self._every_s:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return None
        self._admitted_at[kind] = now
        return self._suppressed.pop(kind, 0)
