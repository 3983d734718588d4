"""What a technology tells of itself when it is asked whether it could be used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. verdict: `works`, `careful` or `fails`; next_step: what to do, unless it works."""

    part: str
    verdict: str
    detail: str
    next_step: str = ""


class Examiner(Protocol):
    """Looks whether what the settings name can be used, and changes nothing."""

    def examine(self) -> AsyncIterator[Finding]:
        """Everything that was looked at, as it is found. Raises nothing but ConfigError and RetryableError."""

    async def close(self) -> None:
        """Release what it holds."""
