"""Waiting for a workflow's end: showing it, stopping it on Ctrl-C, going on where its manager went away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import Query
from streamforge.cli.command_errors import ApiProblem, CliError, Interrupted, ServerLost, ServerSilent, exit_code
from streamforge.cli.coverage_text import advice, description, wait_command
from streamforge.cli.interrupts import Interrupts, interrupts
from streamforge.cli.outcome import Ended, Loaded
from streamforge.cli.progress import WorkflowDisplay, display
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.manager import answers, data_answers
from streamforge.manager.origin import TEST
from streamforge_utils.model.errors import StreamForgeError

T = TypeVar("T")
Begin = Callable[[Session], Awaitable[answers.Started]]
"""Starts a workflow, or retries it."""

LOOK_EVERY_S = 0.25
TAKE_OVERS = 5
LEAVES_S = 3.0
"""After the second Ctrl-C, how long closing may take before the process exits."""
PATIENCE_S = 5.0
"""How long an exchange may not answer before the user is told what to do."""
GRACE_S = 30.0
"""After a time-out, how long the workflow is given to stop in order."""


async def followed(where: Where, begin: Begin, **how: Any) -> Ended:
    """Begin a workflow and follow it to its end. how: as `Follower` takes it. Raises as `Follower.begin`."""
    with interrupts() as asked, display() as shown:
        return await Follower(asked, shown, **how).begin(where, begin)


def _now(known: answers.Started, later: answers.Started) -> answers.Started:
    """`later`, the same workflow as it is now, with what was said only when it was asked for."""
    return msgspec.structs.replace(
        later, joined=known.joined, behind_seconds=known.behind_seconds, asked_range=known.asked_range
    )


async def unless_interrupted(
    what: Coroutine[Any, Any, T],
    interrupts: Interrupts,
    asked: asyncio.Event,
    begun: Callable[[], bool],
    leaving: Callable[[], Interrupted],
) -> T:
    """What `what` gives. The first signal sets `asked`, once something has `begun`; at the second one, `leaving` is
    raised.
    """
    work = asyncio.create_task(what)
    try:
        while not work.done():
            signalled = asyncio.ensure_future(interrupts.happened.wait())
            either: set[asyncio.Future[Any]] = {signalled, work}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            signalled.cancel()
            interrupts.happened.clear()
            if interrupts.count > 1 or (interrupts.count and not begun()):
                raise leaving()
            if interrupts.count:
                asked.set()
    finally:
        work.cancel()
        done, _ = await asyncio.wait({work}, timeout=LEAVES_S)
        if not done and interrupts.exits:
            # What holds us up can hold nothing of value: all that was promised is on disk.
            terminal.say(f"streamforge: {leaving()}")
            os._exit(interrupts.exit_code)
    return work.result()


async def pause(found: Session, asked: asyncio.Event | None) -> None:
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


class Follower:
    """Follows one workflow.

    timeout_s: after it the workflow is stopped in order; None: never. mode: DRIVE or CONTINUE. loads: something is to
    be loaded in it. attached: it belongs to others. again: what is stored is to be loaded too. On Ctrl-C, or when the
    time is over, it is left to the manager that drives it, and stopped only if that is the one of this command.
    """

    def __init__(
        self,
        interrupts: Interrupts,
        display: WorkflowDisplay,
        *,
        timeout_s: float | None = None,
        mode: Mode = Mode.DRIVE,
        loads: bool = True,
        attached: bool = False,
        again: bool = False,
    ) -> None:
        self._interrupts = interrupts
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout_s is None else self._loop.time() + timeout_s
        self._workflow: answers.Started | None = None
        self._where = Where()
        self._mode = mode
        self._loads = loads
        self._attached = attached
        self._again = again
        self._begun = False
        self._hinted = False
        self._made_up = False
        self._started = self._loop.time()
        self._asked = asyncio.Event()
        self._stop_sent = False
        self._timed_out = False
        self._had_ended = False
        self._remarked: set[str] = set()

    async def begin(self, where: Where, begin: Begin) -> Ended:
        """Call `begin` once, with a manager that drives workflows, and follow what it gives to its end.

        A manager that served another command and ended with it is replaced, by another one or by our own. Raises
        Interrupted where the user insists, or nothing has begun.
        """
        self._where = where
        workflow, coverage = await unless_interrupted(
            self._begin(where, begin), self._interrupts, self._asked, lambda: self._begun, self._leaving
        )
        return Ended(
            workflow=workflow,
            loaded=Loaded.of(workflow, coverage, self._loop.time() - self._started),
            interrupted=self._interrupts.exit_code if self._interrupts.count else None,
            timed_out=self._timed_out,
            again=self._again,
            earlier=self._had_ended,
        )

    def _leaving(self) -> Interrupted:
        if self._workflow is None:
            return Interrupted("nothing was started", self._interrupts.exit_code)
        left = (
            f"left {self._workflow.queue_id} as it is: the next manager on its data continues it "
            f"(`streamforge up{self._where.starting()}`)"
        )
        return Interrupted(self._with_the_rest(left, self._workflow), self._interrupts.exit_code)

    def _with_the_rest(self, said: str, workflow: answers.Started) -> str:
        """`said`, and what this command would have loaded after the end of the workflow that it joined."""
        rest = advice(workflow, self._where, again=self._again)
        return said if rest is None else f"{said}; {rest}"

    async def _begin(self, where: Where, begin: Begin) -> tuple[answers.Started, data_answers.Coverage]:
        takeovers = 0
        while True:
            self._made_up = where.exchange == TEST
            opened = False
            try:
                async with session(where, self._mode, loads=self._loads) as found:
                    opened = True
                    if self._workflow is None:
                        self._begun = True
                        with terminal.said_late(
                            "waiting for the manager, which asks the exchange first", self._display.note
                        ):
                            self._workflow = await begin(found)
                        self._had_ended = self._workflow.ended
                        self._attached = self._attached or self._workflow.joined
                        self._display.note(description(self._workflow))
                    if found.own:
                        await self._tell_of_others(found, self._workflow)
                    workflow = await self._follow(found, self._workflow)
                    return workflow, await found.api.get(f"/queues/{workflow.queue_id}/coverage", data_answers.Coverage)
            except ServerLost as error:
                if (
                    isinstance(error, ServerSilent)  # it holds the folder, so that no other can be there
                    or self._workflow is None
                    or where.server is not None
                    or takeovers >= TAKE_OVERS
                ):
                    raise
                takeovers += 1
                # The manager had the exchange of the data, which the command did not need to name.
                where = where.as_before()
                self._display.note("the manager that ran on this data has ended; going on with another")
            except StreamForgeError as error:
                if not takeovers or opened or self._workflow is None:
                    raise
                raise self._not_taken_over(error, self._workflow) from error

    def _not_taken_over(self, error: StreamForgeError, workflow: answers.Started) -> CliError:
        return CliError(
            f"{workflow.queue_id} is left as it is, because its manager has ended and no other could take its place: "
            f"{str(error).rstrip('.')}; then continue it with {wait_command(workflow.queue_id, self._where)}",
            exit_code(error),
        )

    async def _tell_of_others(self, found: Session, mine: answers.Started) -> None:
        """Name the other workflows that the command's own manager drives: they take slots and request weight."""
        query: Query = {"status": ["pending", "running", "stopping"], "limit": terminal.NAMES_SHOWN + 2}
        page = await found.api.get("/queues", answers.WorkflowPage, query)
        ids = [one.queue_id for one in page.queues if one.queue_id != mine.queue_id]
        if ids:
            self._display.note(
                f"this data holds other workflows that have not ended; they go on for as long as this command runs: "
                f"{terminal.first_of(ids)} (`streamforge stop QUEUE_ID` ends one)"
            )

    async def _follow(self, found: Session, workflow: answers.Started) -> answers.Started:
        path = f"/queues/{workflow.queue_id}"
        while not workflow.ended:
            self._remark(workflow)
            self._display.show(workflow)
            self._hint(found, workflow)
            await pause(found, None if self._stop_sent else self._asked)
            await self._attend(found, workflow)
            workflow = _now(workflow, await found.api.get(path, answers.Started))
        self._remark(workflow)
        self._display.show(workflow)
        return workflow

    def _remark(self, workflow: answers.Started) -> None:
        """Say once what of a source has failed, or is in doubt."""
        for remark in workflow.remarks:
            if remark not in self._remarked:
                self._remarked.add(remark)
                self._display.note(f"careful: {remark}")

    def _hint(self, found: Session, workflow: answers.Started) -> None:
        """Say once what to do where the exchange cannot be reached."""
        late = self._loop.time() - self._started > PATIENCE_S
        hint = "the exchange has not answered yet: `streamforge doctor` tells whether it can be reached from here"
        if self._made_up:
            hint = "the test exchange has not answered yet: is the machine overloaded?"
        else:
            hint += "; --exchange test (with a --data of its own) works without it"
        asks = workflow.progress.records_expected is None and workflow.topic_input is None
        if late and found.own and not self._hinted and asks:
            self._hinted = True
            self._display.note(hint)

    async def _attend(self, found: Session, workflow: answers.Started) -> None:
        asked = self._interrupts.count
        late = self._deadline is not None and self._loop.time() > self._deadline
        if late and self._timed_out and self._deadline is not None and self._loop.time() > self._deadline + GRACE_S:
            left = (
                f"{workflow.queue_id} did not stop within {terminal.duration(GRACE_S)} after its time was over: it is "
                "left as it is, and the next manager on its data continues it"
            )
            raise CliError(self._with_the_rest(left, workflow))
        if (asked or late) and self._attached and not found.own:
            raise self._detached(found, workflow)
        if (asked or late) and not self._stop_sent:
            self._stop_sent = True
            self._timed_out = late and not asked
            why = "stopping in order; Ctrl-C again leaves at once" if asked else "its time is over: stopping in order"
            self._display.note(why)
            try:
                await found.api.call("POST", f"/queues/{workflow.queue_id}/stop")
            except ApiProblem as error:
                if error.kind != "not-now":  # it ended meanwhile
                    raise

    def _detached(self, found: Session, workflow: answers.Started) -> CliError:
        wait = wait_command(workflow.queue_id, self._where)
        left = self._with_the_rest(
            f"the manager at {found.api.url} continues {workflow.queue_id} ({workflow.status}): {wait} waits for it, "
            "`streamforge stop` stops it",
            workflow,
        )
        if not self._interrupts.count:
            return CliError(f"the time is over; {left}")
        return Interrupted(left, self._interrupts.exit_code)
