"""The check of the exchange's streams: a connection is made, a stream acknowledged, and the connection ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from streamforge import wiring
from streamforge.cli.checks.place_checks import Subject, chosen_exchange
from streamforge.manager.health.findings import careful, fails, works
from streamforge.manager.origin import BINANCE, source_of
from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, RefusedForNow, RetryableError
from streamforge_utils.model.secret import shown_address
from streamforge_utils.ports.job_settings import LauncherSettings, with_launcher
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.runtime.life.environment import load, read
from streamforge_utils.runtime.live.stream_settings import StreamSettings

PART = "streams"
STREAM = "btcusdt@trade"
"""The subscription is acknowledged even if the symbol is not traded."""
ANSWER_S = 15.0
_IN_PODS = "loaders connect from their pods, where the way and the CA may be others (STREAMFORGE_K8S_STREAM_CA_SECRET)"
_REFUSED = "it is reached, and takes no connection now: try again in a few minutes"
_NEEDED = "only live types (ws_…) need them: name them in STREAMFORGE_STREAM_URL"


async def check_streams(subject: Subject) -> AsyncIterator[Finding]:
    """Whether the streams that a live load would use can be had; it takes one of the connections of the address."""
    async with AsyncExitStack() as stack:
        exchange = await chosen_exchange(subject, stack)
        settings = load(StreamSettings, os.environ)
        given = settings.url or settings.other_url
        launching = read(LauncherSettings, with_launcher(subject.where.environ()), []) or LauncherSettings()
        next_step = ""
        if launching.in_kubernetes:
            next_step = _IN_PODS
        elif not given and source_of(exchange.urls).exchange != BINANCE:
            next_step = _NEEDED  # a server that is not Binance may have history alone
        wrong = careful if next_step else fails
        began = time.perf_counter()
        try:
            stream = wiring.make_stream(settings, exchange)
            stack.push_async_callback(stream.close)
            async with asyncio.timeout(ANSWER_S):
                connection = await stream.connect((STREAM,))
        except (ConfigError, PermanentError, BannedError) as error:
            yield wrong(PART, str(error), next_step)
        except RefusedForNow as error:
            yield wrong(PART, str(error), next_step or _REFUSED)
        except (RetryableError, TimeoutError) as error:
            told = str(error) or f"no answer within {ANSWER_S:g} s"
            yield wrong(PART, told, next_step or _way(given or exchange.urls[0]))
        else:
            took_s = time.perf_counter() - began
            await connection.abort()
            where = shown_address(given) if given else f"those of {', '.join(map(shown_address, exchange.urls))}"
            yield works(PART, f"{where}: a connection was made, and a stream acknowledged, in {took_s * 1000:.0f} ms")


def _way(address: str) -> str:
    """What to do where nothing is reached: a proxy that is meant for all programs is no way of the streams.

    address: of the streams, or of the exchange whose they are; it may be one that needs no proxy (`NO_PROXY`).
    """
    proxies = {} if proxy_bypass(urlsplit(address).hostname or "") else getproxies_environment()
    given = next((proxies[name] for name in ("https", "all", "http") if proxies.get(name)), "")
    if not given:
        return "is there a way there from here? STREAMFORGE_STREAM_URL names another one"
    shown = shown_address(given if "://" in given else f"http://{given}")
    return (
        f"the proxy of the environment ({shown}) is not used, and may be the only way out: let it, or a forwarder of "
        "TCP that knows it, listen for the streams, and name that address in STREAMFORGE_STREAM_URL"
    )
