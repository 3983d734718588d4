"""Who drives the workflows of a store that several managers can reach: one of them, by a lease that it renews.

Managers of two folders, or of two machines, are held apart by nothing else: each would take the other's jobs for
orphans. The lease is a state, changed by compare-and-set. Nobody's clock is compared with another's: a lease whose
revision does not move while it is watched for `TTL_S` is free.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from pathlib import Path

import msgspec
import structlog

from streamforge_utils.model.errors import ConfigError, ConflictError, PermanentError, RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.store import State, StateStore

KIND, ID = "manager", "lease"
TTL_S = 30.0
RENEW_S = 5.0
DOUBT_S = 20.0
"""A lease that could not be renewed for so long may soon be another's: nothing more is begun."""
_LOOK_S = 0.5
_LEAVE_S = 3.0
_OWNER_FILE = "manager.id"

_log = structlog.get_logger(__name__)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the lease.

    owner: who may take it over at once, because there is one of that name. run: of the process. where: for people.
    url: where it serves. since_ms: when it was taken.
    """

    owner: str
    run: str
    where: str
    url: str = ""
    since_ms: int = 0


_decode = msgspec.json.Decoder(Held).decode


class LeaseLost(PermanentError):
    """Another manager drives the workflows now."""


class Lease:
    """This process's hold on the workflows of `states`. owner: see `Held`."""

    def __init__(self, states: StateStore, clock: Clock, *, owner: str, where: str) -> None:
        self._states = states
        self._clock = clock
        self._held = Held(owner=owner, run=secrets.token_hex(8), where=where, since_ms=clock.now_ms())
        self._revision: str | None = None
        self._renewed = float("-inf")

    async def take(self) -> None:
        """Hold the lease. Raises ConfigError naming who holds it, or RetryableError.

        Returns at once if nobody holds it, or the owner's former process did; after `TTL_S` if its holder is silent.
        """
        state = await self._states.get(KIND, ID)
        since = self._clock.monotonic()
        told = False
        while True:
            held = None if state is None else _read(state)
            if held is None or held.owner == self._held.owner or self._clock.monotonic() - since >= TTL_S:
                try:
                    await self._put(None if state is None else state.revision)
                    return
                except ConflictError:
                    pass  # somebody was quicker: who, the next look tells
            elif not told:
                told = True
                _log.warning("waiting for the lease of a manager that may have ended", held_by=_told(held))
            await self._clock.sleep(_LOOK_S)
            found = await self._states.get(KIND, ID)
            if found is not None and state is not None and found.revision != state.revision:
                alive = _read(found)
                if alive is not None and alive.owner != self._held.owner:
                    raise ConfigError(_refusal(alive))
            if found is None or state is None or found.revision != state.revision:
                since = self._clock.monotonic()
            state = found

    async def keep(self) -> None:
        """Renew it until cancelled. Raises LeaseLost."""
        while True:
            await self._clock.sleep(RENEW_S)
            try:
                await self._put(self._revision)
            except RetryableError as error:
                _log.warning("the lease cannot be renewed, trying again", error=str(error))
            except ConflictError:
                await self._look()

    def check(self) -> None:
        """Raises RetryableError if it was not renewed for `DOUBT_S`."""
        if self._clock.monotonic() - self._renewed > DOUBT_S:
            raise RetryableError("the lease could not be renewed for a while: another manager may drive the workflows")

    async def tell(self, url: str) -> None:
        """Say where this manager serves. Raises LeaseLost or RetryableError."""
        self._held = msgspec.structs.replace(self._held, url=url)
        try:
            await self._put(self._revision)
        except ConflictError:
            await self._look()

    async def leave(self) -> None:
        """Let the next manager begin at once; where that cannot be said, it waits for `TTL_S`."""
        revision, self._revision = self._revision, None
        if revision is None:
            return
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._states.remove(KIND, ID, expected=revision)
        except (StreamForgeError, TimeoutError) as error:
            _log.warning("the lease could not be given back", error=str(error) or "no answer in time")

    async def _put(self, expected: str | None) -> None:
        began = self._clock.monotonic()
        state = await self._states.put(KIND, ID, msgspec.json.encode(self._held), expected=expected)
        self._revision, self._renewed = state.revision, began

    async def _look(self) -> None:
        """After a conflict: it is another's, or this process's own change was not known. Raises LeaseLost."""
        state = await self._states.get(KIND, ID)
        held = None if state is None else _read(state)
        if held is not None and held.run != self._held.run:
            self._revision = None
            raise LeaseLost(f"another manager drives the workflows now: {_told(held)}")
        await self._put(None if state is None else state.revision)


def owner_of(data_dir: Path | None, namespace: str) -> tuple[str, str]:
    """Who this manager is, and where, for people. Raises ConfigError if its folder cannot be written.

    Its folder has a name of its own, and a lock that lets one manager in. Without a folder it is a Deployment's pod, of
    which there is one.
    """
    host = socket.gethostname()
    if data_dir is None:
        service = os.environ.get("KUBERNETES_SERVICE_HOST")
        pod = f"kubernetes {service} {namespace}" if service else secrets.token_hex(8)
        return pod, f"namespace {namespace or 'of its own'}, host {host}"
    file = data_dir.absolute() / _OWNER_FILE
    try:
        if not file.exists():
            draft = file.with_suffix(f".{os.getpid()}.tmp")
            draft.write_text(secrets.token_hex(8), "utf-8")
            draft.replace(file)
        return file.read_text("utf-8").strip(), f"data in {file.parent}, host {host}"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be used ({error}): choose another folder with --data") from error


def _read(state: State) -> Held | None:
    try:
        return _decode(state.body)
    except msgspec.MsgspecError:
        return None


def _told(held: Held) -> str:
    return held.where + (f", it serves {held.url}" if held.url else "")


def _refusal(held: Held) -> str:
    use = f"use it with --server {held.url}, " if held.url else ""
    return (
        f"another manager drives the workflows of this database ({_told(held)}): {use}end it, or name another database "
        "in ARANGO_DB"
    )
