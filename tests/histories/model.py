"""What there is and what was asked for after all that happened: a small model of the exchange and of the store.

It knows nothing of how StreamForge works: it gets the requests and their answers, and what became of them, and
raises Violation where a promise is broken. `oracle` compares the answers of StreamForge with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from streamforge.manager.engine.document import ENDED, Status, Workflow
from streamforge.manager.engine.persistence.event_history import COLLECTION as HISTORY
from streamforge.manager.use_cases import Started
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.model import plan_of, proof_of
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle_key
from tests.histories.history import Market, Setting

DAY_MS = 86_400_000
Documents = Mapping[str, Mapping[str, Document]]
"""What is in the store: by collection and key."""


class Violation(AssertionError):
    """An answer or a promise of StreamForge that contradicts the model. rule: the broken one, in a few words."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule}: {detail}" if detail else rule)
        self.rule = rule


class ExpectedWorkflow(msgspec.Struct, kw_only=True):
    """A workflow as its clients know it.

    repair: the manager's verification made it. stop_asked: a client asked it to stop; stopped: that was accepted.
    restart_asked: a client asked to retry it or to replay its dead letters. replays: how it had ended before it began
    that. may_fail: the store refused some of its records in this run. vanished: bars of it that vanished during
    the run. disturbed: something of it was killed in this run. run_ms: when the run was asked for. planned: it has
    learnt in this run what there is; planned_ms: when it last did. expected: bars that there are of it, as of its end.
    """

    queue_id: str
    market: Market
    span: TimeRange
    again: bool
    repair: bool = False
    collection: str
    status: Status = Status.PENDING
    stop_asked: bool = False
    stopped: bool = False
    restart_asked: bool = False
    replays: Status | None = None
    may_fail: bool = False
    vanished: set[int] = msgspec.field(default_factory=set)
    taken: set[int] = msgspec.field(default_factory=set)
    """Bars of its series that were removed or vanished since it was accepted."""
    disturbed: bool = False
    crowded: bool = False
    """Another workflow of its series was under way beside it, which may have stored copies."""
    run_ms: int = 0
    planned: bool = False
    planned_ms: int = 0
    expected: int | None = None
    promised: set[int] = msgspec.field(default_factory=set)
    """Bars that were over when a request joined it, and got the answer that it loads all of them."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def bars(self) -> list[int]:
        return self.market.bars_in(self.span)

    @property
    def planned_bars(self) -> list[int]:
        """The bars of its range that were over when it was planned."""
        span = self.planned_span
        return [] if span is None else self.market.bars_in(span)

    @property
    def planned_span(self) -> TimeRange | None:
        """What of its range was over when it was planned; None: not one bar."""
        if not self.planned:
            return self.span
        end_ms = min(self.span.end_ms, self.market.over_until_ms(self.planned_ms))
        return None if end_ms <= self.span.start_ms else TimeRange(self.span.start_ms, end_ms)

    @property
    def is_whole(self) -> bool:
        """Whether it was proven, and no record of its plan was taken since."""
        return self.status is Status.FINISHED and self.taken.isdisjoint(self.planned_bars)

    def overlaps(self, other: ExpectedWorkflow) -> bool:
        return self.market == other.market and self.span.intersection(other.span) is not None


class Model:
    """documents: the store's content itself. now_ms: the simulated time."""

    def __init__(self, setting: Setting, documents: Documents, now_ms: Callable[[], int]) -> None:
        self._documents = documents
        self.setting = setting
        self.now_ms = now_ms
        self.asked: dict[str, ExpectedWorkflow] = {}
        self.refused: set[str] = set()
        self.proven: dict[str, set[int]] = defaultdict(set)
        """Bars of each symbol that a finished workflow has proven, and that nobody removed."""
        self.vanished: dict[str, set[int]] = defaultdict(set)
        """Bars whose rows vanished, and of which nobody has taken notice yet."""
        self.lost: dict[str, set[int]] = defaultdict(set)
        """Bars that were proven and whose rows vanished, noticed or not, but for what was removed or has come back."""
        self.ever_vanished: set[str] = set()
        self.twice: dict[str, set[int]] = defaultdict(set)
        self.ever_asked: dict[str, list[TimeRange]] = defaultdict(list)
        self.planned_ms: dict[str, int] = {}
        """When any workflow of the symbol has last learnt what there is at the exchange."""

    # The present state.

    @property
    def collections(self) -> Mapping[str, int]:
        """How many records each collection holds, but for the manager's own."""
        return {name: len(there) for name, there in self._documents.items() if name != HISTORY and there}

    def copies(self, market: Market, bar: int) -> list[str]:
        """The collections that hold the bar."""
        key = key_of(market, bar)
        found = [name for name, there in self._documents.items() if key in there]
        if len(found) > 1:
            self.twice[market.symbol].add(bar)
        return found

    def holds(self, collection: str, market: Market, bar: int) -> bool:
        return key_of(market, bar) in self._documents.get(collection, {})

    def stored(self, market: Market, span: TimeRange) -> list[int]:
        """The bars of `span` whose records are there."""
        return [bar for bar in market.bars_in(span) if self.copies(market, bar)]

    def gone(self, market: Market) -> set[int]:
        """Bars whose rows vanished unnoticed and are not there again."""
        return {bar for bar in self.vanished[market.symbol] if not self.copies(market, bar)}

    def live(self, market: Market) -> list[ExpectedWorkflow]:
        """The workflows of it that are under way."""
        return [one for one in self.asked.values() if one.market == market and not one.ended]

    def relying(self, one: ExpectedWorkflow) -> set[str]:
        """The other workflows that are under way and load a part of the same range."""
        return {other.queue_id for other in self.live(one.market) if other is not one and other.overlaps(one)}

    # Requests, and changes of the store.

    def accepted(self, workflow: Workflow) -> bool:
        """Whether the workflow is a new one."""
        if workflow.queue_id in self.asked:
            return False
        market = next(market for market in self.setting.markets if market.symbol == workflow.symbol)
        one = ExpectedWorkflow(
            queue_id=workflow.queue_id,
            market=market,
            span=workflow.span,
            again=workflow.part(History).again,
            repair=workflow.part(History).verification,
            collection=workflow.collection,
            run_ms=self.now_ms(),
        )
        self.asked[workflow.queue_id] = one
        self._refusing(one)
        self.ever_asked[market.symbol].append(one.span)
        if one.repair:
            self._repairs(one)
        return True

    def joined(self, started: Started, market: Market, span: TimeRange, now_ms: int) -> None:
        """Somebody asked at `now_ms` for `span`, and joined a workflow."""
        one = self.asked[started.workflow.queue_id]
        over = {bar for bar in market.bars_in(span) if market.is_over(bar, now_ms)}
        if started.asked is None:
            one.promised |= over
        elif left := {bar for bar in over if market.opens_ms(bar) >= started.asked.end_ms}:  # it may begin later by now
            raise Violation(
                "the answer to a request that joins names a shorter range",
                f"{one.queue_id}: {started.asked} lacks {shown(left)}",
            )

    def keeps(self, one: ExpectedWorkflow, over: Iterable[int]) -> None:
        """A request that joined a workflow got the answer that it leaves out none of the bars that were over."""
        if left := set(over).difference(one.planned_bars):
            raise Violation(
                "a workflow loads less than the answer to a joined request", f"{one.queue_id} without {shown(left)}"
            )

    def _repairs(self, one: ExpectedWorkflow) -> None:
        if not self.setting.repairs:
            raise Violation("lost records are loaded although repairs are switched off", one.queue_id)
        if all(self.copies(one.market, bar) for bar in one.bars if one.market.trades(bar)):
            raise Violation("a repair loads what is there", f"{one.queue_id} {one.span}")

    def _begins_again(self, one: ExpectedWorkflow, workflow: Workflow) -> None:
        if not one.restart_asked:
            raise Violation("an ended workflow goes on by itself", one.queue_id)
        one.replays = workflow.replayed
        one.stop_asked = one.stopped = one.restart_asked = one.may_fail = one.disturbed = one.planned = False
        one.run_ms = self.now_ms()
        one.vanished.clear()
        self._refusing(one)

    def removed(self, queue_id: str, held: Collection[int] | None) -> None:
        """The workflow is removed. held: bars that its collection held before, if its data went too."""
        one = self.asked.pop(queue_id)
        if held is None:
            return
        self._take(one.market, held)
        self.lost[one.market.symbol] -= set(one.planned_bars)
        left = {bar for bar in one.planned_bars if self.holds(one.collection, one.market, bar)}
        if left:
            raise Violation("data that were removed are there", f"bars {shown(left)} of {one.collection}")

    def deleted(self, collection: str, keys: Collection[str], whole: bool) -> None:
        """The manager is about to delete these records; whole: it drops the collection."""
        for market in self.setting.markets if keys else ():
            bars = {bar for bar in range(market.bars) if key_of(market, bar) in keys}
            alone = {bar for bar in bars if self.copies(market, bar) == [collection]}
            for one in self.live(market):
                if one.planned and alone.intersection(one.bars):
                    what = f"bars {shown(alone.intersection(one.bars))} of {collection}"
                    raise Violation("what a live workflow relies on is removed", f"{one.queue_id}: {what}")
            if whole and bars and self._is_old(market, max(bars)):
                self._take(market, bars)
                self.lost[market.symbol] -= bars

    def _is_old(self, market: Market, bar: int) -> bool:
        kept_ms = self.setting.kept_days * DAY_MS
        return bool(kept_ms) and self.now_ms() - market.opens_ms(bar + 1) >= kept_ms

    def rows_vanished(self, market: Market, bars: Sequence[int]) -> None:
        self.lost[market.symbol] |= self.proven[market.symbol].intersection(bars)
        self._take(market, bars)
        self.vanished[market.symbol] |= set(bars)
        self.ever_vanished.add(market.symbol)
        for one in self.live(market):
            one.vanished |= set(bars)

    def verified(self, market: Market, span: TimeRange | None = None) -> None:
        """All that is stored (in `span`) was counted: no answer may contain any more what vanished."""
        going_on = {bar for one in self.live(market) for bar in one.vanished}  # what they counted before may be said
        bars = set(range(market.bars) if span is None else market.bars_in(span))
        self.vanished[market.symbol] -= bars - going_on

    def _take(self, market: Market, bars: Iterable[int]) -> None:
        self.proven[market.symbol] -= set(bars)
        for one in self.asked.values():
            if one.market == market:
                one.taken |= set(bars)

    def refuses(self, market: Market, bar: int) -> None:
        self.refused.add(key_of(market, bar))
        for one in self.live(market):
            self._refusing(one)

    def accepts(self) -> None:
        self.refused.clear()

    def killed(self, queue_ids: Iterable[str]) -> None:
        for queue_id in queue_ids:
            if queue_id in self.asked:
                self.asked[queue_id].disturbed = True

    # The documents of workflows, at each change.

    def changed(self, workflow: Workflow, confirmed: Iterable[str]) -> None:
        """A workflow's document was stored. confirmed: keys on its topic."""
        one = self.asked.get(workflow.queue_id)
        if one is None:
            return
        if workflow.status is Status.PENDING and any(
            step.attempts and not _over(step.attempts[-1]) for step in workflow.steps
        ):
            raise Violation("a pending workflow runs", workflow.queue_id)
        if one.ended and not workflow.ended:
            self._begins_again(one, workflow)
        self._finds_out(one, workflow)
        was, one.status = one.status, workflow.status
        live = self.live(one.market)
        for other in live if len(live) > 1 else ():
            other.crowded = True
        if was is not workflow.status and workflow.ended:
            self._ends(one, workflow, confirmed)
        self._busy({other.queue_id for other in self.asked.values() if other.status is Status.RUNNING})

    def _finds_out(self, one: ExpectedWorkflow, workflow: Workflow) -> None:
        """What the workflow has learnt of the exchange and of the store was asked for in this run."""
        plan, proof, symbol = plan_of(workflow), proof_of(workflow), one.market.symbol
        if plan is not None:
            one.planned, one.planned_ms = True, plan.exchange_now_ms
            self.planned_ms[symbol] = max(self.planned_ms.get(symbol, 0), plan.exchange_now_ms)
            if plan.exchange_now_ms < one.run_ms and one.replays is None:
                raise Violation("what was found out for an earlier run counts", f"{one.queue_id}: its plan")
        if proof is not None and proof.checked_ms < one.run_ms:
            raise Violation("what was found out for an earlier run counts", f"{one.queue_id}: its proof")

    def jobs_run(self, queue_ids: Iterable[str]) -> None:
        """SimulatedLauncher of these workflows run."""
        self._busy(set(queue_ids) & self.asked.keys())

    def _busy(self, queue_ids: Collection[str]) -> None:
        if len(queue_ids) > self.setting.max_running:
            raise Violation("more workflows run than may", ", ".join(sorted(queue_ids)))

    def _ends(self, one: ExpectedWorkflow, workflow: Workflow, confirmed: Iterable[str]) -> None:
        self._judge(one, workflow)
        if workflow.status is Status.INTERRUPTED and one.replays is None and not one.disturbed and not one.may_fail:
            self._drained(one, confirmed)
        market = one.market
        one.expected = sum(market.is_in_life(bar, one.planned_ms) for bar in market.opening_in(one.span))
        if workflow.status is not Status.FINISHED:
            return
        if left := one.promised.difference(one.planned_bars):
            raise Violation(
                "a workflow loads less than the answer to a joined request", f"{one.queue_id} without {shown(left)}"
            )
        for bar in one.bars:
            if not market.trades(bar) or not market.is_over(bar, one.planned_ms):
                continue
            copies = self.copies(market, bar)
            if not copies and bar not in one.vanished:
                raise Violation("finished with less than there is", f"{one.queue_id} without bar {bar}")
            if one.again and not one.crowded and len(copies) > 1:
                raise Violation("a second copy is left behind", f"bar {bar} is in {', '.join(copies)}")
        self.proven[market.symbol] |= set(one.planned_bars) - one.vanished
        back = {bar for bar in one.bars if self.copies(market, bar)}
        self.vanished[market.symbol] -= back
        self.lost[market.symbol] -= back

    def _judge(self, one: ExpectedWorkflow, workflow: Workflow) -> None:
        allowed = {Status.FINISHED}
        if one.replays in (Status.INTERRUPTED, Status.ERROR):
            allowed = {one.replays}
        if one.may_fail:
            allowed.add(Status.ERROR)
        if one.stop_asked:
            allowed.add(Status.INTERRUPTED)
        if one.stopped:
            allowed.discard(Status.FINISHED)
        if workflow.status not in allowed:
            why = "" if workflow.failure is None else f" ({workflow.failure.reason})"
            wanted = " or ".join(sorted(status.value for status in allowed))
            raise Violation(
                "an end that nothing explains", f"{one.queue_id} is {workflow.status.value}{why}, not {wanted}"
            )

    def _drained(self, one: ExpectedWorkflow, confirmed: Iterable[str]) -> None:
        there = self._documents.get(one.collection, {})
        taken = {key_of(one.market, bar) for bar in one.taken}
        left = [key for key in confirmed if key not in there and key not in taken]
        if left:
            raise Violation("stopping lost what was confirmed", f"{one.queue_id}: {len(left)} records, {left[0]} first")

    def _refusing(self, one: ExpectedWorkflow) -> None:
        if self.refused and not self.refused.isdisjoint(key_of(one.market, bar) for bar in one.bars):
            one.may_fail = True


def key_of(market: Market, bar: int) -> str:
    """The key of a bar's record."""
    return candle_key(market.symbol, market.interval, market.opens_ms(bar))


def shown(bars: Iterable[int]) -> str:
    """The first ten bars, for a message."""
    return ", ".join(map(str, sorted(bars)[:10]))


def _over(attempt: object) -> bool:
    return getattr(attempt, "ended_ms", None) is not None
