"""How fast a connection may be sent messages: the exchange counts pongs and control messages alike."""

from __future__ import annotations

from collections import deque

from streamforge_utils.ports.clock import Clock

MESSAGES, WINDOW_S = 4, 1.2
"""Less than the exchange's five in a second: on the way messages come closer together."""


class MessagePace:
    """Counts what is sent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: deque[float] = deque(maxlen=MESSAGES)

    def rest_s(self, *, spare: int = 0) -> float:
        """Seconds until one more may be sent; 0: now. spare: so many are left for others."""
        most = MESSAGES - spare
        if len(self._sent) < most:
            return 0.0
        return max(0.0, self._sent[-most] + WINDOW_S - self._clock.monotonic())

    def count(self) -> None:
        """One is sent now."""
        self._sent.append(self._clock.monotonic())
