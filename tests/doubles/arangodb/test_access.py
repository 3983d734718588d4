"""Who is let in, and how requests must look."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.doubles.arangodb.conftest import Ask, asking
from tests.doubles.arangodb.dispatch import make_token
from tests.doubles.arangodb.double import ArangoDouble
from tests.limits import LIMIT_S


@pytest.fixture
def version() -> str:
    return "3.12.10"


@pytest.fixture
async def anybody(double: ArangoDouble) -> AsyncIterator[Ask]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session:
        yield asking(session, double.url)


async def test_a_token_lets_in_until_it_expires(anybody: Ask, double: ArangoDouble) -> None:
    _, answer = await anybody("POST", "/_open/auth", {"username": "root", "password": "secret"})
    assert (await anybody("GET", "/_api/version", Authorization=f"bearer {answer['jwt']}"))[0] == 200

    now = int(time.time())
    secret = double.server.jwt_secret
    good = {"iss": "arangodb", "preferred_username": "root"}
    for claims, status in (
        (good, 200),
        (good | {"exp": now + 60}, 200),
        (good | {"exp": now - 60}, 401),
        (good | {"iss": "other"}, 401),
        ({"preferred_username": "root"}, 401),
        (good | {"preferred_username": "nobody"}, 401),
    ):
        token = make_token(claims, secret)
        assert (await anybody("GET", "/_api/version", Authorization=f"bearer {token}"))[0] == status
    assert (await anybody("GET", "/_api/version", Authorization=f"bearer {make_token(good, b'other')}"))[0] == 401


@pytest.mark.parametrize("header", [None, "Basic !", "Basic cm9vdDp3cm9uZw==", "Digest x", "bearer a.b.c", "bearer"])
async def test_without_good_credentials_nobody_is_let_in(anybody: Ask, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}

    status, answer = await anybody("GET", "/_api/version", **headers)
    assert (status, answer["errorNum"]) == (401, 11)
    assert (await anybody("GET", "/_db/no/_api/version", **headers))[0] == 401
    assert (await anybody("GET", "/_admin/server/availability", **headers))[0] == 200


async def test_a_user_may_do_what_was_granted(ask: Ask, anybody: Ask) -> None:
    await ask("POST", "/_api/database", {"name": "d"})
    await ask("POST", "/_db/d/_api/collection", {"name": "c"})
    await ask("POST", "/_api/user", {"user": "u", "passwd": "p"})
    as_user = {"Authorization": aiohttp.encode_basic_auth("u", "p")}

    async def tried() -> tuple[int, int]:
        read = await anybody("GET", "/_db/d/_api/collection/c/count", **as_user)
        written = await anybody("POST", "/_db/d/_api/document/c", {}, **as_user)
        return read[0], written[0]

    assert await tried() == (401, 401)
    await ask("PUT", "/_api/user/u/database/d", {"grant": "ro"})
    assert await tried() == (200, 403)
    await ask("PUT", "/_api/user/u/database/d", {"grant": "rw"})
    assert await tried() == (200, 202)
    await ask("PATCH", "/_api/user/u", {"passwd": "new"})
    assert await tried() == (401, 401)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_read(ask: Ask, encoding: str, pack: object) -> None:
    await ask("POST", "/_api/collection", {"name": "c"})

    assert callable(pack)
    assert (await ask("POST", "/_api/document/c", pack(b'{"_key": "k"}'), Content_Encoding=encoding))[0] == 202
    assert (await ask("POST", "/_api/document/c", b"nothing", Content_Encoding=encoding))[0] == 400


async def test_a_body_without_a_length_is_refused(double: ArangoDouble) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(double.url.rpartition(":")[2]))
    writer.write(b"POST /_api/document/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")

    async with asyncio.timeout(LIMIT_S):
        assert (await reader.readline()).startswith(b"HTTP/1.1 501")
    writer.close()
    await writer.wait_closed()


async def test_requests_on_one_connection_are_answered_in_their_order(double: ArangoDouble) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(double.url.rpartition(":")[2]))
    head = b"HTTP/1.1\r\nAuthorization: Basic cm9vdDpzZWNyZXQ=\r\n"
    both = b"GET /_api/nothing " + head + b"\r\nGET /_api/version " + head + b"Connection: close\r\n\r\n"
    for part in (both[:50], both[50:]):
        writer.write(part)
        await writer.drain()

    async with asyncio.timeout(LIMIT_S):
        answer = await reader.read()
    assert answer.index(b"HTTP/1.1 404") < answer.index(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_stored_request_is_answered_later(
    ask: Ask, double: ArangoDouble, session: aiohttp.ClientSession
) -> None:
    url = double.url + "/_api/cursor"
    async with session.post(url, json={"query": "RETURN SLEEP(60)"}, headers={"x-arango-async": "store"}) as response:
        number = response.headers["X-Arango-Async-Id"]
        assert response.status == 202

    assert (await ask("GET", f"/_api/job/{number}"))[0] == 204
    assert (await ask("GET", "/_api/job/pending"))[1] == [number]
    assert (await ask("PUT", f"/_api/job/{number}/cancel"))[1] == {"result": True}
    assert (await ask("PUT", "/_api/job/1"))[1]["errorNum"] == 404
