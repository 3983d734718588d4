"""Carries out the operations of a history on a simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from streamforge.cli.coverage_text import rest_of
from streamforge.manager import answers
from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.presentation import workflow_answer
from streamforge.manager.use_cases import Started, StartRequest
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.bus import Message
from tests.histories.history import (
    ORIGIN_MS,
    SHARED,
    AcceptRecords,
    AdvanceClock,
    AnyOperation,
    ExchangeFault,
    KillManager,
    KillWorker,
    Load,
    LoseRecords,
    Market,
    Outage,
    RefuseRecord,
    Remove,
    RepeatEvent,
    Replay,
    Retry,
    ScheduledVerification,
    Stop,
    Wait,
)
from tests.histories.manager_process import EVENTS, ManagerProcess
from tests.histories.model import Model, Violation, key_of

FLOW_S = 0.2
"""Time that passes after each operation."""


class OperationRunner:
    """Carries out operations, and notes each in the model. order: the workflows, the oldest first."""

    def __init__(self, model: Model, manager: ManagerProcess) -> None:
        self._setting, self._model, self._engines = manager.setting, model, manager.engines
        self._launcher, self._exchange, self._clock = manager.launcher, manager.exchange, manager.clock
        self._manager = manager
        self._keys = 0
        self._open: list[tuple[Started, bool, set[int]]] = []
        self.order: list[str] = []

    async def carry_out(self, operation: AnyOperation) -> None:
        """Carry the operation out, and let a moment pass."""
        match operation:
            case Load():
                await self._load(operation)
            case Wait(seconds=seconds):
                await asyncio.sleep(seconds)
            case AdvanceClock(count=count):
                self._clock.ahead_ms += self._market(0).opens_ms(count) - ORIGIN_MS
                self._model.killed(list(self._model.asked))
                self._manager.process.kill()  # it looks at what is too old once it has begun
            case Stop(which=which):
                await self._of(which, self._stop)
            case Retry(which=which):
                await self._of(which, self._retry)
            case Replay(which=which):
                await self._of(which, self._replay)
            case Remove(which=which, data=data):
                await self._of(which, lambda queue_id: self._remove(queue_id, data=data))
            case LoseRecords(market=market, first=first, last=last):
                self._lose(self._market(market), first, last)
            case ScheduledVerification():
                await self._overdue()
            case RefuseRecord(market=market, bar=bar):
                self._model.refuses(self._market(market), bar)
                self._engines.hooks.refused = self._model.refused
            case AcceptRecords():
                self._model.accepts()
            case ExchangeFault(kind=kind, after=after):
                self._exchange.fault(kind, after)
            case KillManager(deeds=deeds, after=after, down=down):
                self._manager.down_s = down
                self._model.killed(list(self._model.asked))
                self._manager.process.dies_at(deeds, after=after)
            case KillWorker(which=which, deeds=deeds):
                self._kill_worker(which, deeds)
            case Outage(part=part, seconds=seconds, late=late):
                self._model.killed(list(self._model.asked))  # for workers and managers it is as if they had crashed
                self._engines.outages[part].begin(seconds, late=late)
            case RepeatEvent(back=back):
                await self._repeat(back)
            case _:
                raise AssertionError(operation)
        await asyncio.sleep(FLOW_S)

    def _market(self, number: int) -> Market:
        return self._setting.markets[number % len(self._setting.markets)]

    async def _load(self, load: Load) -> None:
        """Ask for it; where a workflow is joined that leaves out a part, also for the whole, as `load` does."""
        market = self._market(load.market)
        now_ms = self._clock.now_ms()
        text, span = load.range_of(market, now_ms)
        if span is None:
            return
        collection = SHARED if load.shared else None
        request = StartRequest(
            symbol=market.symbol, type=market.type, time_range=text, again=load.again, collection=collection
        )
        started = await self._start(request)
        if started.joined:
            self._model.joined(started, market, span, now_ms)
        elif started.new and (left := self._another(started.workflow.span, span)):
            raise Violation("a workflow loads another range", f"{text} at {now_ms}: {left}, not {span}")
        if started.asked is None:
            return
        if started.behind_ms:
            await self._start(StartRequest(symbol=market.symbol, type=market.type, time_range=str(started.asked)))
        else:  # only its plan will tell whether a part is left out
            over = {bar for bar in market.bars_in(span) if market.is_over(bar, now_ms)}
            self._open.append((started, load.again, over))

    async def ask_for_rests(self) -> bool:
        """Ask for what finished workflows leave out of what was asked for when they were joined, and had no plan yet.

        As `load` does when the workflow has ended. Returns whether there was anything to ask for.
        """
        joins, self._open = self._open, []
        asked = False
        for started, again, over in joins:
            queue_id = started.workflow.queue_id
            one = self._model.asked.get(queue_id)
            if one is None or one.status is not Status.FINISHED:  # removed, or not loaded
                continue
            found = await self._manager.ask(lambda manager, queue_id=queue_id: manager.get(queue_id))  # type: ignore[misc]
            said = msgspec.convert(workflow_answer(found), answers.Started, from_attributes=True)
            rest = rest_of(msgspec.structs.replace(said, asked_range=str(started.asked)), again=again)
            if rest is None:
                self._model.keeps(one, over)
                continue
            market = one.market
            asked = True
            await self._start(StartRequest(symbol=market.symbol, type=market.type, time_range=rest, again=again))
        return asked

    async def _start(self, request: StartRequest) -> Started:
        self._keys += 1
        key = f"key-{self._keys}"
        return await self._manager.ask(lambda manager: manager.start(request, idempotency_key=key))

    def _another(self, found: TimeRange, meant: TimeRange) -> TimeRange | None:
        """`found`, if it is not what was meant when it was asked for, nor at any time from then until now."""
        passed_ms = self._clock.now_ms() - found.end_ms
        later_ms = (found.start_ms - meant.start_ms, found.end_ms - meant.end_ms)
        return None if min(later_ms) >= 0 and passed_ms >= 0 and later_ms[0] in (0, later_ms[1]) else found

    async def _of(self, which: int, what: Callable[[str], Awaitable[None]]) -> None:
        if self.order:
            await what(self.order[-1 - which % len(self.order)])

    async def _stop(self, queue_id: str) -> None:
        one = self._model.asked[queue_id]
        one.stop_asked = one.stop_asked or not one.ended
        try:
            await self._manager.ask(lambda manager: manager.stop(queue_id))
            one.stopped = not one.ended
        except NotNow as refusal:
            if not one.ended:
                raise Violation("a request was refused without a reason", f"stop {queue_id}") from refusal

    async def _retry(self, queue_id: str) -> None:
        await self._restart(queue_id, lambda manager: manager.retry(queue_id))

    async def _replay(self, queue_id: str) -> None:
        await self._restart(queue_id, lambda manager: manager.dead_letters.replay(queue_id))

    async def _restart(self, queue_id: str, question: Callable[[WorkflowService], Awaitable[Workflow]]) -> None:
        one = self._model.asked[queue_id]
        one.restart_asked = True
        with suppress(NotNow):
            await self._manager.ask(question)
        one.restart_asked = False

    async def _remove(self, queue_id: str, *, data: bool) -> None:
        """Remove a workflow: refused while it is under way, or while others rely on its data; else not refused."""
        model = self._model
        one = model.asked[queue_id]
        held = {bar for bar in one.planned_bars if model.holds(one.collection, one.market, bar)} if data else set()
        ended, relying = one.ended, model.relying(one) if data else set()
        refusal: NotNow | None = None
        try:
            await self._manager.ask(lambda manager: manager.remove(queue_id, data=data))
        except NotNow as error:
            refusal = error
        except NotFound:
            pass  # the answer to the first request was lost
        still_relying = relying & model.relying(one)
        if refusal is None:
            if not ended and not one.ended:
                raise Violation("a workflow that is under way was removed", queue_id)
            if held and still_relying:
                raise Violation("data were removed that a live workflow relies on", f"{queue_id}, {still_relying}")
            self.order.remove(queue_id)
            model.removed(queue_id, held if data else None)
            return
        if ended and not relying and not (data and model.relying(one)):
            raise Violation("a request was refused without a reason", f"remove {queue_id}: {refusal}")
        if left := {bar for bar in held if not model.copies(one.market, bar)}:
            raise Violation("a removal that was refused removed something", f"{queue_id}: {sorted(left)}")

    def _lose(self, market: Market, first: int, last: int) -> None:
        gone = []
        for bar in range(first, min(last, market.bars)):
            for name in self._model.copies(market, bar):
                self._engines.lose(name, key_of(market, bar))
                gone.append(bar)
        if gone:
            self._model.rows_vanished(market, gone)

    async def _overdue(self) -> None:
        await self._manager.verification_is_due()
        for market in self._setting.markets if self._setting.verify_s else ():
            self._model.verified(market)

    def _kill_worker(self, which: int, deeds: int) -> None:
        running = self._launcher.running()
        if not running:
            return
        worker = running[which % len(running)]
        self._model.killed([worker.spec.queue_id])
        if deeds:
            worker.process.dies_at(deeds, after=False)
        else:
            worker.process.kill()

    async def _repeat(self, back: int) -> None:
        events = self._engines.messages(EVENTS)
        if events:
            old = events[-1 - back % len(events)]
            await self._engines.append(EVENTS, Message(old.key, old.value, old.headers))
