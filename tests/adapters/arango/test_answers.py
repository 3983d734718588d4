"""How much of an answer is read, how long it is waited for, and how often a request is sent again."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from streamforge_utils.adapters.arango import ArangoStore, Connection, Retries, Transport, arango_transport
from streamforge_utils.adapters.arango.arango_errors import TooLarge
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.store import Document, Outcome
from tests.adapters.arango.conftest import MakeStore
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.clock import FakeClock
from tests.limits import LIMIT_S

LIMIT = 100_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arango_transport, "LARGEST_ANSWER", LIMIT)


@asynccontextmanager
async def saying(answer: bytes, *, forever: bytes = b"") -> AsyncIterator[Transport]:
    """A client of a server that says this to all who connect, and `forever` again and again."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while forever:
                writer.write(forever)
                await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = Transport(Connection(url=f"http://127.0.0.1:{port}", database="d"), retries=Retries(attempts=1))
        try:
            yield client
        finally:
            await client.close()
            async with asyncio.timeout(LIMIT_S):
                await ended.wait()


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def sized(body: bytes, more: bytes = b"") -> bytes:
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


BIG = b"[" + b" " * LIMIT + b"]"


@pytest.mark.parametrize(
    ("answer", "forever"),
    [
        pytest.param(sized(BIG), b"", id="its length says so"),
        pytest.param(sized(gzip.compress(BIG * 50), b"Content-Encoding: gzip\r\n"), b"", id="packed"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunked(b" " * 1000), id="chunks without end"),
        pytest.param(HEAD + b"Connection: close\r\n\r\n", b" " * 1000, id="neither length nor end"),
    ],
)
async def test_no_more_of_an_answer_is_read_than_the_limit(answer: bytes, forever: bytes) -> None:
    async with asyncio.timeout(LIMIT_S), saying(answer, forever=forever) as client:
        with pytest.raises(TooLarge, match=rf"127.0.0.1:\d+: an answer is larger than {LIMIT} bytes"):
            await client.ask("GET", "/_api/version", what="look")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sized(BIG[:LIMIT]), id="of the limit"),
        pytest.param(sized(gzip.compress(BIG[:LIMIT]), b"Content-Encoding: gzip\r\n"), id="packed"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BIG[:LIMIT]) + b"0\r\n\r\n", id="chunked"),
    ],
)
async def test_an_answer_within_the_limit_is_read_whole(answer: bytes) -> None:
    async with asyncio.timeout(LIMIT_S), saying(answer) as client:
        assert (await client.ask("GET", "/_api/version", what="look")).body == BIG[:LIMIT]


def large(count: int, text: str, version: int = 1) -> list[Document]:
    return [Document(f"k{n:04d}", version, b'{"text":"%b"}' % (text * 2000).encode()) for n in range(count)]


async def test_large_documents_are_read_in_smaller_batches(store: ArangoStore, double: ArangoDouble) -> None:
    """200 of them are four times what an answer may hold."""
    documents = large(200, "x")
    await store.upsert("candles", documents)
    assert list(await store.read("candles", limit=1000)) == documents


async def test_a_document_that_no_answer_can_hold_is_told(store: ArangoStore) -> None:
    await store.upsert("candles", [Document("k", 1, b'{"text":"%b"}' % (b"x" * 2 * LIMIT))])
    with pytest.raises(TooLarge, match="ask for less at once"):
        await store.read("candles")


async def test_what_large_documents_are_replaced_by_is_stored_in_smaller_batches(store: ArangoStore) -> None:
    """The answer holds what was there before each."""
    await store.upsert("candles", large(200, "x"))
    answers = await store.upsert("candles", large(200, "y", version=2))
    assert {answer.outcome for answer in answers} <= {Outcome.STORED, Outcome.UNCHANGED}
    found = {document.key: document for document in await store.read("candles", limit=1000)}
    assert [*found.values()] == large(200, "y", version=2)


async def test_what_large_documents_keep_out_is_told_apart(store: ArangoStore) -> None:
    await store.upsert("candles", large(200, "x", version=5))
    answers = await store.upsert("candles", [*large(100, "x", version=4), *large(200, "y", version=4)[100:]])
    assert [answer.outcome for answer in answers] == [Outcome.UNCHANGED] * 100 + [Outcome.STALE] * 100


