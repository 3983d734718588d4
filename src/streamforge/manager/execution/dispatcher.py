"""Beginning actions beside the loop, and remembering how they go until what they find out is folded."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.execution.executor import Executor
from streamforge.manager.execution.inbox import Inbox
from streamforge.manager.execution.tasks import TRIED, Key, Kind, Tasks, key_of, kind_of
from streamforge.manager.lifecycle.actions import Action, Launch, SendStop
from streamforge.manager.lifecycle.facts import Fact, Finding, Unanswered, failed
from streamforge.manager.persistence.bans import Bans
from streamforge.manager.workflow import Workflow
from streamforge_utils.model.errors import ConflictError, RetryableError, StreamForgeError

STOP_AGAIN_S = 2.0
"""A worker that was told to stop, and has not ended by then, is told again: nobody knows whether it heard."""

_SHOWN = 300

_log = structlog.get_logger(__name__)


class Dispatcher:
    """The actions that are being done. pause_s: how long one that failed rests before it may be begun again."""

    def __init__(
        self, deps: Dependencies, actor: Executor, inbox: Inbox, bans: Bans, tasks: Tasks, *, pause_s: float
    ) -> None:
        self._deps = deps
        self._bans = bans
        self._executor = actor
        self._inbox = inbox
        self._tasks = tasks
        self._pause_s = pause_s
        self._launched: set[Key] = set()
        self._stopped_at: dict[Key, float] = {}
        self._errors: dict[Key, str] = {}

    def begin(self, workflow: Workflow, action: Action) -> None:
        """Do what was decided, unless it is being done or need not be done again."""
        key = key_of(workflow, action)
        if key in self._launched:
            return  # its job is there, and will be seen when the jobs are looked at next
        if self._deps.clock.monotonic() - self._stopped_at.get(key, float("-inf")) < STOP_AGAIN_S:
            return  # it was told, and has a moment to end
        self._tasks.begin(
            key,
            kind_of(action),
            self._executor.act(workflow, action),
            succeeded=partial(self._succeeded, key, workflow.epoch),
            failed=partial(self._try_failed, key, workflow, action),
        )

    def begin_work(self, key: Key, kind: Kind, work: Coroutine[None, None, None]) -> None:
        """Do what was not decided about a workflow; it finds out nothing."""
        self._tasks.begin(
            key, kind, work, succeeded=partial(self._succeeded, key, 0), failed=partial(self._failed, key)
        )

    @contextmanager
    def looking(self) -> Iterator[None]:
        """In the block the jobs are looked at: those that were launched before it are seen."""
        launched, self._launched = self._launched, set()
        try:
            yield
        except BaseException:
            self._launched |= launched
            raise

    def repeated_failure(self, workflow: Workflow, actions: Sequence[Action]) -> str:
        """Which of the actions fails again and again, and why; empty if none does."""
        for action in actions:
            error = self._errors.get(key_of(workflow, action))
            if error is not None:
                return f"{TRIED[type(action).__name__]}, tried again and again: {error}"
        return ""

    def forget(self, live: Collection[str]) -> None:
        """Forget how actions for other workflows went."""
        self._errors = {key: error for key, error in self._errors.items() if key[1] in live}
        self._stopped_at = {key: at for key, at in self._stopped_at.items() if key[1] in live}

    def _succeeded(self, key: Key, epoch: int, found: Finding | None) -> None:
        self._errors.pop(key, None)
        if key[0] == Launch.__name__:
            self._launched.add(key)
        elif key[0] == SendStop.__name__:
            self._stopped_at[key] = self._deps.clock.monotonic()
        if isinstance(found, Unanswered) and found.ban is not None:
            self._bans.hear(found.ban)
        if found is not None:
            self._inbox.put(key[1], Fact(epoch, found))

    async def _try_failed(self, key: Key, workflow: Workflow, action: Action, error: Exception) -> None:
        # Bus, store and launcher come back; what is wrong in itself is tried a limited number of times.
        if not isinstance(error, RetryableError | ConflictError):
            found = failed(workflow, action, str(error) or repr(error))
            if found is not None:
                with suppress(RetryableError):  # too many facts: at the next failure, then
                    self._inbox.put(key[1], Fact(workflow.epoch, found))
        await self._failed(key, error)

    async def _failed(self, key: Key, error: Exception) -> None:
        unexpected = not isinstance(error, StreamForgeError)
        self._deps.observer.count("action_failures_total", action=key[0])
        _log.warning(
            "an action failed, it will be tried again",
            action=key[0],
            queue_id=key[1],
            error=str(error) or repr(error),
            exc_info=unexpected,
        )
        self._errors[key] = (str(error) or repr(error))[:_SHOWN]
        await self._deps.clock.sleep(self._pause_s)
