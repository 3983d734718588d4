"""The processes of a simulation in one process: tasks that call their ports through a gate, closed when they die."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from streamforge_utils.model.errors import RetryableError

DEEDS = frozenset(
    {"put", "remove", "upsert", "drop", "delete", "delete_keys", "flush", "start", "stop", "forget", "send", "commit"}
    | {"create_topic", "delete_topic"}
)
"""Calls that change something: at one of them a process may be killed."""

_NO_ANSWER_S = 0.5
"""How long it takes to find out that nothing answers."""


class Killed(BaseException):
    """The process is gone: nothing in it catches that."""


class Process:
    """gone: set once it has ended or was killed. deeds: what it has done so far."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.deeds = 0
        self._end: tuple[int, bool] | None = None
        self._closings: list[Callable[[], None]] = []

    def dies_at(self, deeds: int, *, after: bool) -> None:
        """Let it be killed before (or after) the deed that is `deeds` from now."""
        self._end = (self.deeds + deeds, after)

    def lives_on(self) -> None:
        """It is not killed by itself any more."""
        self._end = None

    @property
    def alive(self) -> bool:
        return not self.gone.is_set()

    def kill(self) -> None:
        if self.alive:
            self.gone.set()
            for closing in self._closings:
                closing()

    def when_dead(self, closing: Callable[[], None]) -> None:
        """What the system does for a dead process."""
        self._closings.append(closing)

    async def call(self, name: str, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Await the call, unless the process is dead by then."""
        if not self.alive:
            raise Killed
        last = False
        if name in DEEDS:
            self.deeds += 1
            last = self._end is not None and self.deeds >= self._end[0]
        if last and self._end is not None and not self._end[1]:
            self.kill()
            raise Killed
        result = await function(*args, **kwargs)
        if last:
            self.kill()
        if not self.alive:
            raise Killed
        return result


class Outage:
    """Whether the bus, or the store, answers."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._late = False

    def begin(self, seconds: float, *, late: bool) -> None:
        """From now on it does not answer. late: the next change that it is asked for is still done."""
        self._until, self._late = asyncio.get_running_loop().time() + seconds, late

    def lasts(self, now: float) -> bool:
        """now: the loop's time."""
        return now < self._until

    def end(self) -> None:
        self._until = float("-inf")

    async def call(self, name: str, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Await the call. Raises RetryableError while there is no answer."""
        if name == "close" or not self.lasts(asyncio.get_running_loop().time()):
            return await function(*args, **kwargs)
        if self._late and name in DEEDS:
            self._late = False
            await function(*args, **kwargs)
        await asyncio.sleep(_NO_ANSWER_S)
        raise RetryableError(f"no answer to {name}")


class Port:
    """A bus, a store or another part, as a process has it. opened: called with each of its producers and consumers."""

    def __init__(
        self,
        process: Process,
        part: Any,
        opened: Callable[[Any], None] | None = None,
        outage: Outage | None = None,
    ) -> None:
        self.__dict__.update(_process=process, _part=part, _opened=opened, _outage=outage)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not inspect.iscoroutinefunction(value):
            return value

        function = value if self._outage is None else partial(self._outage.call, name, value)

        async def called(*args: Any, **kwargs: Any) -> Any:
            result = await self._process.call(name, function, *args, **kwargs)
            if name in ("producer", "consumer"):
                if self._opened is not None:
                    self._opened(result)
                return Port(self._process, result, outage=self._outage)
            return result

        self.__dict__[name] = called
        return called
