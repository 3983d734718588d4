"""What a store says of itself: its format, which exchange its data are of, and which manager manages it now.

One document. Every manager that changes anything claims the store by it before it begins. The data are of one exchange,
from the first workflow on that is accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.origin import Origin, called, shown_choice
from streamforge_utils.model.errors import ConfigError, ConflictError, OtherExchange, StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange, Identity
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
    another one. switch: text put before the exchange's name in advice. shared: managers elsewhere reach the store, so
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


SKEW_S = 10.0
"""By how much the clock of a manager elsewhere may differ from ours."""

DriverStatus = Callable[[], Awaitable[str | None]]
"""Says why no manager drives the workflows now; None: one does, or it cannot be told."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a manager would be found.

    where: the data, in a sentence. driven: whether a manager that holds the data directory drives. shared: managers
    elsewhere reach the store, and the one that drives it keeps a lease on it.
    """

    where: str
    driven: Callable[[], bool]
    shared: bool


def by_others(states: StateStore, clock: Clock, place: Place) -> DriverStatus:
    """What is known of a store that this process does not drive. The answer raises RetryableError."""

    async def no_driver_reason() -> str | None:
        if place.driven():
            return None
        if not place.shared:
            return f"no manager runs on {place.where}"
        holder = (await Installations(states).read())[0].holder
        if holder is None:
            return f"no manager drives {place.where}"
        late_s = (clock.now_ms() - holder.renewed_ms) / 1000
        if late_s > holder.lease_s + SKEW_S:
            return (
                f"the manager of {place.where}, {holder.name}, has not renewed its lease since "
                f"{instant(holder.renewed_ms)}"
            )
        if not holder.drives:
            return f"no manager drives {place.where}, which {holder.name} has to itself for now"
        return None

    return no_driver_reason


ASK_WITHIN_S = 2.0


class ExchangeBinding:
    """Keeps the store to one exchange.

    claim: which one the manager loads from; None, or one without an origin: none. identity: who answers its questions.
    """

    def __init__(self, states: StateStore, claim: Claim | None, identity: Identity) -> None:
        self._installations = Installations(states)
        self._claim = claim
        self._identity = identity
        self._accepted: tuple[str | None] | None = None

    @property
    def expected(self) -> str | None:
        """The name of the exchange that must answer; None: any may."""
        return self._identity.expected

    async def begin(self, exchange: Exchange, *, ask: bool = True) -> None:
        """Expect the exchange that the data are of, from now on. Raises ConfigError if another one answers already.

        One that does not answer soon, or must not be asked (a ban), is compared later, by its first answer.
        """
        claim = self._claim
        if claim is None or claim.origin is None:
            return
        kept, _ = await self._installations.read()
        self._identity.expected = kept.identity or self.expected
        if kept.identity is None or not ask:
            return
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                await exchange.server_time()
        except OtherExchange as error:
            raise ConfigError(self._refusal(claim, kept)) from error
        except (StreamForgeError, TimeoutError):
            pass  # it is compared with its first answer

    async def check(self) -> None:
        """Raises NotNow where another exchange than that of the data answered last."""
        if self._claim is None or self.expected in (None, self._identity.met) or self._identity.met is None:
            return
        kept, _ = await self._installations.read()
        raise NotNow(self._refusal(self._claim, kept))

    async def accept(self) -> None:
        """A workflow is accepted, or planned: the store is one of this exchange's. Raises RetryableError.

        What the store says already is replaced only once the exchange has answered.
        """
        claim, met = self._claim, self._identity.met
        if claim is None or claim.origin is None or self._accepted == (met,):
            return
        while True:
            kept, revision = await self._installations.read()
            if kept.origin is not None and met is None:
                return
            wanted = msgspec.structs.replace(
                kept,
                origin=claim.origin.exchange,
                choice=claim.origin.choice,
                identity=kept.identity or met or None,
            )
            try:
                if wanted != kept or revision is None:
                    await self._installations.write(wanted, revision)
            except ConflictError:
                continue  # the lease was renewed, or the answer was lost
            break
        self._identity.expected = wanted.identity
        claim.accepted()
        self._accepted = (met,)

    def _refusal(self, claim: Claim, kept: Installation) -> str:
        met = f"`{self._identity.met}`" if self._identity.met else "another exchange"
        choice = f", e.g. {claim.switch}{shown_choice(kept.choice)}" if kept.choice else ""
        return (
            f"{claim.where} holds data of the exchange `{kept.identity}`, not of {met}, which answers now, and the two "
            f"are never mixed: {claim.elsewhere}, or load from the former{choice}"
        )
