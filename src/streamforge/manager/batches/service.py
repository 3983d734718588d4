"""The use cases of batches: one request for many symbols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import NamedTuple

import msgspec
import structlog

from streamforge.manager.admission import ASK_WITHIN_S, Admission
from streamforge.manager.batches.driver import BatchDriver, Retry
from streamforge.manager.batches.model import (
    BATCH_ENDED,
    MEMBERS_A_DOCUMENT,
    RETRIED,
    Batch,
    BatchStatus,
    Member,
    MemberStatus,
    Totals,
    batch_id,
    is_batch_id,
)
from streamforge.manager.batches.requests import BatchRequest, check_batch
from streamforge.manager.batches.symbol_chooser import Chooser
from streamforge.manager.batches.symbol_selection import SHOWN, Selection, shortened
from streamforge.manager.continuation import LAST, LIVE
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.engine.persistence.workflow_store import Unreadable
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.engine.request_notes import log_request
from streamforge.manager.persistence.change_notes import BATCH
from streamforge.manager.persistence.reservations import Reservations
from streamforge.manager.policy import DAY_MS
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.retention.driver import Retention
from streamforge.manager.use_cases import lost_cursor
from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.model.spelling import closest
from streamforge_utils.model.timeranges import TimeRange, resolve_time_range
from streamforge_utils.ports.exchange import SymbolInfo

MOST_LIVE = 1000
"""Batches that may go on at once; more are refused for now."""

_NAMES_COMPARED = 1000
"""The newest batches, of which one may be meant where a name is not known."""

_JUST_ENDED = 100
"""So many workflows that have ended since the driver looked are read for an answer; others lack in its sums."""

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)


class View(NamedTuple):
    """A batch, its members, and the workflows of those that go on, by queue_id. now_ms: when it was so.

    trouble: why no workflow is made now.
    """

    batch: Batch
    members: Sequence[Member]
    live: dict[str, Workflow]
    now_ms: int
    trouble: str = ""


class StartedBatch(NamedTuple):
    """The outcome of a request. replayed: the same key and request came before."""

    view: View
    replayed: bool = False


class MemberPage(NamedTuple):
    """Members in the order in which they were asked for. after: gives the next page; None at the end.

    live: the workflows of those that go on, by queue_id.
    """

    members: Sequence[Member]
    after: int | None
    live: dict[str, Workflow]


class BatchService:
    """Every call raises RetryableError where the store does not answer. symbols: lists what the exchange has."""

    def __init__(
        self,
        deps: Dependencies,
        reconciler: Reconciler,
        admission: Admission,
        reservations: Reservations,
        *,
        retry: Retry,
        symbols: Callable[[], Awaitable[Sequence[SymbolInfo]]],
        retention: Retention,
    ) -> None:
        self._deps = deps
        self._reservations = reservations
        self.chooser = Chooser(deps, symbols)
        self._driver = reconciler.batches = BatchDriver(deps, reconciler, admission, retry, retention)
        self._making = asyncio.Lock()

    async def start(self, request: BatchRequest, *, idempotency_key: str | None = None) -> StartedBatch:
        """Accept the request: on return it is stored, and its workflows are made as room allows.

        Raises InvalidInput, KeyReused or RetryableError (the exchange does not list its symbols now).
        """
        now_ms = self._deps.clock.now_ms()
        checked, listed_at_ms = check_batch(request, now_ms, archive=self._deps.archive is not None)
        if (known := await self._made_before(request, idempotency_key)) is not None:
            return known
        chosen = await self.chooser.choose(
            request.symbols, checked.type, request.source, skip_unknown=request.skip_unknown
        )
        exchange_now_ms = await self._exchange_now()
        await self._deps.exchange_binding.check()
        whole = checked.span
        if request.since == LAST and request.default_start is None:
            today_ms = (exchange_now_ms - 1000) // DAY_MS * DAY_MS
            whole = TimeRange(today_ms, today_ms + DAY_MS)
        elif request.since == LAST:
            whole = resolve_time_range(f"{request.default_start}:", now_ms)
        over_ms = exchange_now_ms // 1000 * 1000
        span = TimeRange(over_ms - 1000, over_ms) if checked.requested == LIVE else whole.clipped(over_ms)
        batch = Batch(
            batch_id="",
            created_ms=now_ms,
            exchange_now_ms=exchange_now_ms,
            type=checked.type,
            requested=checked.requested,
            span=span,
            clipped=span != whole and request.since != LAST and checked.requested != LIVE,
            default_start=request.default_start,
            again=request.again,
            asked=shortened(request.symbols),
            listed_at_ms=listed_at_ms,
            size=len(chosen.symbols),
            delisted=len(chosen.delisted),
            duplicates=len(chosen.duplicates),
            duplicated=tuple(dict.fromkeys(chosen.duplicates))[:SHOWN],
            archived=len(chosen.archived),
            left_out=len(chosen.left_out),
            left_out_first=chosen.left_out[:SHOWN],
            archive_silence=chosen.silence,
            unknown=len(chosen.unknown),
            unknown_first=chosen.unknown[:SHOWN],
            source=request.source,
            labels=checked.labels,
            status=BatchStatus.RUNNING,
            began_ms=now_ms,
        )
        async with self._making:
            if (known := await self._made_before(request, idempotency_key)) is not None:
                return known
            if len(self._deps.batches.live) >= MOST_LIVE:
                raise RetryableError(f"{MOST_LIVE} batches go on: try again when some have ended", retry_after=30)
            await self._deps.exchange_binding.accept()
            return StartedBatch(await self._create(batch, chosen, request, idempotency_key))

    async def get(self, batch: str) -> View:
        """The batch. Raises NotFound."""
        return await self._view(await self._stored(batch))

    async def members(
        self, batch: str, *, statuses: Sequence[MemberStatus] = (), after: int = -1, limit: int = 100
    ) -> MemberPage:
        """The members behind number `after` that have one of `statuses` (none: any). Raises NotFound."""
        wanted: list[tuple[int, Member]] = []
        async with aclosing(self._members_from(await self._stored(batch), after + 1)) as numbered:
            async for index, member in numbered:
                if not statuses or member.status in statuses:
                    wanted.append((index, member))
                if len(wanted) > limit:
                    break
        page = wanted[:limit]
        found = [member for _, member in page]
        return MemberPage(found, page[-1][0] if len(wanted) > limit else None, await self._live(found))

    async def find(self, *, cursor: str | None = None, limit: int = 100) -> tuple[list[View], str | None]:
        """Batches, newest first, without their members, and the cursor of the next page.

        Raises InvalidInput for a cursor that is none.
        """
        if cursor is not None and (not is_batch_id(cursor) or await self._deps.batches.get(cursor) is None):
            raise lost_cursor(cursor, "batch")
        found = await self._deps.batches.find(after=cursor, limit=limit + 1)
        views = [await self._with_live(batch, self._driver.members(batch.batch_id) or ()) for batch in found[:limit]]
        return views, found[limit - 1].batch_id if len(found) > limit else None

    async def glance(self, batch: str) -> View | None:
        """The batch as a list shows it; None: there is none."""
        found = await self._deps.batches.get(batch)
        return None if found is None else await self._with_live(found, self._driver.members(batch) or ())

    async def stop(self, batch: str) -> View:
        """Make no more workflows, and ask those that the batch has made to end. Raises NotFound, NotNow (ended)."""

        def stopping(latest: Batch) -> Batch:
            if latest.ended:
                raise NotNow(f"batch {batch} has ended ({latest.status.value}): there is nothing to stop")
            return _replace(latest, status=BatchStatus.STOPPING, stop_asked=True)

        return await self._changed(batch, stopping, "stop")

    async def retry(self, batch: str) -> View:
        """Let the members that failed, were interrupted or removed go on with what they lack.

        Raises NotFound, NotNow.
        """

        def going_on(latest: Batch) -> Batch:
            if latest.stop_asked:
                raise NotNow(f"batch {batch} is stopping: retry it once it has ended")
            if latest.retry_asked:
                return latest
            if not latest.totals.count(RETRIED):
                raise NotNow(
                    f"batch {batch} is {latest.status.value}: none of its members failed, was interrupted or removed"
                )
            return _replace(latest, status=BatchStatus.RUNNING, retry_asked=True, ended_ms=None)

        return await self._changed(batch, going_on, "retry")

    async def remove(self, batch: str) -> None:
        """Forget a batch that has ended; its workflows and their records stay. Raises NotFound, NotNow."""
        found = await self._stored(batch)
        if found.status not in BATCH_ENDED:
            raise NotNow(f"batch {batch} is {found.status.value}: stop it before it is removed")
        await self._deps.removals.add(BATCH, batch)
        await self._deps.batches.remove(batch)
        log_request("remove", batch)
        await self._reservations.release(batch)  # last: a key that names no batch gives a new one

    async def _changed(self, batch: str, change: Callable[[Batch], Batch], request: str) -> View:
        await self._stored(batch)
        changed = await self._deps.batches.change(batch, change)
        if changed is None:
            raise _no_batch(batch, await self._deps.removals.said(BATCH, batch))
        log_request(request, batch)
        self._driver.wake()
        return await self._view(changed)

    async def _stored(self, batch: str) -> Batch:
        found = await self._deps.batches.get(batch) if is_batch_id(batch) else None
        if found is None:
            latest = await self._deps.batches.find(after=None, limit=_NAMES_COMPARED)
            removed = await self._deps.removals.said(BATCH, batch)
            raise _no_batch(batch, removed, closest(batch, [one.batch_id for one in latest]))
        return found

    async def _members(self, batch: Batch) -> Sequence[Member]:
        driven = self._driver.members(batch.batch_id)
        if driven is not None:
            return driven
        return [one for document in await self._deps.batches.members(batch.batch_id) for one in document.members]

    async def _members_from(self, batch: Batch, first: int) -> AsyncGenerator[tuple[int, Member], None]:
        """The members from number `first` on, with their numbers: a page needs few of the documents."""
        driven = self._driver.members(batch.batch_id)
        if driven is not None:
            for index in range(first, len(driven)):
                yield index, driven[index]
            return
        for number in range(first // MEMBERS_A_DOCUMENT, -(-batch.size // MEMBERS_A_DOCUMENT)):
            members = await self._deps.batches.members_of_document(batch.batch_id, number)
            for index, member in enumerate(members, number * MEMBERS_A_DOCUMENT):
                if index >= first:
                    yield index, member

    async def _view(self, batch: Batch) -> View:
        return await self._with_live(batch, await self._members(batch))

    async def _with_live(self, batch: Batch, members: Sequence[Member]) -> View:
        if batch.retry_asked:  # the driver has not taken that in yet
            members = [_replace(one, status=MemberStatus.WAITING) if one.status in RETRIED else one for one in members]
        if members:
            batch = _replace(batch, totals=Totals.of(members))
        trouble = self._driver.trouble.get(batch.batch_id, "")
        return View(batch, members, await self._live(members), self._deps.clock.now_ms(), trouble)

    async def _live(self, members: Sequence[Member]) -> dict[str, Workflow]:
        """The workflows of the members that go on, those too that have just ended, as the driver will soon see."""
        names = [member.queue_id for member in members if member.status is MemberStatus.LIVE]
        workflows = self._deps.workflows.live
        found = {name: workflows[name].workflow for name in names if name in workflows}
        for name in [name for name in names if name not in found][:_JUST_ENDED]:
            with suppress(Unreadable):
                if (stored := await self._deps.workflows.get(name)) is not None:
                    found[name] = stored.workflow
        return found

    async def _made_before(self, request: BatchRequest, key: str | None) -> StartedBatch | None:
        """What the same request with the same key became. Raises KeyReused."""
        known = None if key is None else await self._reservations.find(key, request)
        found = None if known is None else await self._deps.batches.get(known.queue_id)
        return None if found is None else StartedBatch(await self._view(found), replayed=True)

    async def _create(self, batch: Batch, chosen: Selection, request: BatchRequest, key: str | None) -> View:
        def named(code: str) -> str:
            return batch_id(batch.type, batch.span.start_ms, code)

        if key is None:
            name = named(await self._reservations.code(named))
        else:
            name = (await self._reservations.reserve(key, request, named)).queue_id
            await self._deps.batches.discard_cut_short(name)
        members = [
            Member(symbol=symbol, delisted=symbol in chosen.delisted, archived=symbol in chosen.archived)
            for symbol in chosen.symbols
        ]
        whole = _replace(batch, batch_id=name, totals=Totals.of(members))
        made = await self._deps.batches.create(whole, members)
        log_request("start", name)
        self._driver.wake()
        return await self._with_live(made, members)

    async def _exchange_now(self) -> int:
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                return await self._deps.exchange.server_time()
        except (StreamForgeError, TimeoutError):
            return self._deps.clock.now_ms()


def _no_batch(batch: str, removed: str | None, near: Sequence[str] = ()) -> NotFound:
    meant = f"did you mean {near[0]}?" if near else "GET /batches lists those that there are"
    text = removed or f"there is no batch {batch[:80]!r}: {meant}"
    return NotFound(text, meant=near, code=ProblemCode.BATCH_UNKNOWN)
