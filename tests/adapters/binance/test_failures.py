"""What the client does about each kind of bad answer, against a server that gives it."""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Callable

import pytest
from aiohttp import web

from streamforge_utils.adapters.binance import BinanceExchange, Retries, Transport
from streamforge_utils.adapters.binance.binance_rules import TIME
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.instrumentation import NullObserver
from tests.adapters.binance.scripted import (
    NOW,
    OPENS,
    SPAN,
    START,
    SYMBOL,
    Bench,
    Handler,
    always,
    answer,
    bench,
    error,
    html,
    listed,
    opens,
    row,
    rows,
)
from tests.doubles.candles import candles_of
from tests.doubles.clock import FakeClock
from tests.limits import LIMIT_S

KEY = "k" * 40


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"[[17")
    assert request.transport is not None
    request.transport.abort()
    return response


async def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


TRANSIENT: dict[str, Handler] = {
    "500": html(500),
    "502": html(502),
    "503": html(503),
    "504 with -1007": always(lambda: error(504, -1007, "Timeout waiting for response from backend server.")),
    "-1000": always(lambda: error(400, -1000, "An unknown error occurred while processing the request.")),
    "-1001": always(lambda: error(400, -1001, "Internal error; unable to process your request.")),
    "-1006": always(lambda: error(400, -1006, "An unexpected response was received.")),
    "-1008": always(lambda: error(503, -1008, "Server is currently overloaded.")),
    "-1016": always(lambda: error(503, -1016, "This service is no longer available.")),
    "408": html(408),
    "html with 200": html(200),
    "an error with 200": always(lambda: answer({"code": 0, "msg": "?"})),
    "cut in the middle": _cut,
    "reset": _reset,
    "json that breaks off": always(lambda: answer(b'[[1722510000000,"1')),
    "no list": always(lambda: answer(b'"hello"')),
    "not utf-8": always(lambda: answer(b'[["\xff\xfe"]]')),
    "bytes that are no gzip": always(lambda: answer(b"no gzip", Content_Encoding="gzip")),
    "too large": always(lambda: answer(b"[" + b" " * (8 * 1024 * 1024) + b"]")),
    "a row with a nan": always(lambda: answer([row(START, high="nan")])),
    "204": always(lambda: web.Response(status=204)),
    "429 without a time": always(lambda: error(429, -1003, "Too many requests queued.")),
    "429 with a time": always(lambda: error(429, -1003, "Too many requests queued.", Retry_After="7")),
}


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_a_fault_is_asked_through_while_it_passes_and_named_where_it_lasts(fault: str) -> None:
    async with bench(NOW, retries=Retries(attempts=3), api_key=KEY) as made:
        listed(made)
        made.server.expect("klines", TRANSIENT[fault], TRANSIENT[fault])
        assert await opens(made) == OPENS
        assert made.server.paths().count("klines") == 3
        # aiohttp itself repeats a GET at once if a kept connection was reset
        retries = made.observer.counts["exchange_retries_total{endpoint=klines}"]
        assert retries == 2 or (retries == 1 and fault == "reset")
        assert made.observer.waits[-1] == (None, None)

        made.server.asked.clear()
        made.server.expect("klines", *[TRANSIENT[fault]] * 9)
        with pytest.raises(
            RetryableError, match=r"klines BTCUSDT 1m 2024-08-01T11:00Z.*given up after 3 tries in \d+ s: "
        ) as caught:
            await opens(made)
        assert made.server.paths().count("klines") in ((3, 4, 5, 6) if fault == "reset" else (3,))
        assert len(str(caught.value)) < 700
        assert KEY not in str(caught.value)
        assert made.observer.waits[-1] == (None, None), "what it waited for is no longer shown"


