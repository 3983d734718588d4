"""The manager that a command runs in its own process, for as long as it needs one."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import msgspec

from streamforge import wiring
from streamforge.cli import terminal
from streamforge.cli.exchange_process import running_exchange
from streamforge.cli.places import (
    DATA_VARIABLE,
    EXCHANGE_VARIABLE,
    check_origin,
    exchange_urls,
    keeps_store,
    note_origin,
    wanted_origin,
)
from streamforge.manager import startup
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.manager_settings import ManagerSettings, load_manager
from streamforge.manager.origin import TEST
from streamforge.manager.running_manager import first_end
from streamforge.manager.startup import Starter, data_directory_of, started
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.runtime.life.environment import read, settings_error
from streamforge_utils.runtime.life.settings import DataSettings

ARCHIVE_VARIABLE = "STREAMFORGE_ARCHIVE_URL"
HEARTBEAT_S = "0.5"
"""How often workers of a command report their progress, where the settings do not say otherwise. A manager that stays
(`up`) has many workers, for which that is too often."""


TIDY_S = 10.0
"""How long a command may take, after its work, to remove topics of ended workflows."""


class OwnManager(msgspec.Struct, frozen=True):
    """A manager that runs here. exchange: its base URLs.

    ended: completes when it has failed, or its test exchange has.
    """

    url: str
    ended: asyncio.Future[None]
    exchange: tuple[str, ...]


@asynccontextmanager
async def own_manager(
    data: Path,
    *,
    exchange: str | None = None,
    lock: bool = True,
    drives: bool = True,
    fires: bool = False,
    asks: bool = True,
    overrides: Mapping[str, str] | None = None,
    tokens: Tokens | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[OwnManager]:
    """Run a manager on the folder `data` until the end of the block.

    lock: be the one manager of the folder and its store. drives: drive its workflows, and let other commands on the
    same folder find it; else answer questions only. fires: fire its schedules too.
    asks: `exchange` is the one that the data come from. overrides: variables that go before the environment's.
    Raises ConfigError (also if another manager holds the folder or the store), CliError or RetryableError.
    """
    urls = exchange_urls(exchange) if exchange != TEST else None
    origin = wanted_origin(exchange, urls) if drives else None
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(data_directory_of(DataSettings(data_dir=data), lock=lock, drives=drives))
        if origin is not None and keeps_store(os.environ):
            check_origin(data, origin)
        ends: list[asyncio.Future[None]] = []
        if exchange == TEST:
            child = await stack.enter_async_context(running_exchange(data=data if drives else None))
            urls = (child.url,)
            ends.append(child.lost)
        environ = {} if fires else {"STREAMFORGE_HEARTBEAT_SECONDS": HEARTBEAT_S}
        environ |= {**os.environ, **(overrides or {})}
        environ[DATA_VARIABLE] = str(data)
        environ.pop(EXCHANGE_VARIABLE, None)
        if urls is not None:
            environ[EXCHANGE_VARIABLE] = ",".join(urls)
        if exchange == TEST and urls is not None:
            environ[ARCHIVE_VARIABLE] = urls[0]  # files of another exchange would be mixed with its records
        settings: ManagerSettings = load_manager(environ)
        if drives:
            for problem in settings.misspelt:
                terminal.say(f"careful: {problem}")

        def accepted() -> None:
            if origin is not None and (keeps_store(os.environ) or not (data / wiring.STORE).exists()):
                note_origin(data, origin)

        manager = await stack.enter_async_context(
            started(
                settings,
                starter(terminal.PROGRAM, about=f", data in {data}"),
                directory,
                observer=observer or NullObserver(),
                origin=origin,
                accepted=accepted,
                tokens=tokens,
                lock=lock,
                drives=drives,
                fires=fires,
                insist=True,
                asks=asks,
            )
        )
        if drives:
            for doubt in settings.warnings:
                terminal.say(f"careful: {doubt}")
        ended = await stack.enter_async_context(first_end([manager.ended, *ends]))
        yield OwnManager(url=manager.url, ended=ended, exchange=settings.exchange.urls)
        if not drives:
            shared = wiring.store_place(settings.data).shared
            await _tidy(manager.manager, directory if not lock and not shared else None, alone=lock)


def starter(command: str, *, about: str = "") -> Starter:
    """A command as the program that starts a manager. about: what else identifies its process."""
    return Starter(name=f"`{command}`", switch="--exchange ", tell=terminal.say, about=about)


async def _tidy(manager: WorkflowService, folder: Any, *, alone: bool) -> None:
    """Remove old topics of ended workflows, where no manager does so.

    folder: to be locked for it. alone: this process holds the lock already.
    """
    if not alone and folder is None:
        return  # a store that others reach needs a lease
    with suppress(StreamForgeError, TimeoutError):  # the next command tries again
        async with asyncio.timeout(TIDY_S):
            with nullcontext() if alone else folder.lock(drives=False):
                removed = await manager.tidy()
                if removed and terminal.debugging():
                    told = terminal.many(removed, "ended workflow")
                    terminal.say(f"topics of {told} were kept long enough and are removed")


def configure_logs(*, debug: bool, quiet: bool, environ: Mapping[str, str] | None = None) -> None:
    """The manager's log lines go to stderr: none if `quiet`, warnings otherwise, all with `debug`.

    Their form and, too, whether all are shown is as `environ` (the process's) tells queue-manager; times are UTC.
    Raises ConfigError.
    """
    problems: list[str] = []
    # Where the data lies is not the logs' matter, and need not be in the environment.
    settings = read(ManagerSettings, {DATA_VARIABLE: ".", **(os.environ if environ is None else environ)}, problems)
    if settings is None:
        raise settings_error(problems)
    debug = debug or settings.debug
    startup.configure_logs(settings, level=logging.DEBUG if debug else logging.CRITICAL if quiet else logging.WARNING)
    root = logging.getLogger()
    root.handlers[:] = [logging.NullHandler()] if quiet and not debug else [logging.StreamHandler(sys.stderr)]
    root.setLevel(logging.INFO if debug else logging.WARNING)
