"""The process of a basket: the attempts of many loaders of streams, which share connections; each ends for itself."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.basket_members import (
    BASKET_DIR,
    BASKET_REPORT,
    STOP,
    Member,
    note_exit,
    note_exits,
    read_members,
)
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.runtime.life.command_listener import CLOCK_SKEW_S
from streamforge_utils.runtime.life.environment import secrets_of
from streamforge_utils.runtime.life.settings import WorkerSettings
from streamforge_utils.runtime.life.supervisor import CLOSE_LIMIT_S, Supervisor
from streamforge_utils.runtime.life.termination import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED
from streamforge_utils.runtime.life.worker_definition import Definition
from streamforge_utils.runtime.life.worker_process import leave, load_worker, report_bad_settings, tune_interpreter
from streamforge_utils.runtime.live.shared_parts import BasketWiring, SharedParts
from streamforge_utils.runtime.telemetry.logs import Log, Redactor, make_log, use_for_libraries
from streamforge_utils.runtime.telemetry.merged_metrics import MergedMetrics
from streamforge_utils.runtime.telemetry.metrics import Metrics, MetricsServer

P = TypeVar("P", bound=msgspec.Struct)

TERMINAL_MOST_S = 7.0
"""So long a member that is stopped tries to tell of its end where nobody looks into a folder: all would be ended
otherwise. With what it has for its work before, that is less than a launcher waits for its end.
"""
_LOOK_S = 0.25


def run_basket(
    definition: Definition[P], wiring: BasketWiring, environ: Mapping[str, str], *, version: str = ""
) -> int:
    """Run the members that `environ` names; returns the exit code, which is that of the first that did not end well.

    It may end the process itself, with that code, where something could not be ended in order.
    """
    tune_interpreter()
    _allow_files()
    log = make_log(form=environ.get("STREAMFORGE_LOG_FORMAT"), target=definition.target)
    try:
        members = read_members(environ)
    except ConfigError as error:
        log.error("bad configuration", error=str(error))
        return EXIT_CONFIG
    folder, report = (Path(environ[name]) if environ.get(name) else None for name in (BASKET_DIR, BASKET_REPORT))
    basket = Basket(definition, wiring, members, folder=folder, report=report, version=version, handle_signals=True)
    return asyncio.run(basket.run())


def _allow_files() -> None:
    """Let this process have as many files open as it may: the embedded bus has some for each topic."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have a limit of their own beside it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Basket(Generic[P]):
    """Runs the members side by side.

    folder: where that of each member is, by its job; report: the file for how all of them ended; None: nobody looks
    there.
    """

    def __init__(
        self,
        definition: Definition[P],
        wiring: BasketWiring,
        members: Sequence[Member],
        *,
        folder: Path | None = None,
        report: Path | None = None,
        clock: Clock | None = None,
        version: str = "",
        handle_signals: bool = False,
    ) -> None:
        self.supervisors: dict[str, Supervisor[P]] = {}
        self._definition = definition
        self._wiring = wiring
        self._members = members
        self._folder = folder
        self._report = report
        self._codes: dict[str, int] = {}
        self._clock = clock or SystemClock()
        self._version = version
        self._handle_signals = handle_signals
        self._log = make_log(target=definition.target)
        self._common = Metrics(definition.target, self._wait)
        self._merged = MergedMetrics()
        self._merged.add(self._common)
        self._signal: int | None = None

    async def run(self) -> int:
        """Run until the last member has ended. Never raises but for cancellation."""
        if self._handle_signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.signalled, number)
        loaded, codes = await self._load()
        if not loaded:
            return max(codes, default=EXIT_CONFIG)
        every = [one for one, _ in loaded.values()]
        first = every[0]
        # What is shared, client libraries too, speaks for all of them: for none by its name.
        self._log = self._log_of(first, *every[1:], members=len(every))
        use_for_libraries(self._log)
        shared = SharedParts(
            self._wiring,
            control_topic=first.control_topic,
            since_ms=int((min(map(self._launched_at, every)) - CLOCK_SKEW_S) * 1000),
            clock=self._clock,
            observer=self._common,
            log=self._log,
        )
        try:
            server = MetricsServer(self._merged, first.metrics_host, first.metrics_port)
        except ConfigError as error:
            self._log.error("bad configuration", error=str(error))
            return EXIT_CONFIG
        looking = asyncio.create_task(self._look_for_stops(), name="stops")
        try:
            running = [self._run(job, *settings, shared, server.port) for job, settings in loaded.items()]
            codes += await asyncio.gather(*running)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            clean = await shared.close(CLOSE_LIMIT_S)
            await asyncio.to_thread(server.close)
        code = next((one for one in codes if one != EXIT_DONE), EXIT_DONE)
        if self._handle_signals and (not clean or any(one.hard_exit for one in self.supervisors.values())):
            leave(code)
        return code

    async def _load(self) -> tuple[dict[str, tuple[WorkerSettings, P]], list[int]]:
        """The settings of the members that have good ones; the others have ended with these exit codes."""
        loaded: dict[str, tuple[WorkerSettings, P]] = {}
        codes: list[int] = []
        for member in self._members:
            try:
                loaded[member.job] = load_worker(self._definition, member.environment)
            except ConfigError as error:
                log = self._log.bind(queue_id=member.environment.get("QUEUE_ID"))
                log.error("bad configuration", error=str(error))
                await report_bad_settings(error, self._definition, self._wiring, member.environment, log)
                self._note(member.job, EXIT_CONFIG)
                codes.append(EXIT_CONFIG)
        return loaded, codes

    async def _run(self, job: str, settings: WorkerSettings, parameters: P, shared: SharedParts, port: int) -> int:
        log = self._log_of(settings, queue_id=settings.queue_id, attempt=settings.attempt)
        supervisor = self.supervisors[job] = Supervisor(
            self._definition,
            settings,
            parameters,
            shared,
            log=log,
            clock=self._clock,
            version=self._version,
            metrics_port=port,
        )
        if self._folder is None:
            supervisor.terminal_patience_s = TERMINAL_MOST_S
        self._merged.add(supervisor.metrics)
        if self._signal is not None:
            supervisor.stop.by_signal(self._signal)
        code = EXIT_FAILED
        try:
            code = await supervisor.run()
        except Exception as error:
            log.error("the worker failed", exc_info=error)
        finally:
            self._merged.end(supervisor.metrics)
            self._note(job, code)
        return code

    def _log_of(self, settings: WorkerSettings, *others: WorkerSettings, **bound: Any) -> Log:
        """A log in the form of the first settings, without the secrets of any."""
        secrets = {secret for one in (settings, *others) for secret in secrets_of(one)}
        target, redactor = self._definition.target, Redactor(secrets)
        return make_log(form=settings.log_format, debug=settings.debug, redactor=redactor, target=target, **bound)

    def _launched_at(self, settings: WorkerSettings) -> float:
        return self._clock.now_ms() / 1000 if settings.launched_at is None else settings.launched_at

    def _note(self, job: str, code: int) -> None:
        self._codes[job] = code
        try:
            if self._folder is not None:
                note_exit(self._folder / job, code)
            if self._report is not None:
                note_exits(self._report, [self._codes.get(member.job) for member in self._members])
        except OSError as error:  # it is taken to end with the process
            self._log.warning("how a member ended could not be noted", job=job, error=str(error))

    async def _look_for_stops(self) -> None:
        """End those whose launcher asks for it."""
        asked = set[str]()
        while self._folder is not None:
            await self._clock.sleep(_LOOK_S)
            for job, supervisor in self.supervisors.items():
                if job not in asked and (self._folder / job / STOP).exists():
                    asked.add(job)
                    supervisor.stop.by_signal(signal.SIGTERM)

    def signalled(self, number: int) -> None:
        """A signal came that asks the process to end."""
        known = [
            not supervisor.goes_on(number) and not supervisor.stop.by_signal(number)
            for job, supervisor in self.supervisors.items()
            if job not in self._codes
        ]
        if self._signal is not None and all(known):
            self._log.error("a second signal to all: leaving at once")
            os._exit(EXIT_FAILED)
        self._signal = number
        self._log.info("a signal: stopping in order", signal=signal.Signals(number).name)

    def _wait(self, reason: str | None, until_ms: int | None) -> None:
        """What is shared waits, and so do all."""
        for supervisor in self.supervisors.values():
            supervisor.progress.adapter_waits(reason, until_ms)
