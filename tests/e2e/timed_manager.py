"""A queue-manager whose clock and end a test decides, by files in the folder that TIMED_BY names.

offset: milliseconds between the machine's clock and its own; sleeps end when that changes. go: schedules are looked at
while it is there; of `before 2` or `after 2` the process kills itself around the second write of a schedule, of the
history of its runs, or of a new workflow.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from streamforge.manager import __main__, startup
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.schedules.driver import ScheduleDriver
from streamforge.manager.schedules.store import ScheduleStore
from streamforge_utils.ports.clock import SystemClock

FOLDER = Path(os.environ["TIMED_BY"])
OFFSET, GO = FOLDER / "offset", FOLDER / "go"
_LOOK_S = 0.02


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


class TimedClock(SystemClock):
    """The machine's clock, moved by the offset."""

    def now_ms(self) -> int:
        return super().now_ms() + int(OFFSET.read_text())

    async def sleep(self, seconds: float) -> None:
        offset, until = OFFSET.read_text(), self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0 and OFFSET.read_text() == offset:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(min(left, _LOOK_S))


def _gated(turn: Callable[..., Awaitable[float]]) -> Callable[..., Awaitable[float]]:
    async def gated(self: ScheduleDriver) -> float:
        while _read(GO) is None:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(_LOOK_S)
        return await turn(self)

    return gated


def _deadly(write: Callable[..., Awaitable[Any]], written: list[None]) -> Callable[..., Awaitable[Any]]:
    async def deadly(*args: Any, **fields: Any) -> Any:
        place, _, number = (_read(GO) or "").partition(" ")
        if place:
            written.append(None)
        dies = str(len(written)) == number
        if dies and place == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = await write(*args, **fields)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return deadly


if __name__ == "__main__":
    startup.SystemClock = TimedClock  # type: ignore[attr-defined]
    ScheduleDriver.turn = _gated(ScheduleDriver.turn)  # type: ignore[method-assign, assignment]
    writes: list[None] = []
    for store, name in ((ScheduleStore, "_write"), (ScheduleStore, "keep"), (WorkflowStore, "create")):
        setattr(store, name, _deadly(getattr(store, name), writes))
    raise SystemExit(__main__.main())
