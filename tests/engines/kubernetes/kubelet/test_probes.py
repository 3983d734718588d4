"""Probes by HTTP and TCP, and how often they count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.engines.kubernetes.kubelet.probes import Probes
from tests.engines.kubernetes.rest import Object

_LIMIT_S = 30.0


class Service:
    """Answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    found = Service()
    application = web.Application()
    application.router.add_get("/readyz", found.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


def _probes(spec: Object, told: asyncio.Queue[bool]) -> Probes:
    async def execute(command: list[str]) -> int:
        return int(command[0])

    return Probes(spec, "127.0.0.1", execute, told.put)


def _probe(service: Service, **more: int) -> Object:
    return {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 0, "timeoutSeconds": 20, **more}


async def _next(told: asyncio.Queue[bool]) -> bool:
    return await asyncio.wait_for(told.get(), _LIMIT_S)


async def test_readiness_follows_what_the_service_says(service: Service) -> None:
    told = asyncio.Queue[bool]()
    ports = [{"name": "http", "containerPort": service.port}]
    task = asyncio.create_task(_probes({"ports": ports, "readinessProbe": _probe(service)}, told).attend())
    assert await _next(told)
    service.status = 503
    assert not await _next(told)
    service.status = 204
    assert await _next(told)
    task.cancel()


async def test_liveness_counts_failures_in_a_row(service: Service) -> None:
    ports = [{"name": "http", "containerPort": service.port}]
    service.status = 500
    probes = _probes({"ports": ports, "livenessProbe": _probe(service, failureThreshold=4)}, asyncio.Queue())
    assert await asyncio.wait_for(probes.attend(), _LIMIT_S) == "Liveness"
    assert service.asked == 4


async def test_a_container_is_ready_after_its_startup_probe(service: Service) -> None:
    told = asyncio.Queue[bool]()
    spec = {"startupProbe": {"tcpSocket": {"port": service.port}, "periodSeconds": 0, "timeoutSeconds": 20}}
    task = asyncio.create_task(_probes(spec, told).attend())
    assert await _next(told)
    task.cancel()


async def test_a_startup_probe_that_never_holds_gives_up() -> None:
    spec = {"startupProbe": {"exec": {"command": ["1"]}, "periodSeconds": 0, "failureThreshold": 2}}
    assert await asyncio.wait_for(_probes(spec, asyncio.Queue()).attend(), _LIMIT_S) == "Startup"
