"""The one document that holds over restarts which connections to the exchange's streams were dealt."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog

from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.ports.store import StateStore

KIND = "exchange-connects"

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_log = structlog.get_logger(__name__)


class DealtConnects:
    """Entries by name, each of them JSON."""

    def __init__(self, states: StateStore) -> None:
        self._states = states
        self._revision: str | None = None
        self._is_current = False
        self._stored: dict[str, bytes] = {}

    async def load(self) -> Mapping[str, bytes]:
        """What an earlier manager stored; nothing if that is damaged. Raises RetryableError."""
        state = await self._states.get(KIND, KIND)
        self._revision, self._is_current = None if state is None else state.revision, True
        try:
            self._stored = {} if state is None else {name: bytes(one) for name, one in _decode(state.body).items()}
        except DECODE_ERRORS as error:
            _log.error("the record of assigned connections cannot be read: its document is damaged", error=str(error))
        return self._stored

    async def store(self, entries: Mapping[str, bytes]) -> None:
        """Store these, unless all of them are: that others have gone can wait.

        Raises ConflictError (another manager stored some meanwhile) or RetryableError.
        """
        if not self._is_current:  # the last attempt failed, and may have been written all the same
            await self.load()
        if entries.items() <= self._stored.items():
            return
        self._is_current = False
        body = msgspec.json.encode({name: msgspec.Raw(one) for name, one in entries.items()})
        state = await self._states.put(KIND, KIND, body, expected=self._revision)
        self._revision, self._is_current, self._stored = state.revision, True, dict(entries)
