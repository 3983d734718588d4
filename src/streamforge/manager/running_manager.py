"""A manager in this process: its adapters, its loop and its HTTP server, from open to closed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import structlog

from streamforge.manager.api.tokens import Tokens
from streamforge.manager.catalogue.archived_symbols import with_archived
from streamforge.manager.dependencies import Dependencies, nothing_known
from streamforge.manager.engine.execution.exchange_limits import ExchangeWaits
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.manager_settings import ManagerSettings
from streamforge.manager.origin import TEST, called, origin_of, source_of
from streamforge.manager.persistence.installation import Claim, Place, by_others
from streamforge.manager.persistence.lease import fenced, managed_store
from streamforge.manager.workflow_service import WorkflowService
from streamforge.manager.workflows.all_forms import register_forms
from streamforge.version import installed_version
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.plugins import plugin_environment
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.exchange import Exchange, Identity
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.ports.launcher import Launcher
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.environment import secrets_of, written
from streamforge_utils.runtime.output.topic_specs import talk_topic
from streamforge_utils.runtime.telemetry.logs import TextRedactor

_LAUNCHER_S = 5.0
"""How long the launcher is waited for at the start."""

_log = structlog.get_logger(__name__)


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The adapters that the manager uses. `running` closes them; the launcher's jobs go on.

    identity: who answers at `exchange`. archive: its files; None: there are none.
    objects, retained, technologies: as `Dependencies` has them.
    """

    bus: MessageBus
    store: Store
    launcher: Launcher
    exchange: Exchange
    archive: Archive | None = None
    objects: ObjectStore | None = None
    retained: ObjectStore | None = None
    exchange_waits: ExchangeWaits | None = None
    identity: Identity = msgspec.field(default_factory=Identity)
    technologies: Callable[[], Awaitable[Mapping[str, str]]] = nothing_known
    clock: Clock = SystemClock()
    observer: Observer = NullObserver()


def worker_environment(settings: ManagerSettings) -> dict[str, str]:
    """The settings that the manager passes on to every worker; the launcher adds where the data are."""
    # Also defaults: what an image or a ConfigMap says must not lead a worker to another exchange.
    exchange = written(settings.exchange, defaults=True)
    for each in ("STREAMFORGE_WEIGHT_PER_MINUTE", "STREAMFORGE_EXCHANGE_IDENTITY"):
        del exchange[each]  # a loader gets its share; which exchange must answer is known once one has
    environment = {
        "QUEUE_CONTROL_TOPIC": settings.control_topic,
        "QUEUE_EVENTS_TOPIC": settings.events_topic,
        "STREAMFORGE_LOG_FORMAT": "json",
        **exchange,
        **written(settings.archive),
        **written(settings.stream),
        **written(settings.objects),
        **plugin_environment(),
        **settings.data.kafka.environment(settings.worker_kafka_user, settings.worker_kafka_password),
        **settings.data.arango.environment(),
    }
    if not settings.launcher.in_kubernetes:  # in a pod of its own each has port 8000 for itself
        environment["STREAMFORGE_METRICS_PORT"] = "0"
    if settings.debug:
        environment["STREAMFORGE_DEBUG"] = "true"
    return environment


class Running(msgspec.Struct, frozen=True):
    """A manager that runs. url: where its API is. ended: completes when its loop or its server has failed."""

    manager: WorkflowService
    reconciler: Reconciler
    url: str
    ended: asyncio.Future[None]