@pytest.mark.e2e
async def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    async def stall(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with bench(NOW, retries=Retries(attempts=2, timeout_s=0.5)) as made:
        listed(made)
        await made.client.server_time()
        made.server.expect("klines", stall, stall)
        advice = r"no answer within 0\.5 s from http://\S+; see whether it is reached from here, then try again$"
        with pytest.raises(RetryableError, match=advice):
            await opens(made)


async def test_waits_grow_and_are_capped() -> None:
    async with bench(NOW, retries=Retries(attempts=7, base_s=1, cap_s=10)) as made:
        listed(made)
        made.server.expect("klines", *[html(500)] * 6)
        await opens(made)
        assert made.clock.slept == [0.75, 1.5, 3, 6, 7.5, 7.5]  # of 1, 2, 4, 8, 10, …: the jitter of the bench is 0.5
        reasons = {reason for reason, _ in made.observer.waits if reason}
        assert reasons == {"another try: HTTP 500: the exchange failed"}


def _waits_for(made: Bench) -> str | None:
    return made.observer.waits[-1][0]


async def test_a_failure_is_reported_until_a_request_succeeds() -> None:
    async with bench(NOW, retries=Retries(attempts=4, base_s=1)) as made:
        listed(made)
        await made.client.server_time()
        seen: list[tuple[str | None, int | None]] = []

        async def failing(_: web.Request) -> web.StreamResponse:
            seen.append(made.observer.waits[-1] if made.observer.waits else (None, None))
            return web.Response(status=500 if len(seen) < 3 else 200, text="[]")

        made.server.expect("klines", failing, failing, failing)
        await opens(made)
        told = ("another try: HTTP 500: the exchange failed", None)
        assert seen == [(None, None), told, told]
        assert made.observer.waits[-1] == (None, None)


async def test_a_failure_of_one_request_is_over_once_another_succeeds() -> None:
    async with bench(NOW, retries=Retries(attempts=3, base_s=1)) as made:
        listed(made)
        await made.client.server_time()
        again, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_: web.Request) -> web.StreamResponse:
            again.set()
            await go_on.wait()
            return answer([])

        made.server.expect("klines", html(500), slow)
        async with asyncio.timeout(LIMIT_S):
            asking = asyncio.ensure_future(opens(made))
            await again.wait()
            assert _waits_for(made) == "another try: HTTP 500: the exchange failed"
            await opens(made)
            assert _waits_for(made) is None
            go_on.set()
            await asking


PERMANENT: dict[str, tuple[Callable[[], web.Response], str]] = {
    "-1121": (lambda: error(400, -1121, "Invalid symbol."), "does not list this symbol"),
    "-1120": (lambda: error(400, -1120, "Invalid interval."), "choose an interval"),
    "-1100": (lambda: error(400, -1100, "Illegal characters found in a parameter."), "please report it"),
    "-1127": (lambda: error(400, -1127, "More than 24 hours."), "shorter time range"),
    "404": (lambda: web.Response(status=404, text="nothing"), "base URL"),
    "301": (lambda: web.Response(status=301, headers={"Location": "http://127.0.0.1:1/"}), "base URL"),
    "401": (lambda: error(401, -2014, "API-key format invalid."), "API key"),
    "451": (lambda: error(451, 0, "Service unavailable from a restricted location"), "legal reasons.*another"),
    "400": (lambda: web.Response(status=400, text="bad"), "refuses"),
}


@pytest.mark.parametrize("fault", PERMANENT)
async def test_what_no_repetition_can_help_fails_at_once(fault: str) -> None:
    make, says = PERMANENT[fault]
    async with bench(NOW) as made:
        listed(made)
        made.server.expect("klines", always(make))
        with pytest.raises(PermanentError, match=f"^klines BTCUSDT 1m .*{says}"):
            await opens(made)
        assert made.server.paths().count("klines") == 1
        assert made.clock.slept == []


async def test_an_alternate_stands_in_for_a_base_url_that_cannot_be_reached() -> None:
    async with bench(NOW, before=(f"http://127.0.0.1:{unused_port()}",)) as made:
        listed(made)
        assert await opens(made) == OPENS
        assert made.clock.slept == []
        assert made.observer.counts["exchange_retries_total{endpoint=time}"] == 1
        await opens(made)
        assert sum(made.observer.counts[f"exchange_retries_total{{endpoint={n}}}"] for n in ("time", "klines")) == 1


