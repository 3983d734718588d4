"""Runs queue-manager: `python -m streamforge.manager [--debug]`; its settings are the environment's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

# First, as it imports structlog without rich: a tenth of the start.
from streamforge_utils.runtime.telemetry import logs  # noqa: F401

# isort: split
import structlog

from streamforge.manager.api.tokens import Tokens
from streamforge.manager.manager_settings import ManagerSettings, load_manager
from streamforge.manager.origin import BINANCE, Origin, origin_of
from streamforge.manager.running_manager import until_stopped
from streamforge.manager.startup import Starter, configure_logs, data_directory_of, started
from streamforge_utils.model.errors import ConfigError, StreamForgeError
from streamforge_utils.plugins import load_plugins
from streamforge_utils.ports.job_settings import with_launcher
from streamforge_utils.runtime.telemetry.metrics import Metrics, MetricsServer

NAME = "queue-manager"
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
        for problem in settings.misspelt:
            structlog.get_logger().warning("a setting may be misspelt", problem=problem)
        for problem in settings.warnings:
            structlog.get_logger().warning("workers may reach nothing", problem=problem)
        tokens = Tokens.read(os.environ)
        # Around the loop: at its end it waits for threads, which may still write in the data directory.
        with data_directory_of(settings.data) as directory:
            asyncio.run(_serve(settings, tokens, directory))
    except ConfigError as error:
        _tell(str(error))
        return EXIT_CONFIG
    except StreamForgeError as error:
        _tell(str(error))
        return EXIT_FAILED
    return 0


async def _serve(settings: ManagerSettings, tokens: Tokens | None, directory: Any) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starter = Starter(name=NAME, switch="STREAMFORGE_EXCHANGE_URL=", tell=_tell)
    exchange = origin_of(None, settings.exchange.urls)
    origin = Origin(exchange, None if exchange == BINANCE else ",".join(settings.exchange.urls))
    metrics = Metrics(NAME)
    with closing(MetricsServer(metrics, settings.metrics_host, settings.metrics_port)) as scraped:
        async with started(settings, starter, directory, observer=metrics, origin=origin, tokens=tokens) as manager:
            data = "Kafka and ArangoDB" if directory is None else settings.data.data_dir
            print(
                f"{NAME} serves {manager.url}, metrics on port {scraped.port}, data in {data}",
                file=sys.stderr,
                flush=True,
            )
            await until_stopped(stop, manager.ended)


def _tell(text: str) -> None:
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
