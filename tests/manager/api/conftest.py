from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from streamforge.manager.api.app import create_app
from tests.manager.api.support import client_of
from tests.manager.memory_service import MemoryService


@pytest.fixture
async def service() -> MemoryService:
    return await MemoryService.made()


@pytest.fixture
async def client(service: MemoryService) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(service)) as found:
        yield found
