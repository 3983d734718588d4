from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute
from structlog.testing import capture_logs

from streamforge.manager.api.app import create_app
from tests.doubles.ticks import registered
from tests.manager.api.support import client_of
from tests.manager.memory_service import MemoryService
from tests.manager.support import World

_INCLUDED: dict[int, BaseRoute] = {}


@pytest.fixture(autouse=True)
def _routes_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI reads the signatures of a router's functions at the first request: once for all apps, not for each."""
    include = FastAPI.include_router

    def included(app: FastAPI, router: APIRouter) -> None:
        if id(router) in _INCLUDED:
            app.router.routes.append(_INCLUDED[id(router)])
        else:
            include(app, router)
            _INCLUDED[id(router)] = app.router.routes[-1]

    monkeypatch.setattr(FastAPI, "include_router", included)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the manager logs is kept, not printed: tracebacks take long to draw."""
    with capture_logs():
        yield


@pytest.fixture(scope="module")
def ticks() -> Iterator[None]:
    """Ticks, which have consecutive ids, are a kind of records."""
    with registered():
        yield


@pytest.fixture
async def world() -> World:
    """A manager whose parts are doubles, ready to be asked."""
    world = World()
    await world.start()
    return world


@pytest.fixture
async def service() -> MemoryService:
    return await MemoryService.made()


@pytest.fixture
async def client(service: MemoryService) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(service)) as found:
        yield found
