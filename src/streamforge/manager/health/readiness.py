"""Whether a manager can work. `/readyz` is open to everybody: its parts are asked every other second at most, however
many ask, and all callers wait for one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.persistence.installation import instant
from streamforge_utils.model.errors import StreamForgeError

FRESH_S: Final = 2.0
"""An answer of the parts holds for so long."""

PATIENCE_S: Final = 4.0
"""How long a part may take to answer: less than the time within which a kubelet wants to be answered."""

PARTS: Final = ("bus", "store", "launcher")

LATE_S: Final = 30.0
"""A loop that has not looked at the workflows for so long does not work."""

_log = structlog.get_logger(__name__)


class ReadinessProbe:
    """What of bus, store, launcher and reconciler works. The first three are asked side by side; a change is logged."""

    def __init__(self, deps: Dependencies, reconciler: Reconciler) -> None:
        self._deps = deps
        self._reconciler = reconciler
        self._asking: asyncio.Task[None] | None = None
        self._found: dict[str, str | None] = dict.fromkeys(PARTS)
        self._asked = float("-inf")

    async def look(self) -> dict[str, str | None]:
        """For each part None if it works, else what is wrong with it."""
        if self._asking is None and self._deps.clock.monotonic() - self._asked >= FRESH_S:
            self._asking = asyncio.create_task(self._ask(), name="readiness")
        if self._asking is not None:
            await asyncio.shield(self._asking)  # others wait for it too
        return {**self._found, "reconciler": self._reconciling()}

    def stalled(self) -> str | None:
        """Since when the loop has completed no look at the workflows, and why; None: it has of late, or none runs."""
        came_round = self._reconciler.came_round
        if came_round is None or self._deps.clock.monotonic() - came_round[0] <= LATE_S:
            return None
        why = f": {self._reconciler.last_error}" if self._reconciler.last_error is not None else ""
        return f"the manager has not looked at the workflows since {instant(came_round[1])}{why}"

    async def _ask(self) -> None:
        try:
            bus, store, launcher = await asyncio.gather(
                _answer(self._deps.admin.topics), _answer(self._deps.store.names), _answer(self._deps.launcher.jobs)
            )
        finally:
            self._asking = None
        launcher = launcher or self._deps.launcher.stale_reason() or None
        self._remember({"bus": bus, "store": store, "launcher": launcher})

    def _remember(self, found: dict[str, str | None]) -> None:
        for part, reason in found.items():
            before = self._found.get(part)
            if reason is not None and reason != before:
                _log.warning("a part of the manager does not work", part=part, error=reason)
            elif reason is None and before is not None:
                _log.info("a part of the manager works again", part=part)
        self._found, self._asked = found, self._deps.clock.monotonic()

    def _reconciling(self) -> str | None:
        try:
            self._deps.fence()
        except StreamForgeError as error:
            return str(error)
        if self._reconciler.last_error is not None:
            return self._reconciler.last_error
        if self._reconciler.last_look is None:
            return "it has not looked at the workflows yet"
        late_s = self._deps.clock.monotonic() - self._reconciler.last_look
        return f"it has not looked for {late_s:.0f} s" if late_s > LATE_S else None


async def _answer(ask: Callable[[], Awaitable[object]]) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ask()
    except TimeoutError:
        return f"no answer within {PATIENCE_S:g} s"
    except Exception as error:  # what is wrong is what was asked for
        return str(error) or type(error).__name__
    return None
