"""A worker's run: connect, publish `started`, work, stop, and exactly one terminal event."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Generic, TypeVar

import msgspec

from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.messages import EndOfStream
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.runtime.life.command_listener import CommandListener
from streamforge_utils.runtime.life.connector import Connector
from streamforge_utils.runtime.life.context import Connections, Context, MessageBus, Wiring
from streamforge_utils.runtime.life.environment import secrets_of
from streamforge_utils.runtime.life.settings import WorkerSettings
from streamforge_utils.runtime.life.termination import EXIT_FAILED, FINISHED, StopRequest, Termination, failed, root_of
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use
from streamforge_utils.runtime.live.handover import Handover
from streamforge_utils.runtime.output.topic_specs import talk_topic
from streamforge_utils.runtime.telemetry.instruments import Instruments
from streamforge_utils.runtime.telemetry.logs import Log, Redactor
from streamforge_utils.runtime.telemetry.metrics import MetricsServer
from streamforge_utils.runtime.telemetry.telemetry import Identity, Telemetry

P = TypeVar("P", bound=msgspec.Struct)

WORK_SHARE, TERMINAL_SHARE, CLOSE_SHARE = 0.6, 0.25, 0.05
"""Of the grace: what cancelled work gets to end, what the terminal event gets, what each part gets to close."""

TERMINAL_PATIENCE_S = 20.0
CLOSE_LIMIT_S = 5.0
_MEASURE_LIMIT_S = 1.0
_OWNER_LOOK_S = 60.0


class Supervisor(Generic[P]):
    """Runs one attempt of a worker. `run` returns the process's exit code.

    hard_exit: true afterwards if something could not be ended: the process must leave without waiting for it.
    metrics_port: where somebody else serves the metrics, together with others'. terminal_patience_s: how long to try to
    publish the terminal event of a worker that a command stopped and no signal has told to hurry.
    """

    def __init__(
        self,
        definition: Definition[P],
        settings: WorkerSettings,
        parameters: P,
        wiring: Wiring,
        *,
        log: Log,
        clock: Clock | None = None,
        version: str = "",
        handle_signals: bool = False,
        metrics_port: int | None = None,
    ) -> None:
        self.stop = StopRequest()
        self.hard_exit = False
        self.terminal_patience_s = TERMINAL_PATIENCE_S
        self._definition = definition = definition.adapted(parameters)
        self._settings = settings
        self._parameters = parameters
        self._clock = clock or SystemClock()
        self._version = version
        self._handle_signals = handle_signals
        self._metrics_port = metrics_port
        self._log = log
        self._launched_at = self._clock.now_ms() / 1000 if settings.launched_at is None else settings.launched_at
        self._instruments = Instruments(definition.target, self._clock, log, definition.derived_metrics)
        self._progress, self._metrics = self._instruments.progress, self._instruments.metrics
        self.metrics, self.progress = self._metrics, self._progress
        self._connector = Connector(settings, wiring, self._instruments)
        self._identity = Identity(
            queue_id=settings.queue_id,
            producer=settings.telemetry_id,
            target=definition.target,
            symbol=settings.symbol,
            type=settings.type,
            attempt=settings.attempt,
        )
        self._telemetry: Telemetry | None = None
        self._publisher: asyncio.Task[None] | None = None
        self._server: MetricsServer | None = None
        self._connections = Connections()
        self._budget: int | None = None
        self._connects: int | None = None
        self._handover = Handover(shadow=settings.stream.shadow)
        self._leaving: asyncio.TimerHandle | None = None
        self._context: Context[P] | None = None

    async def run(self) -> int:
        """Run until the end. Never raises but for cancellation."""
        if self._handle_signals:
            self._install_signal_handlers()
        termination = await self._guarded()
        if self._context is not None:
            extra = termination.extra | self._context.terminal_extra
            termination = msgspec.structs.replace(termination, extra=extra)
        server = self._server
        closing = None if server is None else asyncio.create_task(asyncio.to_thread(server.close), name="metrics")
        code = await self._publish(await self._close_stream(termination))
        limit_s = self._settings.stop_grace_seconds * CLOSE_SHARE if self.stop.asked else CLOSE_LIMIT_S
        if not await self._connector.close(limit_s):
            self.hard_exit = True
        if closing is not None:
            await closing
        return code

    async def _guarded(self) -> Termination:
        try:
            bus = await self._connector.bus()
            events = await self._connector.producer(bus)
            await self._connector.ensure_topic(bus, talk_topic(self._settings.events_topic))
            self._telemetry = Telemetry(
                events,
                self._settings.events_topic,
                self._identity,
                self._instruments,
                Redactor(secrets_of(self._settings)),
            )
            port = self._metrics_port
            if port is None:
                self._server = MetricsServer(self._metrics, self._settings.metrics_host, self._settings.metrics_port)
                port = self._server.port
            return await self._live(bus, self._telemetry, port)
        except Exception as error:
            self._log.error("the worker failed", exc_info=error)
            return failed(error)

    async def _live(self, bus: MessageBus, telemetry: Telemetry, metrics_port: int) -> Termination:
        control = await self._connector.control(bus, self._launched_at)
        commands = CommandListener(
            control,
            self._identity,
            self._instruments,
            stop=self._on_stop,
            ping=telemetry.pong,
            budget=self._set_budget,
            connects=self._set_connects,
            own=self._definition.commands,
            handover=self._handover,
        )
        about = {"metrics_port": metrics_port, "pid": os.getpid(), "version": self._version}
        await telemetry.started(about, message=self._definition.summary)
        self._log.info("started", **about)
        self._publisher = asyncio.create_task(telemetry.run(), name="telemetry")
        work = asyncio.create_task(self._work(bus, commands, telemetry), name="work")
        services = {
            self._publisher,
            asyncio.create_task(commands.listen(), name="commands"),
            asyncio.create_task(self._heartbeats(telemetry), name="heartbeats"),
            asyncio.create_task(self._stopping(), name="stop"),
            asyncio.create_task(self._watch_manager(commands), name="owner"),
        }
        try:
            await asyncio.wait({work, *services}, return_when=asyncio.FIRST_COMPLETED)
            return await self._ending(work, services)
        finally:
            await self._end_tasks({work, *services} - {self._publisher}, _MEASURE_LIMIT_S)

    async def _ending(self, work: asyncio.Task[None], services: set[asyncio.Task[None]]) -> Termination:
        if not work.done():
            grace = self._settings.stop_grace_seconds * WORK_SHARE
            if await self._end_tasks({work}, grace):
                self.hard_exit = True
                if self._drains and self.stop.by_command_alone:
                    return await self._interrupted()  # it had its time
                return failed(TimeoutError(f"the work did not end within {grace:g} s of being told to stop"))
            if not work.cancelled() and (error := work.exception()) is not None:
                return self._failure(error)
            for task in services:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    return self._failure(error)
            return await self._interrupted()
        if work.cancelled():
            return failed(RuntimeError("the work cancelled itself"))
        if (error := work.exception()) is not None:
            return self._failure(error)
        return await self._interrupted() if self._connections.input and self._connections.input.drained else FINISHED

    async def _interrupted(self) -> Termination:
        """The termination of a worker that was stopped in order; of a sink with what is left unstored."""
        termination, part = self.stop.termination(), self._connections.input
        if part is None or not self._drains:
            return termination
        try:
            async with asyncio.timeout(_MEASURE_LIMIT_S):
                left = await part.left()
        except (StreamForgeError, TimeoutError) as error:
            self._log.warning("what is left on the topic is not known", error=str(error))
            return msgspec.structs.replace(
                termination, message=f"{termination.message}; what is left unstored is not known"
            )
        # What was not read is counted by offsets, and markers have some too.
        rest = f"up to {left} messages are left unstored" if left else "all that was sent is stored"
        return msgspec.structs.replace(
            termination, message=f"{termination.message}; {rest}", extra={**termination.extra, "left": left}
        )

    @property
    def _drains(self) -> bool:
        """Whether a command lets the worker store what its loaders have sent before it ends."""
        return self._definition.role is Role.SINK and Use.INPUT in self._definition.uses and not self._settings.replay

    def _on_stop(self, upstream_ended: bool, drain_s: float) -> None:
        self.stop.by_command(upstream_ended=upstream_ended, drain_s=drain_s)
        self._drain()

    def _drain(self) -> None:
        if self._drains and self._connections.input is not None:
            self._connections.input.drain(upstream_ended=self.stop.upstream_ended)

    async def _stopping(self) -> None:
        """Return once the work must be left: the worker must stop, and a sink had its time to drain."""
        await self.stop.wait()
        if not self._drains:
            return
        until = {
            asyncio.create_task(self.stop.wait_at_once(), name="stop at once"),
            asyncio.create_task(self._clock.sleep(min(self._settings.drain_seconds, self.stop.drain_s)), name="drain"),
        }
        try:
            await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in until:
                task.cancel()

    def _failure(self, error: BaseException) -> Termination:
        self._log.error("the work failed", exc_info=root_of(error))
        return failed(error)

    async def _work(self, bus: MessageBus, commands: CommandListener, telemetry: Telemetry) -> None:
        self._connections = await self._connector.connections(self._definition, bus)
        self._context = context = Context(
            self._settings,
            self._parameters,
            self._connections,
            self._instruments,
            own_commands=commands.own_commands,
            telemetry=telemetry,
            handover=self._handover,
        )
        if self._connections.exchange is not None:
            self._instruments.progress.weight_per_minute = self._settings.exchange.weight_per_minute
        if self._budget is not None:
            self._share_weight(self._budget)
        if self._connects is not None:
            self._set_connects(self._connects)
        if self._connections.input is not None:
            self._connections.input.note = context.note
        if self.stop.asked:
            self._drain()
        try:
            await self._definition.run(context)
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(
                f"the work raised {type(error).__name__}: only the supervisor ends the process"
            ) from error

    def _set_budget(self, weight_per_minute: int) -> None:
        self._budget = weight_per_minute
        self._log.info("budget", weight_per_minute=weight_per_minute)
        self._share_weight(weight_per_minute)

    def _set_connects(self, connects: int) -> None:
        self._connects = connects
        if self._connections.stream is not None:
            self._connections.stream.set_connect_limit(connects)

    def _share_weight(self, weight_per_minute: int) -> None:
        """Keep what is connected to its share of the exchange's weight."""
        if self._context is not None:
            self._context.weight_per_minute = weight_per_minute
        if self._connections.exchange is not None:
            self._connections.exchange.set_weight_limit(weight_per_minute)
            self._instruments.progress.weight_per_minute = weight_per_minute

    async def _heartbeats(self, telemetry: Telemetry) -> None:
        while True:
            await self._clock.sleep(self._settings.heartbeat_seconds)
            await self._measure()
            telemetry.heartbeat()

    async def _watch_manager(self, commands: CommandListener) -> None:
        """Stop the worker when its manager is lost; otherwise never return."""
        limit_s = self._settings.orphan_seconds
        while not limit_s or (silent_s := self._clock.monotonic() - commands.read_at) <= limit_s:
            await self._clock.sleep(_OWNER_LOOK_S if not limit_s else min(_OWNER_LOOK_S, limit_s - silent_s + 0.01))
        self._log.warning("this worker has lost its manager: stopping in order", silent_seconds=round(silent_s, 1))
        self.stop.by_silence(silent_s)

    async def _measure(self) -> None:
        part = self._connections.input or self._connections.output
        if part is not None:
            try:
                async with asyncio.timeout(_MEASURE_LIMIT_S):
                    await part.measure()
            except (StreamForgeError, TimeoutError) as error:
                self._log.debug("the lag is not known", error=str(error))
        if self._progress.lag is not None:
            self._metrics.gauge("lag_records", self._progress.lag)
        if self._progress.share is not None:
            self._metrics.gauge("share", self._progress.share)

    async def _close_stream(self, termination: Termination) -> Termination:
        """A loader closes its topic before its terminal event; after an error it leaves that to the next attempt.

        So it does where another attempt writes, or goes on where it ends.
        """
        output = self._connections.output
        if self._handover.in_shadow or self._handover.handed_over:
            return termination
        if self._definition.role is not Role.LOADER or output is None or termination.event == "error":
            return termination
        marker = EndOfStream(
            producer=self._settings.telemetry_id,
            attempt=self._settings.attempt,
            records=self._progress.records,
            reason="finished" if termination.event == "finished" else "interrupted",
        )
        try:
            async with asyncio.timeout(self._patience(termination)):
                await output.close_stream(marker)
        except Exception as error:
            if termination.event == "finished":
                return self._failure(error)
            self._log.warning("the end of the stream could not be marked", error=str(error))
        return termination

    async def _publish(self, termination: Termination) -> int:
        if self._telemetry is None:
            self._log.error(
                "the terminal event could not be published: no bus",
                event_kind=termination.event,
                error=termination.error_message,
            )
            return termination.exit_code
        # By command alone: a slow bus is waited for, until the manager ends the job, which is a signal.
        patience_s = self.terminal_patience_s if self.stop.by_command_alone else self._patience(termination)
        try:
            async with self.stop.hurrying(self._settings.stop_grace_seconds * TERMINAL_SHARE):
                await self._telemetry.publish_terminal(termination, publisher=self._publisher, patience_s=patience_s)
        except Exception as error:
            text = str(error) or repr(error)
            self._log.error("the terminal event could not be published", event_kind=termination.event, error=text)
            return termination.exit_code or EXIT_FAILED
        self._log.info(
            termination.event,
            exit_code=termination.exit_code,
            records=self._progress.records,
            message=termination.message,
            error=termination.error_message,
        )
        return termination.exit_code

    def _patience(self, termination: Termination) -> float:
        if termination.event == "interrupted" or self.stop.asked:
            return self._settings.stop_grace_seconds * TERMINAL_SHARE
        return TERMINAL_PATIENCE_S

    async def _end_tasks(self, tasks: set[asyncio.Task[None]], limit_s: float) -> set[asyncio.Task[None]]:
        running = {task for task in tasks if not task.done()}
        for task in running:
            task.cancel()
        if not running:
            return set()
        _, stuck = await asyncio.wait(running, timeout=limit_s)
        return stuck

    def _install_signal_handlers(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.signalled, number)

    def signalled(self, number: int) -> None:
        """A signal came that asks the process to end."""
        if self.goes_on(number):
            return
        if not self.stop.by_signal(number):
            self._log.error("a second signal: leaving at once")
            os._exit(EXIT_FAILED)
        self._log.info("a signal: stopping in order", signal=signal.Signals(number).name)

    def goes_on(self, number: int) -> bool:
        """Whether the worker goes on for a while after a signal, as another attempt may take its place."""
        if self._leaving is not None:
            self._leaving.cancel()
        grace_s, handover = self._settings.stream.leaving_seconds, self._handover
        if handover.leaving or handover.in_shadow or self.stop.asked or number != signal.SIGTERM or not grace_s:
            return False
        handover.leaving = True
        self._leaving = asyncio.get_running_loop().call_later(grace_s, self.signalled, number)
        if self._telemetry is not None:
            self._telemetry.heartbeat()
        self._log.info("a signal: going on until another attempt takes over", most_seconds=grace_s)
        return True
