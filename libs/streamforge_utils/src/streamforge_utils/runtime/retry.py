"""The one loop that retries: with a limit, a growing pause and jitter."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streamforge_utils.model.errors import BannedError, RetryableError
from streamforge_utils.ports.clock import Clock

T = TypeVar("T")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    clock: Clock,
    patience_s: float,
    failed: Callable[[RetryableError, float], None] | None = None,
) -> T:
    """Await `call()` until it succeeds or `patience_s` seconds have passed since it first failed.

    failed: is given each failure, with the pause that follows. Raises the last RetryableError once patience is spent
    (or would be before the time that the other side named), BannedError at once, and any other error at once.
    """
    give_up: float | None = None
    pause = FIRST_PAUSE_S
    while True:
        try:
            return await call()
        except BannedError:
            raise
        except RetryableError as error:
            now = clock.monotonic()
            give_up = now + patience_s if give_up is None else give_up
            wait = max(error.retry_after or 0.0, pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)
            if now + wait > give_up:
                raise
            if failed is not None:
                failed(error, wait)
            await clock.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE_S)
