"""The logs of a workflow's attempts: of those that run from their launcher, of those that have ended as they are kept.

A log has no positions that outlive its launcher's copy of it, so a place in it is known by its last lines: `after`
names, of each attempt, the number of these lines and a digest of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Attempt, Step, Workflow
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.logs.answers import AttemptLog, Logs
from streamforge.manager.logs.store import lines_of
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput

_LINES = 20
"""So many lines tell a place: each has its time."""

_PLACE = re.compile(r"([a-z0-9-]{1,63}):(\d{1,8}):(\d{1,2}):([0-9a-f]{16})", re.ASCII)


class _Place(NamedTuple):
    lines: int
    digest: str


_Places = Mapping[tuple[str, int], _Place]


class LogReader:
    """Reads logs."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps

    async def read(
        self, workflow: Workflow, *, step: str | None = None, attempt: int | None = None, after: str | None = None
    ) -> Logs:
        """The logs of the newest attempt of each step (and of one that listens beside it), or of `step` or `attempt`.

        Raises NotFound, InvalidInput for an `after` that is none, or RetryableError.
        """
        places = _places(after)
        logs, there = list[AttemptLog](), list[str]()
        for one, number, known in _chosen(workflow, step, attempt):
            found = await self._log(workflow, one.target, number, known)
            lines = [] if found.text is None else found.text.splitlines(keepends=True)
            here = _Place(len(lines[-_LINES:]), _digest(lines[-_LINES:]))
            place = places.get((one.target, number))
            begin = None if place is None else _behind(lines, place)
            if place is not None and begin is not None:
                found = msgspec.structs.replace(found, text="".join(lines[begin:]), resumed=True)
            logs.append(found)
            there.append(f"{one.target}:{number}:{here.lines}:{here.digest}")
        ended = workflow.ended and all(one.ended for one in logs)
        return Logs(queue_id=workflow.queue_id, logs=logs, after=",".join(there), ended=ended)

    async def _log(self, workflow: Workflow, target: str, number: int, known: Attempt | None) -> AttemptLog:
        queue_id = workflow.queue_id
        job = names.job_name(target, workflow.symbol, queue_id, number) if known is None else known.job
        ended = known is None or known.ended_ms is not None or workflow.ended
        kept = await self._deps.logs.read(queue_id, target, number)
        text = None if kept is None else kept.text
        if kept is None and (text := await self._deps.launcher.log(job)) is not None:
            text = lines_of(queue_id, self._deps.redact(text))
            if not ended:  # its last line may not be whole
                text = text[: text.rfind("\n") + 1]
        return AttemptLog(step=target, attempt=number, job=job, ended=ended, text=text, resumed=False)


def _chosen(workflow: Workflow, target: str | None, number: int | None) -> Iterator[tuple[Step, int, Attempt | None]]:
    """The attempts that are meant. Raises NotFound."""
    if target is not None and workflow.step(target) is None:
        there = ", ".join(one.target for one in workflow.steps)
        raise NotFound(f"workflow {workflow.queue_id} has no step {target[:80]!r}: it has {there}")
    found = False
    for step in workflow.steps:
        if target is not None and step.target != target:
            continue
        known = {one.number: one for one in (*step.attempts, *step.shadows, step.shadow) if one is not None}
        newest = [one.number for one in (step.attempt, step.shadow) if one is not None]
        for wanted in newest if number is None else [number]:
            if wanted in known or wanted <= max(known, default=0):
                found = True
                yield step, wanted, known.get(wanted)
    if number is not None and not found:
        raise NotFound(f"workflow {workflow.queue_id} has no attempt {number} of {target or 'any step'}")


def _places(after: str | None) -> _Places:
    if not after:
        return {}
    found = [_PLACE.fullmatch(part) for part in after.split(",")]
    if not all(found):
        raise InvalidInput("after", f"after {after[:80]!r} is not one of this server: begin again without it")
    return {(one[1], int(one[2])): _Place(int(one[3]), one[4]) for one in found if one is not None}


def _behind(lines: Sequence[str], place: _Place) -> int | None:
    """Where the lines go on behind the place; None: it is not among them."""
    for end in range(len(lines), place.lines - 1, -1):
        if _digest(lines[end - place.lines : end]) == place.digest:
            return end if place.lines else 0
    return None


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
