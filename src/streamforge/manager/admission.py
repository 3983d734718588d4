"""Accepting requests: a new workflow, the one that the same request made before, or one that loads the same already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from streamforge.manager.actor import actor
from streamforge.manager.catalogue.archived_symbols import ARCHIVED, ArchiveSilent
from streamforge.manager.catalogue.symbols import TRADING, likely_symbols
from streamforge.manager.continuation import LAST, continued, resumed
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.engine.lifecycle.ban import Banned
from streamforge.manager.engine.request_notes import with_asked
from streamforge.manager.persistence.reservations import Reservation, Reservations
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.use_cases import Continuation, Started, StartRequest
from streamforge.manager.workflows.live.model import is_live
from streamforge.manager.workflows.series.model import SourceChoice, loaded_series, plan_of
from streamforge.manager.workflows.series.requests import (
    Checked,
    archive_loader,
    behind_ms,
    check,
    covers,
    is_the_same,
    loads,
    what_is_over,
    workflow_of,
)
from streamforge.manager.workflows.topics.requests import TopicRequest, check_topic, require_topic, workflow_of_topic
from streamforge_utils.model import names
from streamforge_utils.model.errors import (
    BannedError,
    ConflictError,
    InvalidInput,
    PermanentError,
    RetryableError,
    StreamForgeError,
)
from streamforge_utils.model.kinds.registry import has_history, is_live_type, series_of, type_of
from streamforge_utils.model.timeranges import TimeRange

ASK_WITHIN_S = 5.0
LIST_WITHIN_S = 3.0
NO_ARCHIVE = (
    "there is no archive here: name its address in STREAMFORGE_ARCHIVE_URL where the manager is started, or leave the "
    "source out"
)
NO_CODE = "0" * names.CODE_LENGTH
"""Stands for the code of a workflow that is not made yet."""


Draft = Callable[[str], Workflow]
"""The workflow that a code gives."""


class Admission:
    """Makes workflows from requests."""

    def __init__(self, deps: Dependencies, reconciler: Reconciler, reservations: Reservations) -> None:
        self._deps = deps
        self._reconciler = reconciler
        self._reservations = reservations
        # What is being made, and what is set once that is over. Requests for the same wait for each other; others do
        # not, or a thousand ranges of a series would wait for the store one after the other.
        self._making: list[tuple[Workflow, asyncio.Event]] = []

    async def start(self, request: StartRequest, key: str | None) -> Started:
        """As `WorkflowService.start`."""
        checked = check(request, self._deps.clock.now_ms())
        if checked.source is SourceChoice.ARCHIVE and self._deps.archive is None:
            raise InvalidInput("source", NO_ARCHIVE)
        # Before all that may refuse or delay it: who sends it again only wants to know its outcome.
        if (known := await self.made_before(request, key)) is not None:
            return known
        live = self._deps.workflows.live
        if not self._has_room() and not any(loads(stored.workflow, checked) for stored in live.values()):
            raise self._full()
        checked, since, exchange_now_ms = await self.placed(request, checked)
        now_ms = self._deps.clock.now_ms()

        def draft(code: str) -> Workflow:
            made = workflow_of(checked, code=code, now_ms=now_ms, exchange_now_ms=exchange_now_ms)
            return with_asked(made, "start", actor(), now_ms)

        wanted = draft(NO_CODE)
        async with self._alone(wanted, exchange_now_ms):
            if (known := await self.made_before(request, key)) is not None:
                return known
            if (same := self._same(wanted, exchange_now_ms)) is not None:
                over = what_is_over(same, wanted.span, exchange_now_ms)
                if key is not None:
                    await self._reservations.point(key, request, same.queue_id, over)
                return _joined(same, over)._replace(since=since)
            self._require_one(wanted)
            await self._accept()
            if key is None:
                return Started(await self._create(draft), new=True, since=since)
            return (await self._create_once(draft, request, key))._replace(since=since)

    async def start_member(self, draft: Draft, seed: str, exchange_now_ms: int) -> Started:
        """The workflow that `draft` makes of the code that follows from `seed`: made once, however often it is asked
        for. One that loads all of the same already is joined instead.

        Raises InvalidInput (it cannot be made) or RetryableError (not now).
        """
        wanted = draft(NO_CODE)
        async with self._alone(wanted, exchange_now_ms):
            code, reserved = await self._reservations.own_code(seed, lambda code: draft(code).queue_id)
            mine = draft(code)
            before = await self._deps.workflows.get(mine.queue_id) if reserved else None
            if before is not None:
                return Started(before.workflow, replayed=True)
            live = (stored.workflow for stored in self._deps.workflows.live.values())
            same = (one for one in live if is_the_same(one, wanted, exchange_now_ms))
            # A proof of less would stand for the member's: nobody asks for the rest.
            if whole := next((one for one in same if covers(one, wanted, exchange_now_ms)), None):
                return Started(whole, joined=True)
            self._require_one(wanted)
            await self._accept()
            try:
                await self._reservations.take(code, mine.queue_id)
                stored = await self._deps.workflows.create(mine)
            except ConflictError as error:
                raise RetryableError(f"{mine.queue_id} is being made by another manager", retry_after=1) from error
            self._reconciler.wake()
            return Started(stored.workflow, new=True)

    @asynccontextmanager
    async def _alone(self, wanted: Workflow, exchange_now_ms: int) -> AsyncIterator[None]:
        """In the block no other request for the same is served."""
        while made := next((done for one, done in self._making if is_the_same(one, wanted, exchange_now_ms)), None):
            await made.wait()
        making = wanted, asyncio.Event()
        self._making.append(making)
        try:
            yield
        finally:
            self._making.remove(making)
            making[1].set()

    def _same(self, wanted: Workflow, exchange_now_ms: int) -> Workflow | None:
        """The live workflow that serves a request for `wanted`."""
        live = self._deps.workflows.live.values()
        return next((s.workflow for s in live if is_the_same(s.workflow, wanted, exchange_now_ms)), None)

    def _require_one(self, wanted: Workflow) -> None:
        """Raises InvalidInput where the series is live already, and another live workflow is wanted."""
        if not is_live(wanted):
            return
        for stored in self._deps.workflows.live.values():
            other = stored.workflow
            if is_live(other) and loaded_series(other) == loaded_series(wanted):
                first = "stop it first" if other.stop_asked_ms is None else "wait for its end first"
                older = (
                    f", or load what is older with {type_of(loaded_series(wanted))}"
                    if has_history(loaded_series(wanted))
                    else ""
                )
                raise InvalidInput(
                    "since" if other.span.start_ms > wanted.span.start_ms else "type",
                    f"{other.queue_id} ({other.status.value}) loads {wanted.symbol} {wanted.type} live already: "
                    f"{first}{older}",
                )

    async def _accept(self) -> None:
        """Raises RetryableError where no workflow can be made now."""
        if not self._has_room(making=len(self._making) - 1):
            raise self._full()
        await self._deps.exchange_binding.accept()

    async def start_topic(self, request: TopicRequest, key: str | None) -> Started:
        """As `WorkflowService.start_topic`."""
        deps = self._deps
        checked = check_topic(request, (deps.control_topic, deps.events_topic))
        if (known := await self.made_before(request, key)) is not None:
            return known
        if not self._has_room():
            raise self._full()
        require_topic(checked.topic, await deps.admin.topics())
        if checked.collection is not None and checked.collection in await deps.coverage.by_collection():
            raise InvalidInput(
                "collection_name",
                f"collection {checked.collection} holds records of a series, whose proof counts all that lies there: "
                "name another one",
            )
        now_ms = deps.clock.now_ms()
        return await self.start_draft(lambda code: workflow_of_topic(checked, code=code, now_ms=now_ms), request, key)

    async def start_draft(self, draft: Draft, request: msgspec.Struct, key: str | None) -> Started:
        """The workflow of a request that no other one serves. Raises KeyReused, or RetryableError: there is no room."""
        if not self._has_room():
            raise self._full()
        now_ms = self._deps.clock.now_ms()

        def asked(code: str) -> Workflow:
            return with_asked(draft(code), "start", actor(), now_ms)

        if key is None:
            return Started(await self._create(asked), new=True)
        return await self._create_once(asked, request, key)

    async def made_before(self, request: msgspec.Struct, key: str | None) -> Started | None:
        """What the same request with the same key became. Raises KeyReused."""
        known = None if key is None else await self._reservations.find(key, request)
        found = None if known is None else await self._deps.workflows.get(known.queue_id)
        return None if known is None or found is None else _replayed(known, found.workflow)

    def _has_room(self, *, making: int = 0) -> bool:
        return len(self._deps.workflows.live) + making < self._deps.policy.max_live

    def _full(self) -> RetryableError:
        return RetryableError(
            f"{self._deps.policy.max_live} workflows are waiting or running: try again when some have ended",
            retry_after=30,
        )

    async def placed(self, request: StartRequest, checked: Checked) -> tuple[Checked, Continuation | None, int]:
        """`checked` with the range that `since last` means, where that begins, and the exchange's time.

        Raises InvalidInput or UpToDate.
        """
        exchange_now_ms, status = await self._ask(checked.symbol)
        await self._deps.exchange_binding.check()
        if status == ARCHIVED and checked.source is SourceChoice.AUTO and request.steps is None:
            request = msgspec.structs.replace(request, source=SourceChoice.ARCHIVE)
            checked = check(request, self._deps.clock.now_ms())
        if request.since != LAST:
            return checked, None, exchange_now_ms
        asked = msgspec.structs.replace(request, symbol=checked.symbol, type=checked.type, source=checked.source)
        known = await self._deps.coverage.known(series_of(checked.symbol, checked.type))
        now_ms = self._deps.clock.now_ms()
        if is_live_type(checked.type):
            span = resumed(asked, known, now_ms, exchange_now_ms)
            return msgspec.structs.replace(checked, span=span), None, exchange_now_ms
        archive = self._deps.archive is not None and archive_loader(checked.type) is not None
        since, span = continued(asked, known, now_ms, exchange_now_ms, trading=status == TRADING, archive=archive)
        return msgspec.structs.replace(checked, span=span), since, exchange_now_ms

    async def _ask(self, symbol: str) -> tuple[int, str]:
        """The exchange's time, after it has said that it knows the symbol, and that one's status. Where it does not
        answer soon, or during a ban, our time, and that it is traded.

        The workflow asks again before it starts anything; this is to refuse what can be refused at once.
        """
        bans, now_ms = self._reconciler.bans, self._deps.clock.now_ms()
        if now_ms < bans.ban.until_ms:
            return now_ms, TRADING
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                info = await self._deps.exchange.symbol_info(symbol)
                return await self._deps.exchange.server_time(), info.status
        except BannedError as error:
            bans.hear(Banned(until_ms=error.until_ms, said_ms=now_ms, reason=str(error)))
            self._reconciler.wake()
            return now_ms, TRADING
        except (InvalidInput, ArchiveSilent) as error:
            raise await self._no_symbol(symbol) from error
        except (PermanentError, RetryableError, TimeoutError):
            return self._deps.clock.now_ms(), TRADING  # the workflow will end with the reason, or wait

    async def _no_symbol(self, symbol: str) -> InvalidInput:
        """The exchange has no such symbol; what was meant, where its list can be had soon."""
        where = self._deps.exchange_name
        try:
            async with asyncio.timeout(LIST_WITHIN_S):
                listed = await self._deps.exchange.symbols()
        except (StreamForgeError, TimeoutError):
            listed = ()
        meant = likely_symbols(symbol, listed)
        code = ProblemCode.SYMBOL_UNKNOWN
        hint = f"did you mean {' or '.join(meant)}?" if meant else "GET /symbols lists what it has"
        return InvalidInput("symbol", f"{symbol} is not a symbol of {where}: {hint}", code=code, meant=meant)

    async def _create(self, draft: Draft) -> Workflow:
        workflow = await self._reservations.create(self._deps.workflows, draft)
        self._reconciler.wake()
        return workflow

    async def _create_once(self, draft: Draft, request: msgspec.Struct, key: str) -> Started:
        reserved = await self._reservations.reserve(key, request, lambda code: draft(code).queue_id)
        existing = await self._deps.workflows.get(reserved.queue_id)
        if existing is not None:
            return _replayed(reserved, existing.workflow)
        try:
            stored = await self._deps.workflows.create(draft(reserved.code))
        except ConflictError:
            made = await self._deps.workflows.get(reserved.queue_id)
            if made is None:
                raise
            return _replayed(reserved, made.workflow)
        self._reconciler.wake()
        return Started(stored.workflow, new=True)


def _joined(workflow: Workflow, over: TimeRange | None) -> Started:
    """What joined `workflow` asked for `over`. Until there is a plan, nobody knows how much of that it loads."""
    if workflow.endless:
        return Started(workflow, joined=True)  # it loads all that comes
    behind = behind_ms(workflow, over)
    return Started(workflow, joined=True, behind_ms=behind, asked=over if behind or plan_of(workflow) is None else None)


def _replayed(reserved: Reservation, workflow: Workflow) -> Started:
    """The answer to a request that came before under the same key."""
    before = _joined(workflow, reserved.asked) if reserved.joined else Started(workflow)
    return before._replace(replayed=True)
