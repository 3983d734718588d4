"""Whose data a store holds: one exchange's, from the first workflow on that is accepted."""

from __future__ import annotations

import asyncio

import msgspec

from streamforge.manager.origin import shown_choice
from streamforge.manager.persistence.installation import Claim, Installation, Installations
from streamforge.manager.service import NotNow
from streamforge_utils.model.errors import ConfigError, ConflictError, OtherExchange, StreamForgeError
from streamforge_utils.ports.exchange import Exchange, Identity
from streamforge_utils.ports.store import StateStore

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
