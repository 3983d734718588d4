"""The exchange with TLS: its clients trust the authority that it has made, and no other one."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from streamforge.exchange.config import ExchangeConfig
from streamforge.exchange.exchange_server import serve
from streamforge.exchange.state import ExchangeClock
from streamforge_utils.model.errors import PermanentError
from tests.exchange.conftest import MINUTE, NOW
from tests.limits import LIMIT_S


async def test_streams_and_rest_with_tls(tmp_path: Path) -> None:
    clock = ExchangeClock(NOW, frozen=True)
    async with await serve(ExchangeConfig(tls=tmp_path / "tls"), clock) as running:
        assert running.tls_url is not None
        assert running.ca == tmp_path / "tls" / "ca.pem"
        context = ssl.create_default_context(cafile=running.ca)
        for host in ("127.0.0.1", "localhost"):
            url = running.tls_url.replace("https", "wss").replace("127.0.0.1", host)
            async with connect(
                f"{url}/ws/btcusdt@trade", ssl=context, open_timeout=LIMIT_S, close_timeout=0.2
            ) as client:
                clock.advance(MINUTE)
                assert '"e":"trade"' in str(await client.recv())
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{running.tls_url}/api/v3/time", ssl=context) as answer:
                assert await answer.json() == {"serverTime": NOW + 2 * MINUTE}
            async with session.get(f"{running.url}/api/v3/time") as answer:
                assert answer.status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connect(f"{running.tls_url.replace('https', 'wss')}/ws", ssl=ssl.create_default_context()):
                pass


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match=f"certificates cannot be written to {tmp_path}/file: "):
        await serve(ExchangeConfig(tls=tmp_path / "file"))
