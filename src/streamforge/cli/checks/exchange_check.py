"""The check of the exchange: whether it answers, and whether its clock and this machine's agree."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from streamforge.cli import terminal
from streamforge.cli.checks.findings import Subject, careful, fails, works
from streamforge.cli.exchange_process import running_exchange
from streamforge.cli.places import EXCHANGE_VARIABLE, exchange_urls, last_choice
from streamforge.manager.origin import TEST
from streamforge_utils.model.addresses import shown_address
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.preflight import Finding

SKEW_S = 5.0
"""By how much the two clocks may differ."""


async def check_exchange(subject: Subject) -> AsyncIterator[Finding]:
    """Whether the exchange that a load would use answers."""
    from streamforge import wiring
    from streamforge_utils.runtime.environment import load
    from streamforge_utils.runtime.settings import ExchangeSettings

    choice = _choice(subject)
    async with AsyncExitStack() as stack:
        urls = exchange_urls(choice) if choice != TEST else None
        if choice == TEST:
            urls = ((await stack.enter_async_context(running_exchange())).url,)
        environ = {**os.environ, "STREAMFORGE_REQUEST_ATTEMPTS": "2", "STREAMFORGE_REQUEST_TIMEOUT_SECONDS": "5"}
        environ.pop(EXCHANGE_VARIABLE, None)
        if urls is not None:
            environ[EXCHANGE_VARIABLE] = ",".join(urls)
        settings = load(ExchangeSettings, environ)
        named = ", ".join(map(shown_address, settings.urls))
        exchange = wiring.make_exchange(settings)
        stack.push_async_callback(exchange.close)
        began = time.perf_counter()
        try:
            theirs_ms = await exchange.server_time()
        except StreamForgeError as error:
            told = "is there a way to the internet from here? without one, use --exchange test"
            yield fails("exchange", f"{named} does not answer: {str(error).rstrip('.')}", told)
            return
        took = time.perf_counter() - began
    skew_s = abs(time.time() - theirs_ms / 1000)
    if skew_s > SKEW_S + took:
        told = f"{named} answers, but its clock and this machine's differ by {terminal.duration(skew_s)}"
        yield careful("exchange", told, "set this machine's clock")
    else:
        yield works("exchange", f"{named} answered in {took * 1000:.0f} ms")


def _choice(subject: Subject) -> str | None:
    """What `--exchange` says, else the exchange of the data where the environment names none."""
    if subject.where.exchange is not None or os.environ.get(EXCHANGE_VARIABLE):
        return subject.where.exchange
    try:
        return last_choice(subject.folder)
    except StreamForgeError:
        return None
