"""A worker that does no work: it shows whether bus, commands, events and metrics work, and plays other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import msgspec

from streamforge import workers
from streamforge.workers._imitation import MAX_RECORD_BYTES, play_loader, play_sink, simulate_loading
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.runtime.context import Context
from streamforge_utils.runtime.worker_definition import Definition, DerivedMetric, Role, Use

TARGET = "dummy-service"

Rate = Annotated[
    float,
    msgspec.Meta(
        ge=0,
        description="loading events or records that are made up (of a sink: read) at most; "
        "0: one event a second, and records as fast as they go",
    ),
    msgspec.Meta(extra={"unit": "per second"}),
]
RecordSize = Annotated[
    int,
    msgspec.Meta(
        ge=0,
        le=MAX_RECORD_BYTES,
        description="size to which what is made up is padded; 0: it is as long as it is",
    ),
    msgspec.Meta(extra={"unit": "bytes"}),
]
Events = Annotated[
    int,
    msgspec.Meta(
        ge=0,
        description="loading events or records that are made up; 0: events without end, records of all `TIME_RANGE`",
    ),
]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What the service plays. Without any of it, it waits for commands."""

    simulate_loading: Annotated[
        bool, msgspec.Meta(description="publish `loading` again and again, as if something were loaded")
    ] = False
    fail_after: Annotated[
        Annotated[float, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="fail after so long: the event `error`, exit code 1"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = None
    exit_after: Annotated[
        Annotated[float, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="be done after so long: the event `finished`, exit code 0"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = None
    noop: Annotated[
        bool, msgspec.Meta(description="connect, publish `started` and `finished`, and end: is the bus there?")
    ] = False
    imitate: Annotated[
        str,
        msgspec.Meta(
            description="the target that it plays, without the work: its events, and its records and marker "
            "(made up) or its reading"
        ),
    ] = ""
    rate: Rate = 0.0
    record_size: RecordSize = 0
    events: Events = 0


class SimulateLoading(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of the command `simulate-loading`; what it leaves out is as the service was started."""

    rate: Rate | None = None
    record_size: RecordSize | None = None
    events: Events | None = None


class FailAfter(msgspec.Struct, frozen=True, kw_only=True):
    """Payload of the command `fail-after`."""

    seconds: Annotated[float, msgspec.Meta(ge=0, description="fail so many seconds after the command is obeyed")]


async def run(ctx: Context[Parameters]) -> None:
    """Play what the parameters and the commands ask for, until it is over."""
    if not ctx.parameters.noop:
        await _Play(ctx).run()


class _Play:
    def __init__(self, ctx: Context[Parameters]) -> None:
        self._ctx = ctx
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[None] | None = None
        self._failing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Return once what is played is over. Raises what it must fail with."""
        given = self._ctx.parameters
        async with asyncio.TaskGroup() as group:
            self._start(group, self._obey(group))
            if given.exit_after is not None:
                self._start(group, self._to_the_end(self._ctx.clock.sleep(given.exit_after)))
            if given.fail_after is not None:
                self._failing = self._start(group, self._fail(given.fail_after, "as it was started"))
            if given.imitate:
                self._start(group, self._to_the_end(self._imitate(workers.definition(given.imitate).role)))
            elif given.simulate_loading:
                self._loading = self._start(group, self._to_the_end(self._load(SimulateLoading())))
            await self._over.wait()
            for task in self._tasks:
                task.cancel()

    def _start(self, group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _to_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self._over.set()

    async def _obey(self, group: asyncio.TaskGroup) -> None:
        while True:
            command = await self._ctx.command()
            if isinstance(command, FailAfter):
                self._replace(self._failing)
                self._failing = self._start(group, self._fail(command.seconds, "as the command said"))
            elif isinstance(command, SimulateLoading):
                self._replace(self._loading)
                self._loading = self._start(group, self._load(command))

    def _replace(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()

    async def _load(self, command: SimulateLoading) -> None:
        given = self._ctx.parameters
        await simulate_loading(
            self._ctx,
            rate=given.rate if command.rate is None else command.rate,
            record_size=given.record_size if command.record_size is None else command.record_size,
            events=given.events if command.events is None else command.events,
        )

    async def _fail(self, seconds: float, why: str) -> None:
        await self._ctx.clock.sleep(seconds)
        raise RetryableError(f"{TARGET} fails after {seconds:g} s, {why}")

    async def _imitate(self, role: Role) -> None:
        given = self._ctx.parameters
        if role is Role.LOADER:
            await play_loader(self._ctx, rate=given.rate, record_size=given.record_size, records=given.events)
        else:
            await play_sink(self._ctx, rate=given.rate)


def adapt(definition: Definition[Parameters], parameters: Parameters) -> Definition[Parameters]:
    """The service under the name and with the topics of the target that it imitates."""
    if parameters.noop and (parameters.imitate or parameters.simulate_loading):
        raise InvalidInput("noop", "noop ends at once: it goes with neither simulate-loading nor imitate")
    if not parameters.imitate:
        return definition
    if parameters.simulate_loading:
        raise InvalidInput("imitate", "imitate has a progress of its own: leave simulate-loading out")
    choices = [name for name in workers.targets() if name != TARGET]
    if parameters.imitate not in choices:
        raise InvalidInput(
            "imitate", f"imitate {parameters.imitate[:80]!r} is not known: choose one of {', '.join(choices)}"
        )
    played = workers.definition(parameters.imitate)
    return msgspec.structs.replace(
        definition,
        target=played.target,
        summary=f"{TARGET} plays {played.target}",
        role=played.role,
        types=played.types,
        uses=played.uses & {Use.INPUT, Use.OUTPUT},
    )


DEFINITION = Definition(
    target=TARGET,
    summary="shows whether the bus works, and plays other workers",
    role=Role.DIAGNOSTIC,
    types=(),
    parameters=Parameters,
    uses=frozenset(),
    run=run,
    adapt=adapt,
    makes_topic=True,
    commands={"simulate-loading": SimulateLoading, "fail-after": FailAfter},
    defaults={
        "SYMBOL": "DUMMY",
        "TYPE": "api_candles_1m",
        "TIME_RANGE": "2024-08-01",
        "KAFKA_TOPIC": "{QUEUE_ID}-data",
    },
    derived_metrics=(
        DerivedMetric(name="dummy_events", help="Events sent, by kind.", of="events", by="event", label="event"),
        DerivedMetric(name="dummy_pings", help="Pings read.", of="commands", by="command", values=("ping",)),
        DerivedMetric(
            name="dummy_status_last",
            help="1 for the latest status, 0 for the others.",
            of="events",
            by="event",
            values=("started", "loading", "finished", "interrupted", "error"),
            label="status",
            latest=True,
        ),
    ),
)
