"""What is known of the exchange's ban, and the one document that holds it over restarts."""

from __future__ import annotations

import msgspec
import structlog

from streamforge.manager.engine.lifecycle.ban import Ban, Banned, fold_ban
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.store import State, StateStore

KIND = "exchange-ban"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Ban).decode
_log = structlog.get_logger(__name__)


class Bans:
    """ban: the latest one known. It counts at once; the loop alone stores it.

    It does so before it stores a workflow or commits what was heard, and when it ends.
    """

    def __init__(self, states: StateStore, clock: Clock, observer: Observer) -> None:
        self._states = states
        self._clock = clock
        self._observer = observer
        self.ban = self._stored = Ban()

    async def load(self) -> None:
        """Read what an earlier manager stored; once, before anything else. Raises RetryableError."""
        state = await self._states.get(KIND, KIND)
        self.ban = self._stored = _read(state)

    def hear(self, fact: Banned) -> None:
        """Fold the fact into what is known."""
        ban = fold_ban(self.ban, fact, self._clock.now_ms())
        if ban is self.ban:
            return
        self.ban = ban
        _log.warning("the exchange refuses every call from this address", until=format_ms(ban.until_ms))
        self._observer.gauge("exchange_banned_until_seconds", ban.until_ms / 1000)

    async def store(self) -> None:
        """Store what is known, unless that is done.

        Raises ConflictError (another manager stored one meanwhile) or RetryableError.
        """
        if self.ban == self._stored:
            return
        state = await self._states.get(KIND, KIND)
        stored = _read(state)
        if stored.until_ms >= self.ban.until_ms:
            self.ban = self._stored = stored
            return
        ban = self.ban
        await self._states.put(KIND, KIND, _encode(ban), expected=None if state is None else state.revision)
        self._stored = ban

    async def store_last(self) -> None:
        """As `store`, when the manager ends: that it did not work is logged."""
        try:
            await self.store()
        except StreamForgeError as error:
            _log.warning("what was heard of a ban is not stored", error=str(error))


def _read(state: State | None) -> Ban:
    """The stored ban; one whose document is damaged counts as none, and the next one takes its place."""
    try:
        return Ban() if state is None else _decode(state.body)
    except DECODE_ERRORS as error:
        _log.error("the stored ban of the exchange cannot be read, its document is damaged", error=str(error))
        return Ban()
