from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from streamforge.manager.api.app import create_app
from tests.doubles.service import ServiceDouble
from tests.manager.api.support import client_of


@pytest.fixture
def service() -> ServiceDouble:
    return ServiceDouble()


@pytest.fixture
async def client(service: ServiceDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(service)) as found:
        yield found
