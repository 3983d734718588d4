"""Probes: whether a container has started, is ready, still lives. By HTTP, TCP or a command, as its manifest says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp

from tests.engines.kubernetes.rest import Object

Execute = Callable[[list[str]], Awaitable[int]]
_KINDS = ("startupProbe", "readinessProbe", "livenessProbe")


class Probes:
    """The probes of one container. address: of its pod; execute: runs a command in it; ready: hears of every change."""

    def __init__(self, spec: Object, address: str, execute: Execute, ready: Callable[[bool], Awaitable[None]]) -> None:
        self._spec = spec
        self._address = address
        self._execute = execute
        self._ready = ready

    @staticmethod
    def wanted(spec: Object) -> bool:
        """Whether there are any."""
        return any(kind in spec for kind in _KINDS)

    async def attend(self) -> str:
        """Probe for as long as all is well; which probe it was that failed for good."""
        startup, readiness, liveness = (self._spec.get(kind) for kind in _KINDS)
        if startup is not None:
            await _delay(startup)
            if not await self._settled(startup, True):
                return "Startup"
        tasks = list[asyncio.Task[None]]()
        loop = asyncio.get_running_loop()
        if readiness is None:
            await self._ready(True)
        else:
            tasks.append(loop.create_task(self._follow(readiness)))
        try:
            if liveness is None:
                await asyncio.gather(*tasks)
                await loop.create_future()
            else:
                await _delay(liveness)
                await self._settled(liveness, False)
            return "Liveness"
        finally:
            for task in tasks:
                task.cancel()

    async def _follow(self, probe: Object) -> None:
        """Tell whether it is ready, whenever that changes."""
        await _delay(probe)
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
        with suppress(OSError, TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                if "exec" in probe:
                    return await self._execute(probe["exec"]["command"]) == 0
                if "httpGet" in probe:
                    return await self._get(probe["httpGet"])
                socket = probe["tcpSocket"]
                _, writer = await asyncio.open_connection(self._host(socket), self._port(socket))
                writer.close()
                return True
        return False

    async def _get(self, wanted: Object) -> bool:
        scheme = wanted.get("scheme", "HTTP").lower()
        url = f"{scheme}://{self._host(wanted)}:{self._port(wanted)}{wanted.get('path', '/')}"
        headers = {header["name"]: header["value"] for header in wanted.get("httpHeaders", [])}
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers, ssl=context, allow_redirects=False) as answer,
        ):
            return 200 <= answer.status < 400

    def _host(self, target: Object) -> str:
        return str(target.get("host", self._address))

    def _port(self, target: Object) -> int:
        port = target["port"]
        if isinstance(port, int):
            return port
        return next(int(known["containerPort"]) for known in self._spec["ports"] if known.get("name") == port)


async def _delay(probe: Object) -> None:
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
