"""Which answers of the API are compressed, and that they hold the same."""

from __future__ import annotations

import gzip

import pytest
from starlette.types import Message, Receive, Scope, Send

from streamforge.manager.api.app import create_app
from streamforge.manager.api.compression import Compression
from streamforge_utils.model.series import Series
from tests.manager.api.support import COLLECTION, SEGMENTS, candles, client_of, started
from tests.manager.memory_service import MemoryService

PLAIN, PACKED = {"Accept-Encoding": "identity"}, {"Accept-Encoding": "br, gzip"}


@pytest.mark.parametrize("path", ["/openapi.json", "/queues", "/series/BTCUSDT/api_candles_1m/bars?start=2024-08-01"])
async def test_a_long_answer_is_compressed_for_who_accepts_it(service: MemoryService, path: str) -> None:
    await service.store(COLLECTION, candles(1000))
    await service.know(Series("BTCUSDT", "candles", "1m"), SEGMENTS)
    for day in range(1, 3):
        await started(service, time_range=f"2024-08-0{day}")
    async with client_of(create_app(service)) as client:
        plain = await client.get(path, headers=PLAIN)
        async with client.stream("GET", path, headers=PACKED) as packed:
            raw = b"".join([part async for part in packed.aiter_raw()])
    assert "content-encoding" not in plain.headers
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert int(packed.headers["content-length"]) == len(raw) < len(plain.content) / 2
    assert gzip.decompress(raw) == plain.content


async def test_what_is_short_or_comes_in_parts_or_is_not_accepted_is_not(service: MemoryService) -> None:
    await service.store(COLLECTION, candles(1000))
    async with client_of(create_app(service)) as client:
        short = await client.get("/access", headers=PACKED)
        whole = await client.get(f"/collections/{COLLECTION}/records", params={"limit": "all"}, headers=PACKED)
        refused = await client.get("/openapi.json", headers={"Accept-Encoding": "gzip;q=0, *"})
    assert "content-encoding" not in {**short.headers, **whole.headers, **refused.headers}
    assert len(whole.content) > 100_000


async def test_the_head_of_a_stream_does_not_wait_for_its_first_part() -> None:
    sent: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert [message["type"] for message in sent] == ["http.response.start"]
        await send({"type": "http.response.body", "body": b"1" * 2000, "more_body": True})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"accept-encoding", b"gzip")]}
    await Compression(stream)(scope, lambda: pytest.fail("nothing is read"), send)
    assert sent[1]["body"] == b"1" * 2000
