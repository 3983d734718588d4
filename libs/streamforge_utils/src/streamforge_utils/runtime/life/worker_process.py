"""The process of a worker: from its environment to its exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

import msgspec

from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.model.kinds.registry import is_type, kind_of_type, kinds, normal_type
from streamforge_utils.model.names import telemetry_id
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.runtime.life.context import MessageBus, Wiring
from streamforge_utils.runtime.life.environment import load, misspelt, read, secrets_of, settings_error, variables
from streamforge_utils.runtime.life.settings import EVENTS_TOPIC, DataSettings, WorkerSettings, exchange_problems
from streamforge_utils.runtime.life.supervisor import Supervisor
from streamforge_utils.runtime.life.termination import EXIT_CONFIG, failed
from streamforge_utils.runtime.life.worker_definition import ALL_TIME, Definition
from streamforge_utils.runtime.telemetry.instruments import Instruments
from streamforge_utils.runtime.telemetry.logs import Log, Redactor, make_log, use_for_libraries
from streamforge_utils.runtime.telemetry.telemetry import Identity, Telemetry

with suppress(ImportError):  # not every Python can call C
    import ctypes

P = TypeVar("P", bound=msgspec.Struct)

_REPORT_LIMIT_S = 3.0

_OTHER_NAMES = {
    "STREAMFORGE_LIMIT": "LIMIT",
    "STREAMFORGE_EPOCHS": "EPOCHS",
    "STREAMFORGE_LEARNING_RATE": "LEARNING_RATE",
    "STREAMFORGE_EXCHANGE_URL": "BINANCE_API_URL",
    "STREAMFORGE_HEARTBEAT_SECONDS": "TELEMETRY_INTERVAL",
    "QUEUE_CONTROL_TOPIC": "CONTROL_TOPIC",
    "QUEUE_EVENTS_TOPIC": "TELEMETRY_TOPIC",
    "STREAMFORGE_S3_ENDPOINT": "MINIO_ENDPOINT",
    "STREAMFORGE_S3_ACCESS_KEY": "MINIO_ACCESS_KEY",
    "STREAMFORGE_S3_SECRET_KEY": "MINIO_SECRET_KEY",
}
"""Of variables, what the first generation called them. Its `BINANCE_API_SECRET` nothing needs: no request is signed."""

_KEPT_BYTES = 16 * 1024 * 1024
"""At the end of each of the C library's heaps."""


def load_worker(definition: Definition[P], environ: Mapping[str, str]) -> tuple[WorkerSettings, P]:
    """Read the settings and the parameters of a worker.

    Raises ConfigError naming every variable that is missing, wrong, or asks for what this version does not have.
    """
    problems: list[str] = []
    environ = _with_other_names(environ)
    parameters = read(definition.parameters, environ, problems)
    if parameters is not None:
        try:
            definition = definition.adapted(parameters)
        except InvalidInput as error:
            problems.append(str(error))
    given = _with_defaults(definition, environ)
    if definition.types and given.get("TYPE") not in (None, "", *definition.types):
        try:
            given["TYPE"] = normal_type(given["TYPE"])
        except InvalidInput as error:
            problems.append(f"TYPE: {error}")
    if given.get("TIME_RANGE") in (None, "", "null") and _is_live(given.get("TYPE", "")):
        given["TIME_RANGE"] = ALL_TIME
    settings = read(WorkerSettings, given, problems, uses=definition.uses)
    if settings is not None:
        settings = _checked(settings, definition, problems)
    if problems or settings is None or parameters is None:
        raise settings_error(problems)
    return settings, parameters


def _is_live(type_name: str) -> bool:
    return is_type(type_name) and kind_of_type(type_name).is_endless(type_name)


