"""Waiting for a workflow's end: showing it, stopping it on Ctrl-C, going on where its manager went away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import Query
from streamforge.cli.command_errors import CliError, ServerLost, exit_code
from streamforge.cli.coverage_text import advice, description, wait_command
from streamforge.cli.interrupts import Interrupts, interrupts
from streamforge.cli.outcome import Ended, Loaded
from streamforge.cli.progress import WorkflowDisplay, display
from streamforge.cli.session import Session, Where, session
from streamforge.cli.waiting import Waiting
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.listing_answers import WorkflowPage
from streamforge.manager.origin import TEST
from streamforge_utils.model.errors import StreamForgeError

T = TypeVar("T")
Begin = Callable[[Session], Awaitable[answers.Started]]
"""Starts a workflow, or retries it."""

PATIENCE_S = 5.0
"""How long an exchange may not answer before the user sees what to do."""


async def followed(where: Where, begin: Begin, **how: Any) -> Ended:
    """Begin a workflow and follow it to its end. how: as `Follower` takes it. Raises as `Follower.begin`."""
    with interrupts() as asked, display() as shown:
        return await Follower(asked, shown, **how).begin(where, begin)


def _now(known: answers.Started, later: answers.Started) -> answers.Started:
    """`later`, the same workflow as it is now, with what was said only when it was asked for."""
    return msgspec.structs.replace(
        later, joined=known.joined, behind_seconds=known.behind_seconds, asked_range=known.asked_range
    )


class Follower(Waiting[WorkflowDisplay]):
    """Follows one workflow. again: what is stored is to be loaded too. how: as `Waiting` takes it."""

    COMMAND, PATH = "", "/queues/"

    def __init__(self, interrupts: Interrupts, display: WorkflowDisplay, *, again: bool = False, **how: Any) -> None:
        super().__init__(interrupts, display, **how)
        self._workflow: answers.Started | None = None
        self._again = again
        self._hinted = False
        self._made_up = False
        self._had_ended = False
        self._remarked: set[str] = set()

    async def begin(self, where: Where, begin: Begin) -> Ended:
        """Call `begin` once, with a manager that drives workflows, and follow what it gives to its end.

        A manager that served another command and ended with it is replaced, by another one or by our own. Raises
        Interrupted where the user insists, or nothing has begun.
        """
        self._where = where
        workflow, coverage = await self.unless_interrupted(self._begin(where, begin))
        return Ended(
            workflow=workflow,
            loaded=Loaded.of(workflow, coverage, self._loop.time() - self._started),
            interrupted=self.interrupted,
            timed_out=self._timed_out,
            again=self._again,
            earlier=self._had_ended,
        )

    def with_the_rest(self, said: str) -> str:
        """`said`, and what this command would have loaded after the end of the workflow that it joined."""
        rest = None if self._workflow is None else advice(self._workflow, self._where, again=self._again)
        return said if rest is None else f"{said}; {rest}"

    async def _begin(self, where: Where, begin: Begin) -> tuple[answers.Started, data_answers.Coverage]:
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
                        self._name = self._workflow.queue_id
                        self._had_ended = self._workflow.ended
                        self._attached = self._attached or self._workflow.joined
                        self._display.note(description(self._workflow))
                    if found.own:
                        await self._tell_of_others(found, self._workflow)
                    workflow = await self._follow(found, self._workflow)
                    return workflow, await found.api.get(f"/queues/{workflow.queue_id}/coverage", data_answers.Coverage)
            except ServerLost as error:
                where = self.after(error, where)
            except StreamForgeError as error:
                if not self._takeovers or opened or self._workflow is None:
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
        page = await found.api.get("/queues", WorkflowPage, query)
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
            await self.pause(found, workflow.status)
            self._workflow = workflow = _now(workflow, await found.api.get(path, answers.Started))
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
        asks = workflow.progress.records_expected is None and workflow.topic_input is None and workflow.live is None
        if late and found.own and not self._hinted and asks:
            self._hinted = True
            self._display.note(hint)
