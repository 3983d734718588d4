from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from streamforge.manager.api.app import create_app
from tests.manager.api.support import client_of
from tests.manager.memory_service import MemoryService

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


@pytest.fixture
async def service() -> MemoryService:
    return await MemoryService.made()


@pytest.fixture
async def client(service: MemoryService) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(service)) as found:
        yield found
