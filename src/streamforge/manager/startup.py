"""The one way to start a manager from its settings: for queue-manager, and for a command that runs its own."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import msgspec
import structlog

from streamforge import wiring
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.engine.execution.exchange_limits import ExchangeWaits
from streamforge.manager.health.shown_settings import technologies
from streamforge.manager.manager_settings import ManagerSettings
from streamforge.manager.origin import Origin
from streamforge.manager.persistence.installation import Claim, Place
from streamforge.manager.running_manager import Ports, Running, running
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.exchange import Identity
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.runtime.life.environment import secrets_of
from streamforge_utils.runtime.life.settings import DataSettings
from streamforge_utils.runtime.telemetry.logs import Redactor


class Starter(msgspec.Struct, frozen=True, kw_only=True):
    """The program that starts a manager.

    name: for people. switch: text put before the exchange's name in advice, such as `--exchange `. tell: prints a line
    for a person. about: what else identifies this process.
    """

    name: str
    switch: str
    tell: Callable[[str], object]
    about: str = ""


def claim_on(data: DataSettings, starter: Starter, **terms: Any) -> Claim:
    """The claim of a process on the store that `data` names. terms: the fields that do not follow from these."""
    store = wiring.store_place(data)
    return Claim(
        name=f"{starter.name} (process {os.getpid()} on {socket.gethostname()}{starter.about})",
        where=store.where,
        elsewhere=store.elsewhere,
        shared=store.shared,
        switch=starter.switch,
        tell=starter.tell,
        **terms,
    )


@contextmanager
def data_directory_of(data: DataSettings, *, lock: bool = True, drives: bool = True) -> Iterator[Any]:
    """The data directory, which is made if it is not there; None where the settings name none.

    lock: keep other managers off it until the end of the block. drives: as in `Claim`. Raises ConfigError.
    """
    if data.data_dir is None:
        yield None
        return
    directory = wiring.make_data_directory(data)
    if not lock:
        directory.open()
        yield directory
        return
    with directory.lock(drives=drives):
        yield directory


@asynccontextmanager
async def started(
    settings: ManagerSettings,
    starter: Starter,
    directory: Any,
    *,
    observer: Observer,
    origin: Origin | None,
    accepted: Callable[[], object] = lambda: None,
    tokens: Tokens | None = None,
    lock: bool = True,
    drives: bool = True,
    fires: bool = True,
    insist: bool = False,
    asks: bool = True,
) -> AsyncIterator[Running]:
    """Run a manager until the end of the block. The data directory tells other processes the URL of one that drives.

    directory, lock: as `data_directory_of` gave it; without the lock the manager answers questions only.
    origin, accepted, drives: as in `Claim`. fires, insist, asks: as in `running`, whose errors it raises.
    """
    claim = place = None
    if lock and directory is not None and directory.moving() and await wiring.move_records(settings.data, _say_moving):
        directory.moved()
    if lock:
        held = "" if directory is None else directory.place()
        lease_s = settings.lease_seconds
        claim = claim_on(
            settings.data, starter, origin=origin, accepted=accepted, place=held, lease_s=lease_s, drives=drives
        )
    if not drives:
        store = wiring.store_place(settings.data)
        # The holder of the lock runs no manager, so no other process acts here for the moment.
        place = Place(
            where=store.where,
            driven=(lambda: False) if lock else directory.driven,
            shared=store.shared and not lock,
        )
    async with running(
        ports_of(settings, observer),
        settings,
        tokens=tokens,
        reconcile=drives,
        fires=fires,
        insist=insist,
        asks=asks,
        claim=claim,
        place=place,
    ) as manager:
        if drives and directory is not None:
            directory.advertise(manager.url)
        yield manager


def _say_moving(what: str) -> None:
    structlog.get_logger().info(what)


def ports_of(settings: ManagerSettings, observer: Observer, clock: Clock | None = None) -> Ports:
    """The adapters that `settings` name. Raises ConfigError or RetryableError."""
    clock = clock or SystemClock()
    # The manager asks little; the loaders have their own share of the exchange's weight.
    exchange = msgspec.structs.replace(settings.exchange, weight_per_minute=settings.policy.manager_weight_per_minute)
    waits, identity = ExchangeWaits(observer, clock), Identity(settings.exchange.identity or None)
    store, kept = wiring.make_store(settings.data, observer=observer), settings.retained
    keeps = settings.objects.url or settings.data.data_dir is not None
    return Ports(
        bus=wiring.make_bus(settings.data, clock=clock, observer=observer),
        store=store,
        launcher=wiring.make_launcher(settings.data, settings.launcher, store=store, clock=clock, observer=observer),
        exchange=wiring.make_exchange(exchange, clock=clock, observer=waits, identity=identity),
        exchange_waits=waits,
        archive=wiring.make_archive(settings.archive, settings.data, settings.exchange, clock=clock, observer=observer),
        objects=wiring.make_object_store(settings.objects, settings.data) if keeps else None,
        retained=None if kept is None else wiring.make_object_store(kept, settings.data),
        identity=identity,
        technologies=partial(technologies, settings.data, store),
        clock=clock,
        observer=observer,
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
