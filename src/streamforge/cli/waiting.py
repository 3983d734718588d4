"""What waiting for a workflow and waiting for a batch have in common: Ctrl-C, a time-out, a manager that goes away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from streamforge.cli import terminal
from streamforge.cli.command_errors import ApiProblem, CliError, Interrupted, ServerLost, ServerSilent
from streamforge.cli.interrupts import Interrupts
from streamforge.cli.session import Mode, Session, Where

T = TypeVar("T")
D = TypeVar("D", bound="Notes")

LOOK_EVERY_S = 0.25
TAKE_OVERS = 5
LEAVES_S = 3.0
"""After the second Ctrl-C, how long closing may take before the process exits."""
GRACE_S = 30.0
"""After a time-out, how long the workflow is given to stop in order."""


class Notes(Protocol):
    """Where a waiting command says something."""

    def note(self, text: str) -> None:
        """A line that stays."""


class Waiting(Generic[D]):
    """Waits for one workflow, or one batch, which has a `name` once it is begun.

    COMMAND: begins the words of its commands. PATH: its place in the API.
    timeout_s: after it, it is stopped in order; None: never. mode: DRIVE or CONTINUE. loads: something is to be loaded
    in it. attached: it belongs to others: on Ctrl-C, or when the time is over, it is left to the manager that drives
    it, and stopped only if that is the one of this command.
    """

    COMMAND: ClassVar[str]
    PATH: ClassVar[str]

    def __init__(
        self,
        interrupts: Interrupts,
        display: D,
        *,
        timeout_s: float | None = None,
        mode: Mode = Mode.DRIVE,
        loads: bool = True,
        attached: bool = False,
    ) -> None:
        self._interrupts = interrupts
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout_s is None else self._loop.time() + timeout_s
        self._mode = mode
        self._loads = loads
        self._attached = attached
        self._where = Where()
        self._name: str | None = None
        self._begun = False
        self._started = self._loop.time()
        self._asked = asyncio.Event()
        self._stop_sent = False
        self._timed_out = False
        self._takeovers = 0

    def with_the_rest(self, said: str) -> str:
        """`said`, and what this command would have done afterwards."""
        return said

    async def unless_interrupted(self, what: Coroutine[Any, Any, T]) -> T:
        """What `what` gives. The first signal asks for a stop, once something has begun; at the second one, Interrupted
        is raised.
        """
        interrupts, work = self._interrupts, asyncio.create_task(what)
        try:
            while not work.done():
                signalled = asyncio.ensure_future(interrupts.happened.wait())
                either: set[asyncio.Future[Any]] = {signalled, work}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                signalled.cancel()
                interrupts.happened.clear()
                if interrupts.count > 1 or (interrupts.count and not self._begun):
                    raise self._leaving()
                if interrupts.count:
                    self._asked.set()
        finally:
            work.cancel()
            done, _ = await asyncio.wait({work}, timeout=LEAVES_S)
            if not done and interrupts.exits:
                # What holds us up can hold nothing of value: all that was promised is on disk.
                terminal.say(f"streamforge: {self._leaving()}")
                os._exit(interrupts.exit_code)
        return work.result()

    @property
    def interrupted(self) -> int | None:
        """The exit code after Ctrl-C."""
        return self._interrupts.exit_code if self._interrupts.count else None

    def _leaving(self) -> Interrupted:
        if self._name is None:
            return Interrupted("nothing was started", self._interrupts.exit_code)
        left = (
            f"left {self._name} as it is: the next manager on its data continues it "
            f"(`streamforge up{self._where.starting()}`)"
        )
        return Interrupted(self.with_the_rest(left), self._interrupts.exit_code)

    def after(self, lost: ServerLost, where: Where) -> Where:
        """Where to go on, after the manager at `where` was lost. Raises `lost` where that is nowhere."""
        silent = isinstance(lost, ServerSilent)  # it holds the folder, so that no other can be there
        if silent or self._name is None or where.server is not None or self._takeovers >= TAKE_OVERS:
            raise lost
        self._takeovers += 1
        self._display.note("the manager that ran on this data has ended; going on with another")
        return where.as_before()  # the manager had the exchange of the data, which need not be named

    async def pause(self, found: Session, status: str) -> None:
        """Rest between two looks, or until a stop is asked for; then ask for it. status: of what is waited for.

        Raises CliError where the command's own manager has ended, or it is not to be waited for any longer.
        """
        await _rest(found, None if self._stop_sent else self._asked)
        asked, now = self._interrupts.count, self._loop.time()
        late = self._deadline is not None and now > self._deadline
        if late and self._timed_out and self._deadline is not None and now > self._deadline + GRACE_S:
            left = (
                f"{self._name} did not stop within {terminal.duration(GRACE_S)} after its time was over: it is "
                "left as it is, and the next manager on its data continues it"
            )
            raise CliError(self.with_the_rest(left))
        if (asked or late) and self._attached and not found.own:
            raise self._detached(found, status)
        if (asked or late) and not self._stop_sent:
            self._stop_sent = True
            self._timed_out = late and not asked
            why = "stopping in order; Ctrl-C again leaves at once" if asked else "its time is over: stopping in order"
            self._display.note(why)
            try:
                await found.api.call("POST", f"{self.PATH}{self._name}/stop")
            except ApiProblem as error:
                if error.kind != "not-now":  # it ended meanwhile
                    raise

    def _detached(self, found: Session, status: str) -> CliError:
        left = self.with_the_rest(
            f"the manager at {found.api.url} continues {self._name} ({status}): `streamforge {self.COMMAND}wait "
            f"{self._name}{self._where.flags()}` waits for it, `streamforge {self.COMMAND}stop` stops it"
        )
        if not self._interrupts.count:
            return CliError(f"the time is over; {left}")
        return Interrupted(left, self._interrupts.exit_code)


async def _rest(found: Session, asked: asyncio.Event | None) -> None:
    """Rest between two looks, until `asked` is set. Raises CliError where the command's own manager has ended."""
    wake: set[asyncio.Future[Any]] = set() if found.ended is None else {found.ended}
    waiting = None if asked is None else asyncio.ensure_future(asked.wait())
    if waiting is not None:
        wake.add(waiting)
    try:
        if wake:
            await asyncio.wait(wake, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        if waiting is not None:
            waiting.cancel()
    if found.ended is not None and found.ended.done():
        await found.ended
        raise CliError("the manager of this command has ended: run the command again, what was stored stays")
