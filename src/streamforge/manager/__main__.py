"""Runs queue-manager: `python -m streamforge.manager [--debug]`; its settings are the environment's."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from streamforge import wiring
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.bootstrap import Ports, running
from streamforge.manager.execution.exchange_limits import ExchangeWaits
from streamforge.manager.manager_settings import ManagerSettings, load_manager, misspelt_settings
from streamforge.manager.origin import BINANCE, Origin, origin_of
from streamforge.manager.persistence.installation import Claim
from streamforge_utils.model.errors import ConfigError, StreamForgeError
from streamforge_utils.plugins import load_plugins
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.exchange import Identity
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.job_settings import with_launcher
from streamforge_utils.runtime.environment import secrets_of
from streamforge_utils.runtime.logs import Redactor
from streamforge_utils.runtime.metrics import Metrics, MetricsServer

EXIT_FAILED, EXIT_CONFIG = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. arguments: without them, those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given not in ([], ["--debug"]):
        print("usage: python -m streamforge.manager [--debug]", file=sys.stderr)
        return EXIT_CONFIG
    try:
        load_plugins(os.environ)
        environ = with_launcher(os.environ)
        settings = load_manager({**environ, "STREAMFORGE_DEBUG": "true"} if given else environ)
        configure_logs(settings)
        for problem in misspelt_settings(os.environ):
            structlog.get_logger().warning("a setting may be misspelt", problem=problem)
        for problem in settings.warnings:
            structlog.get_logger().warning("workers may reach nothing", problem=problem)
        tokens = Tokens.read(os.environ)
        with _held(settings) as place:
            asyncio.run(_serve(settings, tokens, _claim(settings, place)))
    except ConfigError as error:
        print(f"queue-manager: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except StreamForgeError as error:
        print(f"queue-manager: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


@contextmanager
def _held(settings: ManagerSettings) -> Iterator[str]:
    """Hold the lock of the data directory, if there is one; gives what names that folder."""
    if settings.data.data_dir is None:
        yield ""
        return
    folder = wiring.make_data_directory(settings.data)
    with folder.lock():
        yield folder.place()


def _claim(settings: ManagerSettings, place: str) -> Claim:
    store = wiring.store_place(settings.data)
    origin = origin_of(None, settings.exchange.urls)
    return Claim(
        name=f"queue-manager (process {os.getpid()} on {socket.gethostname()})",
        where=store.where,
        elsewhere=store.elsewhere,
        switch="STREAMFORGE_EXCHANGE_URL=",
        shared=store.shared,
        origin=Origin(origin, None if origin == BINANCE else ",".join(settings.exchange.urls)),
        place=place,
        lease_s=settings.lease_seconds,
        tell=lambda text: print(f"queue-manager: {text}", file=sys.stderr, flush=True),
    )


def configure_logs(settings: ManagerSettings, level: int | None = None) -> None:
    """Lines on stderr, as the settings say; a traceback shows no values, which may be secrets.

    level: the least that is shown; None: as the settings say.
    """
    if level is None:
        level = logging.DEBUG if settings.debug else logging.INFO
    redactor = Redactor(secrets_of(settings))
    console = settings.log_format == "console" or (settings.log_format is None and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redactor.processor,
            structlog.dev.ConsoleRenderer(colors=False) if console else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def ports_of(settings: ManagerSettings, observer: Observer, clock: Clock | None = None) -> Ports:
    """The adapters that `settings` name. Raises ConfigError or RetryableError."""
    clock = clock or SystemClock()
    # The manager asks little; the loaders have their own share of the exchange's weight.
    exchange = msgspec.structs.replace(settings.exchange, weight_per_minute=settings.policy.manager_weight_per_minute)
    waits, identity = ExchangeWaits(observer), Identity(settings.exchange.identity or None)
    store = wiring.make_store(settings.data, observer=observer)
    return Ports(
        bus=wiring.make_bus(settings.data, clock=clock, observer=observer),
        store=store,
        launcher=wiring.make_launcher(settings.data, settings.launcher, store=store, clock=clock, observer=observer),
        exchange=wiring.make_exchange(exchange, clock=clock, observer=waits, identity=identity),
        exchange_waits=waits,
        identity=identity,
        clock=clock,
        observer=observer,
    )


async def _serve(settings: ManagerSettings, tokens: Tokens | None, claim: Claim) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics("queue-manager")
    scraped = MetricsServer(metrics, settings.metrics_host, settings.metrics_port)
    try:
        async with running(ports_of(settings, metrics), settings, tokens=tokens, claim=claim) as manager:
            where = f"data in {settings.data.data_dir}"
            if settings.data.data_dir is None:
                where = "data in Kafka and ArangoDB"
            else:
                wiring.make_data_directory(settings.data).advertise(manager.url)
            print(
                f"queue-manager serves {manager.url}, metrics on port {scraped.port}, {where}",
                file=sys.stderr,
                flush=True,
            )
            stopping = asyncio.create_task(stop.wait())
            waited: set[asyncio.Future[Any]] = {stopping, manager.ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if manager.ended.done():
                await manager.ended
    finally:
        scraped.close()


if __name__ == "__main__":
    raise SystemExit(main())