async def test_a_server_that_shuts_down_is_left_for_the_alternate() -> None:
    async with bench(NOW) as first, bench(NOW, before=(first.url,)) as made:
        listed(made)
        first.server.expect("time", always(lambda: error(503, -1016, "This service is no longer available.")))
        assert await opens(made) == OPENS
        assert first.server.paths() == ["time"]
        assert made.server.paths() == ["time", "klines"]


async def test_no_server_at_all_is_retryable_and_says_where() -> None:
    port = unused_port()
    urls = [f"http://user:secret@127.0.0.1:{port}"]
    client = BinanceExchange(Transport(urls, weight_limit=100, clock=FakeClock(), observer=NullObserver()))
    with pytest.raises(RetryableError, match=f"no connection to http://127.0.0.1:{port}") as caught:
        await client.server_time()
    assert "secret" not in str(caught.value)
    await client.close()


@pytest.mark.parametrize("url", ["", "localhost:80", "ftp://host", "http://", "https://u:secret@host?x=1", "http://[x"])
async def test_a_base_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match="base URL") as caught:
        Transport([url], weight_limit=1, clock=FakeClock(), observer=NullObserver())
    assert "secret" not in str(caught.value)


async def test_a_closed_client_refuses() -> None:
    async with bench(NOW) as made:
        await made.client.close()
        with pytest.raises(PermanentError, match="closed"):
            await opens(made)


async def test_the_key_travels_in_its_header_alone() -> None:
    async with bench(NOW) as made:
        listed(made)
        transport = Transport(
            [f"{made.url}/proxy/"],  # a path before the exchange's own
            weight_limit=100,
            clock=made.clock,
            observer=NullObserver(),
            api_key=Secret(KEY),
            jitter=lambda: 0.5,
        )
        client = BinanceExchange(transport)
        await client.server_time()
        made.server.expect("klines", always(lambda: error(400, -9999, f"you sent {KEY}")))
        with pytest.raises(PermanentError, match=r"you sent \*\*\*"):
            await candles_of(client, SYMBOL, Interval.M1, SPAN)
        await client.close()
        assert [request.headers["X-MBX-APIKEY"] for request in made.server.asked] == [KEY, KEY]
        assert [str(request.rel_url.path) for request in made.server.asked] == [
            "/proxy/api/v3/time",
            "/proxy/api/v3/klines",
        ]
        assert all(KEY not in str(request.url) for request in made.server.asked)
        assert KEY not in repr(client) + repr(vars(client)) + repr(transport)
        await made.client.server_time()
        assert "X-MBX-APIKEY" not in made.server.asked[-1].headers


async def test_packed_answers_are_accepted() -> None:
    import gzip

    import msgspec

    async with bench(NOW) as made:
        packed = gzip.compress(msgspec.json.encode(rows(START, 3)))
        made.server.expect("klines", always(lambda: answer(packed, Content_Encoding="gzip")))
        assert await opens(made) == OPENS
        assert made.server.asked[-1].headers["Accept-Encoding"] == "gzip"


async def test_at_most_eight_requests_are_in_flight() -> None:
    under_way: list[int] = [0, 0]

    async def slow(_: web.Request) -> web.StreamResponse:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(0.01)
        under_way[0] -= 1
        return answer([])

    async with bench(NOW) as made:
        listed(made)
        made.server.expect("klines", *[slow] * 30)
        await asyncio.gather(*(opens(made) for _ in range(30)))
        assert under_way == [0, 8]


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class _Made:
    """What is made of an answer."""


@pytest.mark.usefixtures("uncollected")
async def test_what_an_answer_behind_a_failure_gave_is_in_no_cycle() -> None:
    async with bench(NOW) as made:
        transport = Transport([made.url], weight_limit=100, clock=made.clock, observer=NullObserver())
        made.server.expect("time", html(503))
        found = await transport.get(TIME, {}, "the time", lambda _: _Made())
        assert made.server.paths() == ["time", "time"]
        left = weakref.ref(found)
        del found
        assert left() is None
        await transport.close()