def _with_other_names(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with what the first generation called otherwise; today's names go first.

    `DEBUG` is also used by other programs: only a truth counts. A type may lack its interval.
    """
    found = dict(environ)
    if bucket := environ.get("MINIO_BUCKET"):
        found.setdefault("STREAMFORGE_OBJECTS_URL", f"s3://{bucket}")
    if environ.get("DEBUG", "").lower() in ("1", "true", "yes", "on"):
        found.setdefault("STREAMFORGE_DEBUG", "true")
    for name, other in _OTHER_NAMES.items():
        if environ.get(other) and not environ.get(name):
            found[name] = environ[other]
    with_interval = f"{environ.get('TYPE', '')}_{environ.get('INTERVAL', '')}"
    if not is_type(environ.get("TYPE", "")) and is_type(with_interval):
        found["TYPE"] = with_interval
    return found


def _with_defaults(definition: Definition[P], environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, and what the definition can do without where `environ` lacks it."""
    lacking = {name: text for name, text in definition.defaults.items() if not environ.get(name)}
    return {
        **environ,
        **{name: text.replace("{QUEUE_ID}", environ.get("QUEUE_ID", "")) for name, text in lacking.items()},
    }


def _checked(settings: WorkerSettings, definition: Definition[P], problems: list[str]) -> WorkerSettings:
    if settings.interval and not _agrees(settings.interval, settings.type):
        problems.append(
            f"INTERVAL: {settings.interval[:80]!r} does not agree with TYPE {settings.type!r}: leave it out"
        )
    problems.extend(
        exchange_problems(settings.exchange.urls, settings.exchange.weight_per_minute, "STREAMFORGE_WEIGHT_PER_MINUTE")
    )
    problems.extend(
        f"STREAMFORGE_RANGES: {part} is not inside TIME_RANGE {settings.time_range}"
        for part in settings.ranges
        if part.intersection(settings.time_range) != part
    )
    if settings.telemetry_id:
        return settings
    return msgspec.structs.replace(settings, telemetry_id=telemetry_id(definition.target, settings.queue_id))


def _agrees(interval: str, type_name: str) -> bool:
    """Whether the interval is that of the type; with a type of no kind, which a diagnostic worker may have, of any."""
    if not is_type(type_name):
        return any(kind.normal_interval(interval) for kind in kinds())
    kind = kind_of_type(type_name)
    return kind.normal_interval(interval) == kind.interval_of(type_name)


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
        asyncio.run(report_bad_settings(error, definition, wiring, environ, log))
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
    known = {item.name for cls in (WorkerSettings, definition.parameters) for item in variables(cls)}
    for problem in misspelt(environ, known):
        log.warning("a setting may be misspelt", problem=problem)

    async def run() -> int:
        supervisor = Supervisor(definition, settings, parameters, wiring, log=log, version=version, handle_signals=True)
        code = await supervisor.run()
        if supervisor.hard_exit:
            leave(code)
        return code

    return asyncio.run(run())


def tune_interpreter() -> None:
    """Suit this process to a worker: much data in a few threads.

    The garbage collector runs seldom: records come by the thousand, and none is in a cycle. A thread that is ready,
    with a ping to be answered perhaps, waits a tenth of the usual time for the interpreter. The C library keeps the
    memory of a batch for the next one: given back, each page of it would be cleared again.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(0.0005)
    with suppress(NameError, OSError, AttributeError):  # of glibc alone
        for threshold in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            ctypes.CDLL(None).mallopt(threshold, _KEPT_BYTES)


def leave(code: int) -> None:
    """End the process now: what hangs in it is not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def report_bad_settings(
    error: ConfigError, definition: Definition[P], wiring: Wiring, environ: Mapping[str, str], log: Log
) -> None:
    """Publish the error on the bus, if the settings that were good name it."""
    queue_id = environ.get("QUEUE_ID", "")
    if not queue_id:
        return
    instruments = Instruments(definition.target, SystemClock(), log)
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
            await telemetry.publish_terminal(failed(error), publisher=None, patience_s=_REPORT_LIMIT_S / 2)
    except Exception as failure:
        log.warning("the bad configuration could not be published on the bus", error=str(failure) or repr(failure))
    finally:
        if bus is not None:
            with suppress(Exception):
                async with asyncio.timeout(_REPORT_LIMIT_S):
                    await bus.close()


def _attempt(environ: Mapping[str, str]) -> int:
    text = environ.get("STREAMFORGE_ATTEMPT", "1")
    return int(text) if text.isdecimal() else 1
