"""One manager per store: it holds a lease on the store, and renews it for as long as it lives.

Clocks of two machines are never compared. Who wants the store reads the lease again and again: if its revision
moves, its holder lives; if it has stood still for as long as the lease says, by the reader's own clock, the holder has
ended. The holder counts from before its last renewal and stops acting a quarter earlier, so it has stopped before
anybody takes the store from it. One that learns that another has taken it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
import structlog

from streamforge.manager.persistence.installation import (
    Claim,
    Holder,
    Installation,
    Installations,
    check_origin,
    instant,
)
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import StateStore, Store

LOOK_EVERY_S = 0.25
RELEASE_S = 5.0
"""How long a store that does not answer is asked to take the lease back."""

_RENEWALS = 6
"""In the time of a lease: some may fail."""
_ACTING = 0.75
"""The part of a lease in which its holder acts."""

_Port = TypeVar("_Port", Store, ObjectStore)
_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


class Held(ConfigError):
    """Another manager manages the store; the message names it."""


class LeaseLost(StreamForgeError):
    """Another manager has taken the store: this one must not act any more."""


class Lease:
    """`take` it, then let `keep` run and ask `check` before anything is changed; `release` it at the end."""

    def __init__(self, states: StateStore, clock: Clock, claim: Claim) -> None:
        self._installations = Installations(states)
        self._clock = clock
        self._claim = claim
        self._me = Holder(
            id=secrets.token_hex(8),
            name=claim.name,
            since_ms=clock.now_ms(),
            renewed_ms=clock.now_ms(),
            lease_s=claim.lease_s,
            place=claim.place,
            drives=claim.drives,
        )
        self._kept = Installation()
        self._revision: str | None = None
        self._renewed_at, self._renewed_ms = float("-inf"), 0
        self._trouble: str | None = None
        self._lost: str | None = None

    async def take(self) -> None:
        """Return once the lease is ours; at once unless somebody else may hold it, else after its time at most.

        Raises Held (its holder is alive), ConfigError (the data are another exchange's, or a newer version's) or
        RetryableError.
        """
        seen: str | None = None
        seen_at = 0.0
        while True:
            kept, revision = await self._installations.read()
            check_origin(kept, self._claim)
            holder = kept.holder
            if holder is not None and not self._is_me(holder):
                now = self._clock.monotonic()
                if seen is None:
                    seen, seen_at = revision, now
                    self._claim.tell(
                        f"{self._claim.where} is, or was, managed by {_described(holder)}: waiting up to "
                        f"{holder.lease_s:g} s to see whether it is alive"
                    )
                if seen != revision:
                    raise Held(
                        f"{self._claim.where} is managed by {_described(holder)}: {_advice(holder)}, or wait until it "
                        "has ended (two managers would end each other's work)"
                    )
                if now - seen_at < holder.lease_s:
                    await self._clock.sleep(LOOK_EVERY_S)
                    continue
                _log.warning("the manager before has ended without a word", manager=holder.name)
            try:
                await self._write(_replace(kept, holder=self._me), revision)
            except ConflictError:
                continue  # another one was faster, or the answer to our own request was lost
            return

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises LeaseLost or ConfigError (a newer version has taken it)."""
        while True:
            await self._clock.sleep(self._me.lease_s / _RENEWALS)
            try:
                async with asyncio.timeout(self._me.lease_s / 3):
                    await self.renew()
            except (LeaseLost, ConfigError) as error:
                self._lost = str(error)
                raise
            except (StreamForgeError, TimeoutError) as error:
                if self._trouble is None:
                    _log.warning("the lease on the store could not be renewed, trying again", error=str(error))
                self._trouble = str(error) or "no answer in time"

    async def renew(self) -> None:
        """Renew the lease once. Raises LeaseLost, ConfigError, or what the store raises."""
        me = self._me = _replace(self._me, renewals=self._me.renewals + 1, renewed_ms=self._clock.now_ms())
        try:
            await self._write(_replace(self._kept, holder=me), self._revision)
        except ConflictError:
            # Either another has it, or it is we who wrote, and the answer did not arrive.
            began = self._now()
            kept, revision = await self._installations.read()
            if kept.holder is None or kept.holder.id != me.id:
                raise LeaseLost(self._taken_by(kept.holder)) from None
            self._kept, self._revision = kept, revision
            self._renewed(began)

    def check(self) -> None:
        """Nothing, while it is certain that nobody else can have the lease.

        Raises LeaseLost, or RetryableError: it may be renewed again.
        """
        if self._lost is not None:
            raise LeaseLost(self._lost)
        # Of a machine that slept the monotonic clock may know nothing; its own wall clock does.
        late_s = max(self._clock.monotonic() - self._renewed_at, (self._clock.now_ms() - self._renewed_ms) / 1000)
        if late_s > self._me.lease_s * _ACTING:
            raise RetryableError(
                f"the lease on {self._claim.where} was last renewed {late_s:.0f} s ago"
                f"{f' ({self._trouble})' if self._trouble else ''}: nothing is done until it is renewed, as another "
                "manager may have taken it"
            )

    def serves(self, url: str) -> None:
        """Let others know where our API answers, from the next renewal on."""
        self._me = _replace(self._me, url=url)

    async def release(self) -> None:
        """Let the next manager have the store at once; a store that does not answer soon is left as it is."""
        with contextlib.suppress(StreamForgeError, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                for _ in range(2):
                    try:
                        await self._installations.write(_replace(self._kept, holder=None), self._revision)
                        return
                    except ConflictError:
                        # A renewal that was cut off may have been written.
                        self._kept, self._revision = await self._installations.read()
                        if self._kept.holder is None or self._kept.holder.id != self._me.id:
                            return

    async def _write(self, wanted: Installation, expected: str | None) -> None:
        began = self._now()
        self._revision = await self._installations.write(wanted, expected)
        self._kept = wanted
        self._renewed(began)

    def _now(self) -> tuple[float, int]:
        return self._clock.monotonic(), self._clock.now_ms()

    def _renewed(self, began: tuple[float, int]) -> None:
        """began: before the request was sent; it arrived later, so others wait longer than we count."""
        self._renewed_at, self._renewed_ms = began
        self._trouble = None

    def _is_me(self, holder: Holder) -> bool:
        return holder.id == self._me.id or (self._me.place != "" and holder.place == self._me.place)

    def _taken_by(self, holder: Holder | None) -> str:
        now = "by nobody" if holder is None else f"by {_described(holder)}"
        return (
            f"{self._claim.where} is managed {now} now: this manager could not renew its lease in time (it was paused, "
            "or the way to the store was cut) and has stopped acting"
        )


@asynccontextmanager
async def managed_store(states: StateStore, clock: Clock, claim: Claim | None) -> AsyncIterator[Lease | None]:
    """Be the manager of the store until the end of the block, or, without a claim, one that only reads.

    Gives the lease, where one is needed; it is the caller's to let it `keep`. Raises as `Lease.take`.
    """
    if claim is None:
        await Installations(states).read()
        yield None
    elif not claim.shared:
        await Installations(states).settle(claim)
        yield None
    else:
        lease = Lease(states, clock, claim)
        await lease.take()
        try:
            yield lease
        finally:
            await lease.release()


def _described(holder: Holder) -> str:
    return f"{holder.name}, since {instant(holder.since_ms)} by its clock"


def _advice(holder: Holder) -> str:
    if holder.url is None:
        return "use it with --server and its address"
    host = urlsplit(holder.url).hostname or ""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:  # a name
        return f"use it with --server {holder.url}"
    if address.is_unspecified:
        return f"use it with --server and the address of its machine or service (it listens on {holder.url})"
    return f"use it{' on its machine' if address.is_loopback else ''} with --server {holder.url}"


READING = frozenset(
    {
        "connect",
        "read",
        "keys",
        "positions",
        "values",
        "present",
        "fetch",
        "count",
        "names",
        "flush",
        "get",
        "get_many",
        "find",
        "tally",
        "links",
        "links_from",
        "usage",
        "close",
    }
    | {"head", "list"}
)
"""Methods that change nothing in the store, or in the store of objects."""


def fenced(store: _Port, check: Callable[[], None]) -> _Port:
    """The store, but that `check` is called before each change, and may raise instead."""
    return cast("_Port", _Fence(store, check))


class _Fence:
    def __init__(self, store: Store | ObjectStore, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in READING or not callable(found):
            return found

        async def change(*args: Any, **named: Any) -> Any:
            self._check()
            return await found(*args, **named)

        return change
