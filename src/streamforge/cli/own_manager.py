"""The manager that a command runs in its own process, for as long as it needs one."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
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
from streamforge.manager.__main__ import configure_logs as configure
from streamforge.manager.__main__ import ports_of
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.bootstrap import first_end, running
from streamforge.manager.manager_settings import ManagerSettings, load_manager, misspelt_settings
from streamforge.manager.origin import TEST, Origin
from streamforge.manager.persistence.installation import Claim, Place
from streamforge.manager.workflow_service import WorkflowService
from streamforge.wiring import StorePlace
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.runtime.environment import read, settings_error
from streamforge_utils.runtime.settings import DataSettings

HEARTBEAT_S = "0.5"
"""How often workers report their progress, where the settings do not say otherwise."""


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
    overrides: Mapping[str, str] | None = None,
    tokens: Tokens | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[OwnManager]:
    """Run a manager on the folder `data` until the end of the block.

    lock: be the one manager of the folder and its store. drives: drive its workflows, and let other commands on the
    same folder find it; else answer questions only. overrides: variables that go before the environment's.
    Raises ConfigError (also if another manager holds the folder or the store), CliError or RetryableError.
    """
    folder = wiring.make_data_directory(DataSettings(data_dir=data))
    urls = exchange_urls(exchange) if exchange != TEST else None
    origin = wanted_origin(exchange, urls) if drives else None
    async with AsyncExitStack() as stack:
        if lock:
            stack.enter_context(folder.lock(drives=drives))
        else:
            folder.open()
        if origin is not None and keeps_store(os.environ):
            check_origin(data, origin)
        ends: list[asyncio.Future[None]] = []
        if exchange == TEST:
            child = await stack.enter_async_context(running_exchange())
            urls = (child.url,)
            ends.append(child.lost)
        environ = {"STREAMFORGE_HEARTBEAT_SECONDS": HEARTBEAT_S, **os.environ, **(overrides or {})}
        environ[DATA_VARIABLE] = str(data)
        environ.pop(EXCHANGE_VARIABLE, None)
        if urls is not None:
            environ[EXCHANGE_VARIABLE] = ",".join(urls)
        settings: ManagerSettings = load_manager(environ)
        if drives:
            for problem in misspelt_settings(os.environ):
                terminal.say(f"careful: {problem}")
        store = wiring.store_place(settings.data)
        # The holder of the lock runs no manager, so no other process acts here for the moment.
        driven, shared = (lambda: False, False) if lock else (folder.driven, store.shared)
        manager = await stack.enter_async_context(
            running(
                ports_of(settings, observer or NullObserver()),
                settings,
                tokens=tokens,
                reconcile=drives,
                insist=True,
                claim=_claim(data, folder.place(), store, origin, settings, drives=drives) if lock else None,
                place=Place(where=store.where, driven=driven, shared=shared),
            )
        )
        if drives:
            for doubt in settings.warnings:
                terminal.say(f"careful: {doubt}")
        if lock and drives:
            folder.advertise(manager.url)
        ended = await stack.enter_async_context(first_end([manager.ended, *ends]))
        yield OwnManager(url=manager.url, ended=ended, exchange=settings.exchange.urls)
        if not drives:
            await _tidy(manager.manager, folder if not lock and not store.shared else None, alone=lock)


def _claim(
    data: Path, place: str, store: StorePlace, origin: Origin | None, settings: ManagerSettings, *, drives: bool
) -> Claim:
    """What the manager asks of its store. place: what names the folder `data`."""

    def accepted() -> None:
        if origin is not None and (keeps_store(os.environ) or not (data / wiring.STORE).exists()):
            note_origin(data, origin)

    return Claim(
        name=f"`streamforge` (process {os.getpid()} on {socket.gethostname()}, data in {data})",
        where=store.where,
        elsewhere=store.elsewhere,
        switch="--exchange ",
        shared=store.shared,
        origin=origin,
        place=place,
        lease_s=settings.lease_seconds,
        drives=drives,
        tell=terminal.say,
        accepted=accepted,
    )


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
                if removed:
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
    configure(settings, level=logging.DEBUG if debug else logging.CRITICAL if quiet else logging.WARNING)
    root = logging.getLogger()
    root.handlers[:] = [logging.NullHandler()] if quiet and not debug else [logging.StreamHandler(sys.stderr)]
    root.setLevel(logging.INFO if debug else logging.WARNING)
