"""Probes by HTTP, as our manifests have them: whether a container has started, is ready, still lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp

from tests.engines.kubernetes.rest import Object

_KINDS = ("startupProbe", "readinessProbe", "livenessProbe")


class Probes:
    """The probes of one container. address: of its pod; ready: called at every change."""

    def __init__(self, spec: Object, address: str, ready: Callable[[bool], Awaitable[None]]) -> None:
        self._spec = spec
        self._address = address
        self._ready = ready

    @staticmethod
    def wanted(spec: Object) -> bool:
        """Whether there are any."""
        return any(kind in spec for kind in _KINDS)

    async def attend(self) -> str:
        """Probe for as long as all is well; which probe it was that failed for good."""
        startup, readiness, liveness = (self._spec.get(kind) for kind in _KINDS)
        if startup is not None and not await self._settled(startup, True):
            return "Startup"
        following = asyncio.create_task(self._follow(readiness))
        try:
            if liveness is None:
                await following
            else:
                await self._settled(liveness, False)
            return "Liveness"
        finally:
            following.cancel()

    async def _follow(self, probe: Object | None) -> None:
        """Tell whether it is ready, whenever that changes; without a probe it always is."""
        if probe is None:
            await self._ready(True)
            await asyncio.get_running_loop().create_future()
            return
        while True:
            await self._settled(probe, True, for_ever=True)
            await self._ready(True)
            await self._settled(probe, False)
            await self._ready(False)

    async def _settled(self, probe: Object, wanted: bool, *, for_ever: bool = False) -> bool:
        """Whether it came to `wanted`, often enough in a row, before it came to the opposite (if not `for_ever`)."""
        limits = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
        row, last = 0, wanted
        while True:
            found = await self._holds(probe)
            row = row + 1 if found == last else 1
            last = found
            if row >= limits[found]:
                if found == wanted:
                    return True
                # A container that is well stays so however often that is seen.
                if not for_ever and wanted:
                    return False
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _holds(self, probe: Object) -> bool:
        told = probe["httpGet"]
        port = told["port"]
        if isinstance(port, str):
            port = next(known["containerPort"] for known in self._spec["ports"] if known.get("name") == port)
        url = f"http://{self._address}:{port}{told.get('path', '/')}"
        with suppress(OSError, TimeoutError, aiohttp.ClientError):
            async with (
                asyncio.timeout(probe.get("timeoutSeconds", 1)),
                aiohttp.ClientSession() as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                return 200 <= answer.status < 400
        return False
