"""The commands that one kind of worker obeys beside the common ones: read by the runtime, waited for by its work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from streamforge_utils.model.errors import InvalidInput

LIMIT = 100
"""Commands that wait for the work."""


class CommandQueue:
    """types: of the payloads, by command."""

    def __init__(self, types: Mapping[str, type[msgspec.Struct]]) -> None:
        self._types = types
        self._waiting: asyncio.Queue[msgspec.Struct] = asyncio.Queue(LIMIT)

    def __contains__(self, command: str) -> bool:
        return command in self._types

    def put(self, command: str, payload: Mapping[str, Any] | None) -> None:
        """Keep the command for the work. Raises InvalidInput for a payload that does not fit, or if too many wait."""
        try:
            read = msgspec.convert(payload or {}, self._types[command])
        except msgspec.ValidationError as error:
            raise InvalidInput("payload", f"payload of {command}: {error}") from error
        try:
            self._waiting.put_nowait(read)
        except asyncio.QueueFull:
            raise InvalidInput("command", f"{command}: {LIMIT} commands wait for the work already") from None

    async def next(self) -> msgspec.Struct:
        """The payload of the next command; its type says which command it was."""
        return await self._waiting.get()
