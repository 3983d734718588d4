"""What an attempt of a live loader knows of a handover: another one still writes, or continues where this one ends."""

from __future__ import annotations

import asyncio


class Handover:
    """in_shadow: another attempt writes, this one may not yet. handed_over: it ends, and another one goes on there.

    leaving: its process is being ended from outside, and goes on for a while.
    """

    def __init__(self, *, shadow: bool = False) -> None:
        self._told = asyncio.Event()
        if not shadow:
            self._told.set()
        self.handed_over = False
        self.leaving = False

    @property
    def in_shadow(self) -> bool:
        return not self._told.is_set()

    def take_over(self) -> None:
        """No other attempt writes any more."""
        self._told.set()

    async def wait(self) -> None:
        """Return once this attempt may write: at once, if it does not begin in shadow."""
        await self._told.wait()
