"""The process of a worker: from its environment to its exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.names import telemetry_id
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.runtime.configuring import load_worker
from streamforge_utils.runtime.context import MessageBus, Wiring
from streamforge_utils.runtime.environment import load, misspelt, secrets_of, variables
from streamforge_utils.runtime.instruments import Instruments
from streamforge_utils.runtime.logs import Log, Redactor, make_log, use_for_libraries
from streamforge_utils.runtime.settings import EVENTS_TOPIC, DataSettings, WorkerSettings
from streamforge_utils.runtime.supervisor import Supervisor
from streamforge_utils.runtime.telemetry import Identity, Telemetry
from streamforge_utils.runtime.termination import EXIT_CONFIG, failed
from streamforge_utils.runtime.worker_definition import Definition

P = TypeVar("P", bound=msgspec.Struct)

_REPORT_LIMIT_S = 3.0


def run_worker(definition: Definition[P], wiring: Wiring, environ: Mapping[str, str], *, version: str = "") -> int:
    """Run one attempt with the settings of `environ`; returns the exit code.

    It may end the process itself, with that code, where something could not be ended in order.
    """
    tune_interpreter()
    target = definition.target
    try:
        settings, parameters = load_worker(definition, environ)
    except ConfigError as error:
        log = make_log(form=environ.get("STREAMFORGE_LOG_FORMAT"), target=target, queue_id=environ.get("QUEUE_ID"))
        log.error("bad configuration", error=str(error))
        asyncio.run(_report(error, definition, wiring, environ, log))
        return EXIT_CONFIG
    log = make_log(
        form=settings.log_format,
        debug=settings.debug,
        redactor=Redactor(secrets_of(settings)),
        queue_id=settings.queue_id,
        target=target,
        attempt=settings.attempt,
    )
    use_for_libraries(log)
    read = {item.name for cls in (WorkerSettings, definition.parameters) for item in variables(cls)}
    for problem in misspelt(environ, read):
        log.warning("a setting may be misspelt", problem=problem)

    async def live() -> tuple[int, bool]:
        supervisor = Supervisor(definition, settings, parameters, wiring, log=log, version=version, handle_signals=True)
        code = await supervisor.run()
        if supervisor.hard_exit:
            leave(code)
        return code, supervisor.hard_exit

    code, _ = asyncio.run(live())
    return code


def tune_interpreter() -> None:
    """Suit this process to a worker: much data in a few threads.

    The garbage collector runs seldom: records come by the thousand, and none is in a cycle. A thread that is ready,
    with a ping to be answered perhaps, waits a tenth of the usual time for the interpreter.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(0.0005)


def leave(code: int) -> None:
    """End the process now: what hangs in it is not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _report(
    error: ConfigError, definition: Definition[P], wiring: Wiring, environ: Mapping[str, str], log: Log
) -> None:
    """Publish the error on the bus, if the settings that were good tell where it is."""
    queue_id = environ.get("QUEUE_ID", "")
    if not queue_id:
        return
    instruments = Instruments(definition.target, SystemClock(), log)
    termination = failed(error)
    bus: MessageBus | None = None
    try:
        data = load(DataSettings, environ, uses=())
        bus = wiring.make_bus(data, clock=instruments.clock, observer=NullObserver())
        async with asyncio.timeout(_REPORT_LIMIT_S):
            telemetry = Telemetry(
                await bus.producer(),
                environ.get("QUEUE_EVENTS_TOPIC") or EVENTS_TOPIC,
                Identity(
                    queue_id=queue_id,
                    producer=environ.get("TELEMETRY_PRODUCER_ID") or telemetry_id(definition.target, queue_id),
                    target=definition.target,
                    symbol=environ.get("SYMBOL", ""),
                    type=environ.get("TYPE", ""),
                    attempt=_attempt(environ),
                ),
                instruments,
                Redactor(),
            )
            await telemetry.publish_terminal(
                "error",
                publisher=None,
                patience_s=_REPORT_LIMIT_S / 2,
                error_message=termination.error_message,
                extra=termination.extra,
            )
    except Exception as trouble:
        log.warning("the bad configuration could not be published on the bus", error=str(trouble) or repr(trouble))
    finally:
        if bus is not None:
            await _closed(bus, log)


async def _closed(bus: MessageBus, log: Log) -> None:
    try:
        async with asyncio.timeout(_REPORT_LIMIT_S):
            await bus.close()
    except Exception as trouble:
        log.debug("the bus could not be closed", error=repr(trouble))


def _attempt(environ: Mapping[str, str]) -> int:
    text = environ.get("STREAMFORGE_ATTEMPT", "1")
    return int(text) if text.isdecimal() else 1
