"""A manager inside this command, on the embedded default, for as long as the command needs one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from streamforge.cli import output
from streamforge.cli.exchange_child import running_exchange
from streamforge.cli.places import (
    check_origin,
    exchange_urls,
    keeps_store,
    known_origin,
    last_choice,
    note_origin,
    wanted_origin,
)
from streamforge.manager.origin import TEST
from streamforge_utils.model.errors import StreamForgeError

if TYPE_CHECKING:
    from streamforge.manager.api.tokens import Tokens
    from streamforge.manager.settings import ManagerSettings
    from streamforge.manager.workflow_service import WorkflowService
    from streamforge_utils.ports.instrumentation import Observer

HEARTBEAT_S = "0.5"
"""Workers tell their progress this often to somebody who watches a bar (where the settings do not say otherwise)."""


TIDY_S = 10.0
"""How long a command that has done its work may take to remove what ended workflows have left."""


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
    launcher: str | None = None,
    lock: bool = True,
    reconcile: bool = True,
    advertise: bool = True,
    overrides: dict[str, str] | None = None,
    tokens: Tokens | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[OwnManager]:
    """Run a manager on the folder `data` until the end of the block.

    lock: be the one manager of the folder and its store. reconcile: drive its workflows; else answer questions only.
    advertise: let other commands on the same folder find it. overrides: variables that go before the environment's.
    Raises ConfigError (also if another manager holds the folder or the store), CliError or RetryableError.
    """
    from streamforge import wiring
    from streamforge.manager.app import ports_of, running
    from streamforge.manager.persistence.driver_status import Place
    from streamforge.manager.persistence.installation import Claim
    from streamforge.manager.settings import load_manager, misspelt_settings
    from streamforge_utils.ports.clock import SystemClock
    from streamforge_utils.ports.instrumentation import NullObserver
    from streamforge_utils.runtime.kubernetes_settings import LAUNCHER
    from streamforge_utils.runtime.settings import DataSettings

    folder = wiring.make_data_directory(DataSettings(data_dir=data))
    urls = exchange_urls(exchange) if exchange != TEST else None
    origin = wanted_origin(exchange, urls) if reconcile else None
    async with AsyncExitStack() as stack:
        if lock:
            stack.enter_context(folder.lock(drives=reconcile))
        else:
            folder.open()
        if origin is not None and keeps_store(os.environ):
            check_origin(data, origin)
        ends: list[asyncio.Future[None]] = []
        if exchange == TEST:
            child = await stack.enter_async_context(running_exchange())
            urls = (child.url,)
            ends.append(child.lost)
        environ = {
            "STREAMFORGE_HEARTBEAT_SECONDS": HEARTBEAT_S,
            **os.environ,
            "STREAMFORGE_DATA_DIR": str(data),
            **(overrides or {}),
        }
        environ.pop("STREAMFORGE_EXCHANGE_URL", None)
        if launcher is not None:
            environ[LAUNCHER] = launcher
        if urls is not None:
            environ["STREAMFORGE_EXCHANGE_URL"] = ",".join(urls)
        settings: ManagerSettings = load_manager(environ)
        if reconcile:
            for problem in misspelt_settings(os.environ):
                output.say(f"careful: {problem}")
        claim = None
        place = wiring.store_place(settings.data)
        # The holder of the lock runs no manager, so no other process acts here for the moment.
        driven, shared = (lambda: False, False) if lock else (folder.driven, place.shared)
        driver = Place(where=place.where, driven=driven, shared=shared)

        def accepted() -> None:
            if origin is not None and (keeps_store(os.environ) or not _holds_store(data)):
                note_origin(data, origin)

        if lock:
            claim = Claim(
                name=f"`streamforge` (process {os.getpid()} on {socket.gethostname()}, data in {data})",
                where=place.where,
                elsewhere=place.elsewhere,
                switch="--exchange ",
                shared=place.shared,
                origin=origin,
                noted=_noted(data, place.shared),
                noted_choice=last_choice(data) if keeps_store(os.environ) else None,
                place=folder.place(),
                lease_s=settings.lease_seconds,
                drives=reconcile,
                tell=output.say,
                accepted=accepted,
            )
        ports = ports_of(settings, wiring, clock=SystemClock(), observer=observer or NullObserver())
        manager = await stack.enter_async_context(
            running(ports, settings, tokens=tokens, reconcile=reconcile, insist=True, claim=claim, place=driver)
        )
        if reconcile:
            for doubt in settings.doubts:
                output.say(f"careful: {doubt}")
        if lock and advertise:
            folder.advertise(manager.url)
        ended = await stack.enter_async_context(_first_end([manager.ended, *ends]))
        yield OwnManager(url=manager.url, ended=ended, exchange=settings.exchange.urls)
        if not reconcile:
            await _tidy(manager.manager, folder if not lock and not place.shared else None, alone=lock)


async def _tidy(manager: WorkflowService, folder: Any, *, alone: bool) -> None:
    """Make room, where no manager is there to do so. folder: to be locked for it; alone: all is ours already."""
    if not alone and folder is None:
        return  # a store that others reach needs a lease
    with suppress(StreamForgeError, TimeoutError):  # the next command tries again
        async with asyncio.timeout(TIDY_S):
            with nullcontext() if alone else folder.lock(drives=False):
                removed = await manager.tidy()
                if removed:
                    many = f"{removed} ended workflow{'' if removed == 1 else 's'}"
                    output.say(f"topics of {many} were kept long enough and are removed")


def _noted(data: Path, shared: bool) -> str | None:
    """Which exchange a note in the folder says that the store's data are of.

    About a store elsewhere it tells nothing where the folder holds one of its own.
    """
    return None if shared and _holds_store(data) else known_origin(data)


def _holds_store(data: Path) -> bool:
    from streamforge import wiring

    return (data / wiring.STORE).exists()


@asynccontextmanager
async def _first_end(ends: list[asyncio.Future[None]]) -> AsyncIterator[asyncio.Future[None]]:
    """What ends, and how, with the first of `ends`."""

    async def first() -> None:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            await one

    ended = asyncio.create_task(first())
    try:
        yield ended
    finally:
        if not ended.cancel() and not ended.cancelled():
            ended.exception()


def configure_logs(
    *, debug: bool, quiet: bool, launcher: str | None = None, environ: Mapping[str, str] | None = None
) -> None:
    """The manager's log lines go to stderr: none if `quiet`, warnings otherwise, all with `debug`.

    Their form and, too, whether all are shown is as `environ` (the process's) tells queue-manager; times are UTC.
    launcher: the option's, which goes before the environment's.
    Raises ConfigError.
    """
    import structlog

    from streamforge.manager.settings import ManagerSettings
    from streamforge_utils.runtime.environment import read, secrets_of, settings_error
    from streamforge_utils.runtime.kubernetes_settings import LAUNCHER
    from streamforge_utils.runtime.logs import Redactor

    problems: list[str] = []
    # Where the data lies is not the logs' matter, and need not be in the environment.
    given = {"STREAMFORGE_DATA_DIR": ".", **(os.environ if environ is None else environ)}
    if launcher is not None:
        given[LAUNCHER] = launcher
    settings = read(ManagerSettings, given, problems)
    if settings is None:
        raise settings_error(problems)
    debug = debug or settings.debug
    console = settings.log_format == "console" or (settings.log_format is None and sys.stderr.isatty())
    level = logging.DEBUG if debug else logging.CRITICAL if quiet else logging.WARNING
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            Redactor(secrets_of(settings)).processor,
            structlog.dev.ConsoleRenderer(colors=False) if console else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [logging.NullHandler()] if quiet and not debug else [logging.StreamHandler(sys.stderr)]
    root.setLevel(logging.INFO if debug else logging.WARNING)
