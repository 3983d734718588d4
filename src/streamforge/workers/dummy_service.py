"""A worker that does no work: it shows whether bus, commands, events and metrics work, and plays other workers.

It plays a load of so many events, a loader without an exchange, or a sink without a store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import islice
from typing import Annotated, Any, TypeVar

import msgspec

from streamforge import workers
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.series import Series
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import DerivedMetric
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use

P = TypeVar("P", bound=msgspec.Struct)

MAX_RECORD_BYTES = 500_000
"""Of one message; a bus takes 1 MB, with what is around it."""

_STEP_S = 0.1
_LARGEST_STEP = 1000


class Pace:
    """Lets `rate` things a second pass, counted from its first call; 0: all of them.

    What was late is caught up with, so that the rate holds on the whole.
    """

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate
        self._begun: float | None = None
        self._passed = 0

    @property
    def step(self) -> int:
        """How many things to let pass at once."""
        return _LARGEST_STEP if not self._rate else max(1, min(_LARGEST_STEP, int(self._rate * _STEP_S)))

    async def let(self, count: int) -> None:
        """Return when `count` more may pass; the first ones at once."""
        if not self._rate:
            return
        now = self._clock.monotonic()
        if self._begun is None:
            self._begun = now
        pause = self._begun + self._passed / self._rate - now
        self._passed += count
        if pause > 0:
            await self._clock.sleep(pause)


async def simulate_loading(ctx: Context[P], *, rate: float, record_size: int, events: int) -> None:
    """Publish `loading` `events` times (0: without end), `rate` times a second; each stands for one record.

    record_size: bytes of padding in each event.
    """
    pace = Pace(ctx.clock, rate or 1.0)
    before = ctx.progress.records
    padding: dict[str, Any] = {"padding": "x" * record_size} if record_size else {}
    number = 0
    ctx.progress.share = 0.0 if events else None
    while not events or number < events:
        await pace.let(1)
        number += 1
        ctx.progress.records = before + number
        if events:
            ctx.progress.share = number / events
        await ctx.report({"simulated": True, "number": number, **padding})


async def play_loader(ctx: Context[P], *, rate: float, record_size: int, records: int) -> None:
    """Write made-up records, oldest first; the runtime closes the stream afterwards.

    records: at most so many; 0: as many as the range has. record_size: bytes to which each is padded.
    """
    rule = ctx.kind.rule(ctx.series)
    if not isinstance(rule, Grid):
        raise InvalidInput("type", f"{ctx.kind.name} are on no time grid: a loader of them cannot be imitated")
    grids = [rule.times(span.start_ms, span.end_ms) for span in ctx.ranges]
    total = sum(len(grid) for grid in grids)
    total = min(total, records) if records else total
    pace = Pace(ctx.clock, rate)
    wanted = islice((time for grid in grids for time in grid), total)
    written = 0
    while batch := list(islice(wanted, pace.step)):
        await pace.let(len(batch))
        await ctx.output.write([_message(ctx.kind, ctx.series, time, record_size) for time in batch])
        written += len(batch)
        ctx.progress.position = batch[-1]
        ctx.progress.share = written / total
    ctx.progress.share = 1.0


def _message(kind: RecordKind, series: Series, position: int, size: int) -> Message:
    record = kind.imitation(series, position)
    return Message(record.key.encode(), padded(msgspec.json.encode(record), size))


def padded(record: bytes, size: int) -> bytes:
    """The JSON object `record` with a field `padding`, `size` bytes long; itself if it is that long already."""
    frame = b',"padding":""}'
    room = size - len(record) + 1 - len(frame)
    return record if room < 0 else record[:-1] + frame[:-2] + b"x" * room + frame[-2:]


async def play_sink(ctx: Context[P], *, rate: float) -> None:
    """Read, at `rate` records a second (0: as fast as they come), until every producer has closed the stream."""
    pace = Pace(ctx.clock, rate)
    async for batch in ctx.input:
        for first in range(0, len(batch), pace.step):
            part = batch[first : first + pace.step]
            await pace.let(len(part))
            ctx.progress.records += len(part)
            await ctx.input.done(part)


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
