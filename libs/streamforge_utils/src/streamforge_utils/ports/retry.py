"""Retries of a single call: a growing pause with jitter, and a limit.

Ours, as neither stamina nor tenacity measures its limit by a clock that is given to it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streamforge_utils.model.errors import BannedError, RetryableError
from streamforge_utils.ports.clock import Clock

T = TypeVar("T")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0


def backoff_s(
    failures: int, *, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S, draw: float | None = None
) -> float:
    """Seconds to wait after the `failures`-th failure in a row: doubling up to a limit, drawn from the upper half.

    draw: from 0, the half, to 1, the whole; None: by chance.
    """
    drawn = random.random() if draw is None else draw  # noqa: S311 (jitter)
    return (0.5 + drawn / 2) * min(longest_s, first_s * 2.0 ** min(failures - 1, 30))


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    clock: Clock,
    patience_s: float,
    first_pause_s: float = FIRST_PAUSE_S,
    failed: Callable[[RetryableError, float], None] | None = None,
) -> T:
    """Await `call()` until it succeeds or `patience_s` seconds have passed since it first failed.

    failed: is given each failure, with the pause that follows. Raises the last RetryableError once patience is spent
    (or would be before the time that the other side named), BannedError at once, and any other error at once.
    """
    give_up: float | None = None
    failures = 0
    while True:
        try:
            return await call()
        except BannedError:
            raise
        except RetryableError as error:
            now = clock.monotonic()
            give_up = now + patience_s if give_up is None else give_up
            failures += 1
            wait = max(error.retry_after or 0.0, backoff_s(failures, first_s=first_pause_s))
            if now + wait > give_up:
                raise
            if failed is not None:
                failed(error, wait)
            await clock.sleep(wait)
