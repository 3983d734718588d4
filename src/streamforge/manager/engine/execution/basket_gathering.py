"""Gathering launches of loaders of streams, so that many of them become one process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from streamforge.manager.engine.execution.exchange_limits import CONNECT_WINDOW_MS
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.messages import TERMINAL_EVENTS, decode_event
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.launcher import Job, JobSpec, JobState, Launcher

GATHER_S = 5.0
"""So long a launch waits at most for others that are about to come."""

CONNECTS = "STREAMFORGE_CONNECTS"
"""Loaders of streams have it, and no others."""
SHADOW = "STREAMFORGE_SHADOW"
"""Those of them have it beside which another attempt writes."""

_Alike = tuple[str, str | None, bool]
"""Target, image, and whether another attempt writes: one process has one of each."""


class _Basket:
    def __init__(self, now: float) -> None:
        self.since = now
        self.specs: list[JobSpec] = []
        self.full = asyncio.Event()
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.started.add_done_callback(lambda one: one.cancelled() or one.exception())  # nobody may wait for it


class Baskets:
    """Starts loaders of streams together that are launched within a moment of each other, at most `size`.

    begun: of how many a launch has begun that has not ended. expected: how many more are about to be launched.
    """

    def __init__(self, launcher: Launcher, clock: Clock, size: int) -> None:
        self.size = size
        self.begun: Callable[[], int] = lambda: 0
        self.expected: Callable[[], int] = lambda: 0
        self._launcher = launcher
        self._clock = clock
        self._open: dict[_Alike, _Basket] = {}
        self._looking = False

    async def hear(self, jobs: Iterable[Job], received: Sequence[Received]) -> None:
        """Tell the launcher which members have sent their terminal event, also those whose workflows are gone.

        Raises RetryableError.
        """
        running = (job for job in jobs if job.is_member and job.state is JobState.RUNNING)
        members = {(job.queue_id, job.target, job.attempt): job.name for job in running}
        for one in received if members else ():
            with suppress(PermanentError):  # no event
                event = decode_event(one.value)
                name = members.get((event.queue_id, event.target, event.attempt))
                if name is not None and event.event in TERMINAL_EVENTS:
                    code = (event.extra or {}).get("exit_code")
                    await self._launcher.note_end(name, code if isinstance(code, int) else int(event.event == "error"))

    @contextmanager
    def looking(self) -> Iterator[None]:
        """In the block it is decided which jobs are to be launched: all of them are gathered."""
        self._looking = True
        try:
            yield
        finally:
            self._looking = False
            # Once those that are ready have joined.
            asyncio.get_running_loop().call_soon(self._close_those_due)

    async def start(self, spec: JobSpec) -> None:
        """Start the job, with others if it loads a stream; raises as `Launcher.start_together`."""
        if self.size == 1 or CONNECTS not in spec.environment:
            await self._launcher.start(spec)
            return
        alike = spec.target, spec.image, SHADOW in spec.environment
        basket = self._open.get(alike)
        if basket is None:
            basket = self._open[alike] = _Basket(self._clock.monotonic())
        basket.specs.append(spec)
        if len(basket.specs) >= self.size:
            self._close(basket)
        self._close_those_due()
        await basket.full.wait()
        if basket.specs[0] is not spec:
            await asyncio.shield(basket.started)
            return
        try:
            await (
                self._launcher.start(spec) if len(basket.specs) == 1 else self._launcher.start_together(basket.specs)
            )
        except BaseException as error:
            ended = isinstance(error, asyncio.CancelledError)
            basket.started.set_exception(RetryableError("the manager ends") if ended else error)
            raise
        basket.started.set_result(None)

    def _close_those_due(self) -> None:
        now, waiting = self._clock.monotonic(), sum(len(one.specs) for one in self._open.values())
        for basket in [*self._open.values()]:
            others_come = self._looking or self.expected() or self.begun() > waiting
            if not others_come or now - basket.since >= GATHER_S:
                self._close(basket)

    def _close(self, basket: _Basket) -> None:
        for alike, one in [*self._open.items()]:
            if one is basket:
                del self._open[alike]
        basket.full.set()


def processes_of(names: Mapping[str, object], jobs: Mapping[str, Job]) -> tuple[dict[str, str], dict[str, int]]:
    """The process of each of these jobs, and how many of them it does; one that is not seen is alone."""
    processes = {name: (jobs[name].basket if name in jobs else "") or name for name in names}
    members = Counter(processes.values())
    return processes, {name: members[process] for name, process in processes.items()}


class Launches:
    """Counts the processes that connect to the streams and were planned in five minutes, also those that are gone.

    size: of a basket.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._planned: dict[str, int] = {}
        self._processes: dict[str, str] = {}
        self._of: tuple[Mapping[str, Job], int] | None = None
        self._seen = set[str]()
        self._coming = 0

    @property
    def planned(self) -> dict[str, tuple[int, str]]:
        """When each attempt was planned whose process connects, and that process; empty: it was not seen yet."""
        return {name: (planned_ms, self._processes.get(name, "")) for name, planned_ms in self._planned.items()}

    def restore(self, planned: Mapping[str, tuple[int, str]]) -> None:
        """Go on with what another one has counted."""
        self._planned = {name: planned_ms for name, (planned_ms, _) in planned.items()}
        self._processes = {name: process for name, (_, process) in planned.items() if process}

    def beside_one_more(self, planned: Mapping[str, int], jobs: Mapping[str, Job], now_ms: int) -> int:
        """How many there are beside the process of one that is planned now.

        planned: when, in unix ms, of each attempt's job; those that are new since it was asked last are among them.
        Those that were not seen yet are taken to fill baskets. All are counted once for each `jobs` and `now_ms`.
        """
        if self._of is None or self._of[0] is not jobs or self._of[1] != now_ms:
            planned, before = {**self._planned, **planned}, self._processes
            self._of, self._planned, self._processes, self._seen, self._coming = (jobs, now_ms), {}, {}, set(), 0
        else:
            before = self._processes
        for name, planned_ms in planned.items():
            if name in self._planned or planned_ms <= now_ms - CONNECT_WINDOW_MS:
                continue
            self._planned[name] = planned_ms
            process = before.get(name) if (job := jobs.get(name)) is None else job.basket or name
            if process is None:
                self._coming += 1
            else:
                self._processes[name] = process
                self._seen.add(process)
        return len(self._seen) + self._coming // self._size
