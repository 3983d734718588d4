"""How often and how patiently a request is repeated."""

from __future__ import annotations

import msgspec


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """The patience of one call.

    attempts: requests at most. base_s, cap_s: the n-th wait is drawn from 0 to base_s × 2ⁿ, never above cap_s (full
    jitter). longest_wait_s: the longest single wait that is sat out; of a longer one the call waits that much and
    then raises, with the rest in `retry_after`.
    """

    attempts: int = 6
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_wait_s: float = 75.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base_s < 0 or self.cap_s < 0 or self.longest_wait_s < 0:
            raise ValueError(f"retries need at least one attempt and no negative time: {self}")

    def backoff_s(self, failures: int, draw: float) -> float:
        """The wait after the `failures`-th failure in a row. draw: from 0 to 1."""
        return draw * min(self.cap_s, self.base_s * 2.0 ** min(failures, 30))