@asynccontextmanager
async def running(
    ports: Ports,
    settings: ManagerSettings,
    *,
    tokens: Tokens | None = None,
    reconcile: bool = True,
    fires: bool = True,
    insist: bool = False,
    asks: bool = True,
    claim: Claim | None = None,
    place: Place | None = None,
) -> AsyncIterator[Running]:
    """Run a manager until the end of the block.

    fires: where it drives workflows, it fires schedules, too.
    reconcile: False answers questions only: no workflow is driven, unless by a manager at `place`. insist: end if the
    launcher does not answer now, instead of asking it again later. asks: as in `Dependencies`.
    claim: what is asked of the store; without one nothing in it is to be changed by anybody else meanwhile, or by this
    manager.
    Raises ConfigError (the port is taken, the data is of a newer version or managed by another manager, the launcher's
    settings are wrong) or RetryableError.
    """
    async with AsyncExitStack() as stack:
        objects = (ports.objects, ports.retained)
        for port in (ports.store, ports.bus, ports.exchange, ports.launcher, ports.archive, *objects):
            if port is not None:
                stack.push_async_callback(port.close)
        if reconcile:
            ports.launcher.watch()  # first: the store and the bus may wait for what a suspended worker has locked
        # Only now: it takes most of a command's start, and the launcher's fork server begins meanwhile.
        from streamforge.manager.api.app import create_app
        from streamforge.manager.api.http_server import serve

        lease = await stack.enter_async_context(managed_store(ports.store, ports.clock, claim))
        tasks: list[asyncio.Task[None]] = []
        stack.push_async_callback(_cancel, tasks)
        if lease is not None:
            tasks.append(asyncio.create_task(lease.keep(), name="lease"))
        if reconcile:
            await _first_look(ports.launcher, insist=insist)
        for topic in (settings.control_topic, settings.events_topic):
            await ports.bus.create_topic(talk_topic(topic))
        store: Store = ports.store if lease is None else fenced(ports.store, lease.check)
        deps = Dependencies.on(
            ports.bus,
            store,
            clock=ports.clock,
            observer=ports.observer,
            claim=claim,
            identity=ports.identity,
            producer=await ports.bus.producer(),
            launcher=ports.launcher,
            exchange=with_archived(ports.exchange, ports.archive),
            archive=ports.archive,
            archive_samples=settings.archive.samples,
            objects=ports.objects if lease is None or ports.objects is None else fenced(ports.objects, lease.check),
            retained=ports.retained if lease is None or ports.retained is None else fenced(ports.retained, lease.check),
            folder=None if settings.data.arango.url else settings.data.data_dir,
            policy=settings.policy,
            common=worker_environment(settings),
            control_topic=settings.control_topic,
            events_topic=settings.events_topic,
            exchange_name=called(origin_of(None, settings.exchange.urls)),
            exchange_waits=ports.exchange_waits,
            source=source_of(settings.exchange.urls, built_in=_is_built_in(claim)),
            no_driver_reason=None if place is None or reconcile else by_others(store, ports.clock, place),
            asks=asks,
            version=installed_version(),
            technologies=ports.technologies,
            settings=settings.shown,
            misspelt=settings.misspelt,
            doubtful=settings.warnings,
            redact=TextRedactor(secrets_of(settings)),
            **({} if lease is None else {"fence": lease.check}),
        )
        register_forms()
        await deps.workflows.load()
        reconciler = Reconciler(deps)
        await reconciler.bans.load()
        await reconciler.executor.connects.load()
        if reconcile:
            await deps.exchange_binding.begin(ports.exchange, ask=ports.clock.now_ms() >= reconciler.bans.ban.until_ms)
        manager = WorkflowService(deps, reconciler)
        stack.push_async_callback(manager.bars.close)
        application = create_app(manager, tokens=tokens, clock=ports.clock)
        server = await serve(application, host=settings.host, port=settings.port, tokens=tokens)
        stack.push_async_callback(server.close)
        if lease is not None:
            lease.serves(server.url)
        if reconcile:
            tasks.append(asyncio.create_task(reconciler.run(), name="reconciler"))
        if reconcile and fires:
            tasks.append(asyncio.create_task(manager.schedules.driver.run(), name="schedules"))
        tasks.append(asyncio.create_task(server.wait(), name="server"))
        ended = await stack.enter_async_context(first_end(tasks))
        yield Running(manager, reconciler, server.url, ended)


@asynccontextmanager
async def first_end(ends: Sequence[asyncio.Future[None]]) -> AsyncIterator[asyncio.Future[None]]:
    """A future that ends as the first of `ends` does."""

    async def first() -> None:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            await one

    ended = asyncio.create_task(first())
    try:
        yield ended
    finally:
        await _cancel([ended])


async def until_stopped(stop: asyncio.Event, ended: asyncio.Future[None]) -> None:
    """Return once `stop` is set; raise the error if the manager fails before that.

    The garbage collector passes over what the start has made, which stays: to look through it takes a request 70 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    stopping = asyncio.ensure_future(stop.wait())
    either: set[asyncio.Future[Any]] = {stopping, ended}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if ended.done():
        await ended


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_built_in(claim: Claim | None) -> bool:
    return claim is not None and claim.origin is not None and claim.origin.choice == TEST


async def _first_look(launcher: Launcher, *, insist: bool) -> None:
    """Ask the launcher once: settings that cannot work are an error now, not a line in the log for ever."""
    try:
        async with asyncio.timeout(None if insist else _LAUNCHER_S):
            await launcher.jobs()
    except (RetryableError, TimeoutError) as error:
        if insist:
            raise
        _log.warning(
            "the launcher does not answer yet, it will be asked again", error=str(error) or "no answer in time"
        )
