"""Drives the batches: makes their workflows as room allows, sees how these end, and stops or retries them.

Beside the loop, and driven by state as the loop is: what is made follows from the batch and the symbol alone, so that a
manager that is killed between any two writes makes each workflow once. A batch's members are written here alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec
import structlog

from streamforge.manager.actor import acting
from streamforge.manager.admission import Admission
from streamforge.manager.batches.members import DrivenMembers, closed, ended_member, interrupted, live, refused
from streamforge.manager.batches.model import Batch, BatchStatus, Member, MemberStatus, Totals, end_of
from streamforge.manager.catalogue.symbols import was_listed
from streamforge.manager.continuation import LAST, continued, resumed
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.engine.lifecycle.ban import Banned
from streamforge.manager.engine.lifecycle.facts import Stop
from streamforge.manager.engine.lifecycle.retry_policy import backoff_ms
from streamforge.manager.engine.persistence.workflow_store import Unreadable
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.engine.request_notes import with_asked
from streamforge.manager.retention.driver import Retention
from streamforge.manager.use_cases import StartRequest, UpToDate
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge.manager.workflows.series.requests import archive_loader, check, workflow_of
from streamforge_utils.model.errors import BannedError, ConfigError, ConflictError, RetryableError, StreamForgeError
from streamforge_utils.model.kinds.registry import is_live_type, series_of
from streamforge_utils.model.timeranges import SINCE_LAST, format_ms

MADE_A_LOOK = 100
"""Members that are made, or closed, between two writes of a batch."""

_WORKFLOWS_A_PAGE = 200
_MISSES_A_LOOK = 3
_NEVER = 0, 0, ""
_SETTLED = frozenset(MemberStatus) - {MemberStatus.WAITING, MemberStatus.LIVE}
_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)

Retry = Callable[[str], Awaitable[Workflow]]


class BatchDriver:
    """retry: lets an ended workflow go on again. trouble: by batch, why nothing of it can be made now."""

    LOOK_EVERY_S = 1.0

    def __init__(
        self,
        deps: Dependencies,
        reconciler: Reconciler,
        admission: Admission,
        retry: Retry,
        retention: Retention,
    ) -> None:
        self._deps = deps
        self._reconciler = reconciler
        self._admission = admission
        self._retry = retry
        self._retention = retention
        self._driven: dict[str, DrivenMembers] = {}
        self._loaded = False
        self._nudged = True
        self._looked_at = float("-inf")
        self.trouble: dict[str, str] = {}

    def members(self, batch_id: str) -> Sequence[Member] | None:
        """The members of a batch that is being driven, as they are now; None: it is not, the store has them."""
        driven = self._driven.get(batch_id)
        return None if driven is None else driven.members

    def wake(self) -> None:
        """A batch was changed: look at it now."""
        self._nudged = True
        self._reconciler.wake()

    def is_due(self) -> bool:
        """Whether a batch or one of its workflows changed, or a second is over and a batch goes on."""
        if self._nudged or self._deps.workflows.has_changed_of_batches:
            return True
        waited_s = self._deps.clock.monotonic() - self._looked_at
        return bool(self._deps.batches.live) and waited_s >= self.LOOK_EVERY_S

    async def look(self) -> None:
        """Look at every batch that has not ended, once. Raises RetryableError."""
        self._nudged, self._looked_at = False, self._deps.clock.monotonic()
        batches, workflows = self._deps.batches, self._deps.workflows
        if not self._loaded:
            await batches.load(tidy=True)
            for stored in workflows.live.values():
                if stored.workflow.batch:
                    workflows.note_changed(stored.workflow.batch, (stored.workflow.queue_id,))
            self._loaded = True
        changed = workflows.take_changed_of_batches()
        try:
            for batch_id in changed.keys() - batches.live.keys():
                await self._go_on_again(batch_id, changed[batch_id])
            for batch_id in tuple(batches.live):
                await self._drive_alone(batch_id, changed.get(batch_id, ()))
        except BaseException:
            for batch_id, queue_ids in changed.items():
                workflows.note_changed(batch_id, queue_ids)
            raise
        for gone in self._driven.keys() - batches.live.keys():
            del self._driven[gone]
        self.trouble = {one: why for one, why in self.trouble.items() if one in batches.live}

    async def _go_on_again(self, batch_id: str, queue_ids: Collection[str]) -> None:
        """A workflow of a batch that had ended goes on again: so does the batch."""
        if self._deps.workflows.live.keys().isdisjoint(queue_ids):
            return
        try:
            await self._deps.batches.change(
                batch_id,
                lambda batch: _replace(batch, status=BatchStatus.RUNNING, ended_ms=None) if batch.ended else batch,
            )
        except ConfigError as error:  # it is damaged, and holds up no other one
            _log.error("a batch cannot be driven", batch_id=batch_id, error=str(error))

    async def _drive_alone(self, batch_id: str, changed: Collection[str]) -> None:
        """Drive one batch so that what is wrong with it holds up no other one."""
        try:
            with acting(f"batch {batch_id}"):
                await self._drive(batch_id, changed)
        except (RetryableError, ConflictError):
            self._driven.pop(batch_id, None)  # what is stored counts
            raise
        except Exception as error:
            self._driven.pop(batch_id, None)
            if self.trouble.get(batch_id) != str(error):
                unexpected = not isinstance(error, StreamForgeError)
                _log.error("a batch cannot be driven", batch_id=batch_id, error=str(error), exc_info=unexpected)
            self.trouble[batch_id] = str(error)

    async def _drive(self, batch_id: str, changed: Collection[str]) -> None:
        batches = self._deps.batches
        driven = self._driven.get(batch_id)
        if driven is None:
            driven = self._driven[batch_id] = DrivenMembers(await batches.members(batch_id))
            changed = driven.by_queue.keys() & self._deps.workflows.live.keys() | set(changed)
        batch = batches.live[batch_id].batch
        if batch.retry_asked:
            driven.retry()
        ended = await self._see_ends(driven, changed)
        self.trouble.pop(batch_id, None)
        if batch.stop_asked:
            await self._stop(batch, driven)
        elif trouble := await self._make(batch, driven):
            self.trouble[batch_id] = trouble
        await self._store(batch, driven)
        for queue_id in ended:
            await self._retention.remove_topics_of(queue_id)

    async def _see_ends(self, driven: DrivenMembers, changed: Collection[str]) -> list[str]:
        """Take in how workflows ended; those of them that the batch had made."""
        ended: list[str] = []
        workflows = self._deps.workflows
        again = {driven.by_queue[one] for one in changed if one in driven.by_queue}
        for index in sorted(driven.open | {one for one in again if driven.members[one].status in _SETTLED}):
            member = driven.members[index]
            if member.queue_id in workflows.live:
                driven.put(index, _replace(member, status=MemberStatus.LIVE))
                continue
            try:
                stored = await workflows.get(member.queue_id)
            except Unreadable as error:
                driven.put(index, refused(member, str(error)))
                continue
            if stored is None:
                reason = "its workflow was removed"
                driven.put(index, _replace(member, status=MemberStatus.REMOVED, reason=reason, next_step=""))
                continue
            if index in driven.open and not member.joined:
                ended.append(member.queue_id)
            driven.put(index, ended_member(member, stored.workflow))
        return ended

    async def _make(self, batch: Batch, driven: DrivenMembers) -> str:
        """Make workflows while there is room; why no more can be made now, or nothing."""
        policy, now_ms, misses, placed = self._deps.policy, self._deps.clock.now_ms(), 0, 0
        due = [one for one in sorted(driven.waiting) if driven.unasked.get(one, _NEVER)[1] <= now_ms]
        for number, index in enumerate(due):
            latest = self._deps.batches.live.get(batch.batch_id)
            full = len(driven.open) + placed >= policy.batch_live and not is_live_type(batch.type)
            if full or latest is None or latest.batch.stop_asked:
                return ""
            if number >= MADE_A_LOOK:
                self.wake()
                return ""
            member = driven.members[index]
            try:
                driven.put(index, await self._made(batch, member))
                if index in driven.waiting:
                    placed += 1
                    self.wake()
            except _Unlisted as error:
                misses, tries = misses + 1, driven.unasked.get(index, _NEVER)[0] + 1
                wait_ms = backoff_ms(policy, tries, batch.batch_id, member.symbol)
                driven.unasked[index] = tries, now_ms + wait_ms, f"{member.symbol}: {error}"
                if tries >= policy.max_asking_failures:
                    driven.put(index, refused(member, f"the exchange did not answer {tries} times in a row: {error}"))
                if misses == _MISSES_A_LOOK:
                    break
            except (RetryableError, NotNow) as error:
                if isinstance(error, BannedError):
                    now_ms = self._deps.clock.now_ms()
                    self._reconciler.bans.hear(Banned(until_ms=error.until_ms, said_ms=now_ms, reason=str(error)))
                return f"{member.symbol}: {error}"
            except StreamForgeError as error:
                driven.put(index, refused(member, str(error)))
        return next((why for one, (_, _, why) in driven.unasked.items() if one in driven.waiting), "")

    async def _made(self, batch: Batch, member: Member) -> Member:
        """The member with its workflow, which is made or retried; closed, where it did not exist at that time.

        Of `since last`, first, with its range alone: it waits.
        """
        if member.queue_id:
            try:
                stored = await self._deps.workflows.get(member.queue_id)
                if stored is not None and stored.workflow.status is Status.FINISHED:
                    return ended_member(member, stored.workflow)
                if stored is not None and stored.workflow.ended:
                    await self._retry(member.queue_id)
                if stored is not None:
                    return live(member, member.queue_id)
            except NotFound:
                pass  # removed meanwhile: it is made anew
        day_ms = batch.listed_at_ms if member.span is None else None
        if day_ms is not None and not await self._existed(batch, member.symbol, day_ms):
            return closed(member, f"it was not listed on {format_ms(day_ms)}")
        if batch.requested == SINCE_LAST and member.span is None:
            # Its workflow is made by the next look: what was made for a range changes where the next one begins.
            return await self._placed(batch, member)
        started = await self._admission.start_member(
            _draft_of(batch, member, self._deps.clock.now_ms()),
            f"{batch.batch_id}/{member.symbol}",
            batch.exchange_now_ms,
        )
        return live(member, started.workflow.queue_id, joined=started.joined)

    async def _placed(self, batch: Batch, member: Member) -> Member:
        """The member of a batch of `since last` with its range; closed, where there is nothing new.

        Raises InvalidInput: nothing of its series is known, and the batch names no start.
        """
        request, known = (
            request_of(batch, member),
            await self._deps.coverage.known(series_of(member.symbol, batch.type)),
        )
        now_ms, trading = batch.exchange_now_ms, not member.delisted
        if is_live_type(batch.type):
            return _replace(member, span=resumed(request, known, batch.created_ms, now_ms))
        try:
            archive = self._deps.archive is not None and archive_loader(batch.type) is not None
            _, span = continued(request, known, batch.created_ms, now_ms, trading=trading, archive=archive)
        except UpToDate as nothing:
            return closed(member, str(nothing))
        return _replace(member, span=span)

    async def _existed(self, batch: Batch, symbol: str, day_ms: int) -> bool:
        """Whether the exchange had the symbol on that day. Raises _Unlisted, BannedError or PermanentError."""
        try:
            return await was_listed(self._deps.exchange, symbol, day_ms, batch.exchange_now_ms)
        except BannedError:
            raise
        except RetryableError as error:
            raise _Unlisted(str(error)) from error

    async def _unrecorded(self, batch: Batch, driven: DrivenMembers) -> dict[str, str]:
        """By symbol, the workflows made for the batch that no member names: the manager was killed in between."""
        found: dict[str, str] = {}
        after: str | None = None
        where = {"batch": [batch.batch_id]}
        while page := await self._deps.workflows.find(where=where, after=after, limit=_WORKFLOWS_A_PAGE):
            found |= {one.symbol: one.queue_id for one in page if one.queue_id not in driven.by_queue}
            after = page[-1].queue_id
        return found

    async def _stop(self, batch: Batch, driven: DrivenMembers) -> None:
        """Nothing more is made, and the workflows that the batch has made are asked to end."""
        made = await self._unrecorded(batch, driven) if driven.waiting else {}
        for index in sorted(driven.waiting):
            member = driven.members[index]
            if not member.queue_id and member.symbol in made:
                driven.put(index, live(member, made[member.symbol]))
                continue
            reason = "the batch was stopped before its workflow was made"
            if member.queue_id:
                reason = "the batch was stopped before its workflow was retried"
            driven.put(index, interrupted(member, reason))
        for index in sorted(driven.open):
            member = driven.members[index]
            stored = self._deps.workflows.live.get(member.queue_id)
            if stored is None:
                continue
            if member.joined:
                driven.put(index, interrupted(member, f"{member.queue_id} is left to the request that had made it"))
            elif stored.workflow.stop_asked_ms is None:
                try:
                    await self._reconciler.inbox.ask(member.queue_id, Stop())
                except (NotNow, NotFound):
                    continue  # it has ended meanwhile, as the next look sees

    async def _store(self, batch: Batch, driven: DrivenMembers) -> None:
        """Store what has changed: first the members, then what follows from them."""
        for number in sorted(driven.changed):
            stored = await self._deps.batches.replace_members(batch.batch_id, driven.document(number))
            driven.stored(stored)
        totals = Totals.of(driven.members)
        now_ms = self._deps.clock.now_ms()
        done = not driven.waiting and not driven.open

        def change(latest: Batch) -> Batch:
            if batch.retry_asked:
                latest = _replace(latest, retry_asked=False, began_ms=now_ms, ended_before=totals.ended)
            if done and not latest.retry_asked:
                return _replace(latest, totals=totals, status=end_of(totals), stop_asked=False, ended_ms=now_ms)
            return _replace(latest, totals=totals)

        await self._deps.batches.change(batch.batch_id, change)


class _Unlisted(RetryableError):
    """The listing of one symbol cannot be asked now: the others go on."""


def request_of(batch: Batch, member: Member) -> StartRequest:
    """What the batch asks for of a member."""
    last = batch.requested == SINCE_LAST
    return StartRequest(
        symbol=member.symbol,
        type=batch.type,
        time_range="" if last else batch.requested,
        since=LAST if last else None,
        default_start=batch.default_start,
        again=batch.again,
        source=SourceChoice.ARCHIVE if member.archived else batch.source,
        labels=batch.labels,
    )


def _draft_of(batch: Batch, member: Member, now_ms: int) -> Callable[[str], Workflow]:
    # The range as it was when the batch was accepted: the same for every member, and after a restart.
    checked = check(request_of(batch, member), batch.created_ms)
    checked = _replace(checked, span=member.span or checked.span)

    def draft(code: str) -> Workflow:
        workflow = workflow_of(checked, code=code, now_ms=now_ms, exchange_now_ms=batch.exchange_now_ms)
        return with_asked(_replace(workflow, batch=batch.batch_id), "start", f"batch {batch.batch_id}", now_ms)

    return draft
