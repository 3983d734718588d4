"""`load`, `retry` and `dlq replay`: a workflow to its end, and what became of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec

from streamforge.cli import output, views
from streamforge.cli.client import to_json
from streamforge.cli.errors import CliError, Interrupted
from streamforge.cli.following import Follower
from streamforge.cli.interrupts import interrupts
from streamforge.cli.progress import display
from streamforge.cli.session import Mode, Session, Where, session

SEGMENTS_SHOWN = 12


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What `load --json` ends with. seconds: from the request to the end, as this command saw it."""

    queue_id: str
    status: str
    records_expected: int | None
    records_stored: int
    coverage: list[views.Segment]
    seconds: float


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be loaded."""

    symbol: str
    type: str
    time_range: str
    again: bool = False

    def check(self) -> None:
        """Raises InvalidInput in the words of the API, before anything is started."""
        from streamforge_utils.model.series import check_symbol, normal_type
        from streamforge_utils.model.timeranges import parse_time_range

        check_symbol(self.symbol)
        normal_type(self.type)
        parse_time_range(self.time_range).clipped(time.time_ns() // 1_000_000)

    async def start(self, found: Session) -> views.Workflow:
        """Send it; sending again after a lost answer gives the same workflow."""
        answer = await found.api.call("POST", "/queues/start", body=self, key=secrets.token_hex(16))
        return found.api.read(answer, views.Workflow)


async def load(
    request: Request, where: Where, *, detach: bool = False, timeout_s: float | None = None, as_json: bool = False
) -> int:
    """Load `request`; returns the exit code."""
    request.check()
    if detach:
        return await _detached(where, request.start, as_json=as_json)
    return await to_the_end(where, request.start, timeout_s=timeout_s, as_json=as_json)


async def again(
    queue_id: str,
    action: str,
    where: Where,
    *,
    detach: bool = False,
    timeout_s: float | None = None,
    as_json: bool = False,
) -> int:
    """`retry` a workflow, or replay its dead letters (`dlq/replay`); returns the exit code."""

    async def begin(found: Session) -> views.Workflow:
        return found.api.read(await found.api.call("POST", f"/queues/{queue_id}/{action}"), views.Workflow)

    if detach:
        return await _detached(where, begin, as_json=as_json)
    return await to_the_end(where, begin, timeout_s=timeout_s, as_json=as_json)


async def _detached(where: Where, begin: Callable[[Session], Awaitable[views.Workflow]], *, as_json: bool) -> int:
    async with session(where, Mode.SERVER) as found:
        workflow = await begin(found)
    if as_json:
        loaded = Loaded(
            queue_id=workflow.queue_id,
            status=workflow.status,
            records_expected=workflow.progress.records_expected,
            records_stored=workflow.progress.records_stored,
            coverage=[],
            seconds=0.0,
        )
        output.write(msgspec.json.encode(loaded).decode())
    else:
        output.write(workflow.queue_id)
        output.say(f"{workflow.queue_id} is {workflow.status}; follow it with: streamforge events {workflow.queue_id} --follow")
    return 0


async def to_the_end(
    where: Where,
    begin: Callable[[Session], Awaitable[views.Workflow]],
    *,
    timeout_s: float | None,
    as_json: bool,
    report: bool = True,
) -> int:
    """Begin a workflow and follow it to its end; says what became of it and returns the exit code."""
    loaded, workflow, code = await followed(where, begin, timeout_s=timeout_s)
    if as_json:
        output.write(msgspec.json.encode(loaded).decode())
    elif report:
        tell(loaded, workflow)
    if workflow.status != "finished":
        raise _unfinished(workflow, code, timed_out=code == 1)
    return 0


async def followed(
    where: Where,
    begin: Callable[[Session], Awaitable[views.Workflow]],
    *,
    timeout_s: float | None = None,
    quiet: bool = False,
) -> tuple[Loaded, views.Workflow, int]:
    """Begin a workflow and follow it to its end: what became of it, and the exit code for an end that is not finished.

    0: it ended otherwise by itself. Raises Interrupted where the user left at once.
    """
    began = time.monotonic()
    segments: list[views.Segment] = []

    async def noted(found: Session) -> views.Workflow:
        return await begin(found)

    with interrupts() as asked, display(quiet=quiet) as shown:
        follower = Follower(asked, shown, timeout_s=timeout_s, at_end=segments.extend)
        workflow = await follower.begin(where, noted)
        code = asked.exit_code if asked.count else 1 if follower.timed_out else 0
    loaded = Loaded(
        queue_id=workflow.queue_id,
        status=workflow.status,
        records_expected=workflow.progress.records_expected,
        records_stored=workflow.progress.records_stored,
        coverage=segments,
        seconds=round(time.monotonic() - began, 3),
    )
    return loaded, workflow, code
