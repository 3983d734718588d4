"""What a store says of itself: its format, which exchange its data are of, and which manager manages it now.

One document. Every manager that changes anything claims the store by it before it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from streamforge.manager.origin import Origin, called, shown_choice
from streamforge_utils.model.errors import ConfigError, ConflictError
from streamforge_utils.ports.store import StateStore

KIND = ID = "installation"
FORMAT: Final = 1
"""Version of all that lies in a store: a manager that knows less refuses it."""

LEASE_S = 20.0


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The manager of a store.

    id: of its process. place: what another process can only have once this one has ended; empty: there is no such
    thing. name: for people. since_ms: unix ms, by its clock. url: where its API answers. lease_s: it ended, or is to do
    nothing any more, if it has not written for this long. renewals: how often it has; renewed_ms: when it last did,
    unix ms by its clock. drives: the workflows go on; else others are kept out, and that is all.
    """

    id: str
    name: str
    since_ms: int
    lease_s: float
    place: str = ""
    url: str | None = None
    renewals: int = 0
    renewed_ms: int = 0
    drives: bool = True


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept.

    origin: which exchange the data are of; None: nothing was accepted yet. choice: see `Origin`. identity: the name
    that a test exchange gives itself.
    """

    format: int = FORMAT
    origin: str | None = None
    choice: str | None = None
    identity: str | None = None
    holder: Holder | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a manager asks of its store.

    name: what it is, for people. origin: None loads nothing. where: the store in a sentence. elsewhere: how to choose
    another one. switch: what the name of an exchange is written behind. shared: managers elsewhere reach the store, so
    that a lease keeps them apart; else its manager is alone. place, lease_s, drives: as in `Holder`. tell: prints a
    line for a person while it waits. accepted: is called once the store holds, or is to hold, data of the origin.
    """

    name: str
    where: str
    elsewhere: str
    switch: str
    shared: bool
    origin: Origin | None = None
    place: str = ""
    lease_s: float = LEASE_S
    drives: bool = True
    tell: Callable[[str], object] = lambda _: None
    accepted: Callable[[], object] = lambda: None


class _Format(msgspec.Struct):
    format: int


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Installation).decode
_decode_format = msgspec.json.Decoder(_Format).decode


def decode(body: bytes) -> Installation:
    """Read the document. Raises ConfigError: a newer StreamForge wrote it, or it is damaged."""
    try:
        written = _decode_format(body).format
        if written <= FORMAT:
            return _decode(body)
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"the state {KIND}/{ID} of the store is damaged ({error}): restore the store from a copy"
        ) from error
    raise ConfigError(
        f"the data in the store were written by a newer StreamForge (format {written}; this one knows formats up to "
        f"{FORMAT}): upgrade StreamForge, or name another store"
    )


class Installations:
    """The document in a store. Every method raises RetryableError where the store does not answer."""

    def __init__(self, states: StateStore) -> None:
        self._states = states

    async def read(self) -> tuple[Installation, str | None]:
        """The document with its revision; of a store that has none, an empty one.

        Raises ConfigError: a newer StreamForge wrote it, or it is damaged.
        """
        state = await self._states.get(KIND, ID)
        if state is None:
            return Installation(), None
        return decode(state.body), state.revision

    async def write(self, installation: Installation, expected: str | None) -> str:
        """Write the document in the place of the revision `expected`; returns the new one. Raises ConflictError."""
        state = await self._states.put(KIND, ID, encode(installation), expected=expected)
        return state.revision

    async def settle(self, claim: Claim) -> None:
        """Grant a claim on a store that nobody else can reach. Raises ConfigError."""
        while True:
            kept, revision = await self.read()
            check_origin(kept, claim)
            if revision is not None:
                return
            try:
                await self.write(kept, revision)
            except ConflictError:
                continue  # its last answer was lost
            return


def check_origin(kept: Installation, claim: Claim) -> None:
    """Raises ConfigError if the data are another exchange's than the claim's."""
    if kept.origin is not None and claim.origin is not None and kept.origin != claim.origin.exchange:
        known = called(kept.origin)
        raise ConfigError(
            f"{claim.where} holds data of {known}, not of {called(claim.origin.exchange)}, and the two are never "
            f"mixed: {claim.elsewhere}, or load from {known} with {claim.switch}"
            f"{shown_choice(kept.choice or kept.origin)}"
        )


def instant(unix_ms: int) -> str:
    """For people: UTC, to the second."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