@pytest.mark.e2e
async def test_a_request_that_is_not_answered_in_time_is_sent_again(make: MakeStore, double: ArangoDouble) -> None:
    """Though all the time of the call is over by then."""
    store = make(Retries(answer_s=2, attempts=3, within_s=0.1, base_s=0.001))
    await store.connect()
    fault = double.misbehaviour.add(Fault(kind="slow", seconds=60, path="_api/collection", times=1))
    assert list(await store.names()) == []
    assert fault.hit == 1
    fault = double.misbehaviour.add(Fault(kind="slow", seconds=60, path="_api/collection"))
    with pytest.raises(RetryableError, match=r"given up after 2 tries: no answer within 2 s"):
        await store.names()
    assert fault.hit == 2


@pytest.mark.parametrize("limit", [1, 10_000])
async def test_a_body_that_something_on_the_way_finds_too_large_is_cut(
    limit: int, make: MakeStore, double: ArangoDouble
) -> None:
    """What lies between may have a limit of its own, and says so without a number of ArangoDB's."""
    store = make()
    await store.connect()
    double.misbehaviour.add(Fault(kind="too-large", bytes=limit, method="POST", path="_api/(document|cursor)"))
    documents = [Document(f"k{n:02d}", 1, b'{"text":"%b"}' % (b"x" * 1000)) for n in range(20)]
    documents[7] = Document("k07", 1, b'{"text":"%b"}' % (b"x" * 20_000))
    answers = await store.upsert("candles", documents)
    refused = [n for n, answer in enumerate(answers) if answer.outcome is Outcome.REFUSED]
    assert refused == ([7] if limit > 1 else [*range(20)])
    assert "'k07'" in answers[7].reason
    assert "HTTP 413" in answers[7].reason
    assert "client_max_body_size" in answers[7].reason
    double.misbehaviour.clear()
    assert await store.count("candles") == 20 - len(refused)


async def pauses(double: ArangoDouble, store: ArangoStore, clock: FakeClock) -> tuple[list[float], str]:
    """The waits of a call to a server that is never available, and what is said in the end."""
    clock.slept.clear()
    double.misbehaviour.add(Fault(kind="maintenance", path="_api/document"))
    with pytest.raises(RetryableError) as error:
        await store.get("workflow", "any")
    double.misbehaviour.clear()
    return clock.slept[:], str(error.value)


one_version = pytest.mark.parametrize("version", ["3.12.10"], indirect=True)
WHOLE = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


@one_version
@pytest.mark.parametrize("draw", [0.0, 0.25, 1.0])
async def test_pauses_double_up_to_a_limit_and_are_drawn_from_their_upper_half(
    draw: float, double: ArangoDouble, make: MakeStore
) -> None:
    clock = FakeClock()
    store = make(Retries(attempts=9, within_s=1000), clock, lambda: draw)
    slept, said = await pauses(double, store, clock)
    assert slept == pytest.approx([(0.5 + draw / 2) * pause for pause in WHOLE])
    assert "given up after 9 tries: HTTP 503" in said


@one_version
async def test_each_pause_is_random(double: ArangoDouble, make: MakeStore) -> None:
    clock = FakeClock()
    draws: Iterator[float] = iter([1.0, 0.0, 0.5])
    slept, _ = await pauses(double, make(Retries(attempts=4), clock, lambda: next(draws)), clock)
    assert slept == pytest.approx([0.1, 0.1, 0.3])
    by_chance = make(Retries(attempts=4), clock)
    assert await pauses(double, by_chance, clock) != await pauses(double, by_chance, clock)


@one_version
async def test_no_other_try_is_made_once_the_time_is_over(double: ArangoDouble, make: MakeStore) -> None:
    clock = FakeClock()
    slept, said = await pauses(double, make(Retries(attempts=100, within_s=3), clock, lambda: 1.0), clock)
    assert slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert "given up after 6 tries" in said


@pytest.mark.e2e
@one_version
async def test_a_server_that_falls_silent_is_blamed_on_its_setting_until_it_was_met(
    double: ArangoDouble, make: MakeStore
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        words = f"{url}: ask for its version: given up after 1 try: no answer within 0.3 s; look at ARANGO_URL: is that"
        with pytest.raises(RetryableError, match=re.escape(words)):
            await make(Retries(answer_s=0.3), url=url).connect()
    store = make(Retries(answer_s=0.3, attempts=2))
    await store.connect()
    double.misbehaviour.add(Fault(kind="slow", seconds=1))
    with pytest.raises(RetryableError, match=r"given up after 2 tries: no answer within 0\.3 s$"):
        await store.get("workflow", "any")
