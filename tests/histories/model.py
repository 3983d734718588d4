"""What must be true of a world after all that happened in it: a small model of the exchange, the store and who asked.

It knows nothing of how StreamForge works: it is told what was asked for and answered, and what became of it, and
says which statement is untrue.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from streamforge.manager.workflow import ENDED, Status, Workflow
from streamforge_utils.model.candles import candle_key
from streamforge_utils.model.coverage import SETTLED, Segment, Verdict
from streamforge_utils.model.events import LAST_WORDS, Event
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.histories.history import Market, Setting

DAY_MS = 86_400_000
Documents = Mapping[str, Mapping[str, Document]]
"""What is in the store: by collection and key."""


EXCUSED: frozenset[str] = frozenset()
"""Rules that are not kept yet."""


class Untrue(AssertionError):
    """A statement or a promise of StreamForge that is not true. rule: which one, in a few words."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule}: {detail}" if detail else rule)
        self.rule = rule


class Asked(msgspec.Struct, kw_only=True):
    """A workflow as those know it who asked for it.

    stop_asked: somebody asked it to stop, and stopped: he was told that it will. restart_asked: somebody asked to
    retry it or to replay its dead letters. replays: how it had ended before it began to replay them.
    may_fail: the store refused some of its records in this run. vanished: bars of it that vanished during the run.
    disturbed: something of it was killed in this run. planned_ms: when it last learnt what there is.
    """

    queue_id: str
    market: Market
    span: TimeRange
    again: bool
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
    planned_ms: int = 0

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def bars(self) -> list[int]:
        return self.market.bars_in(self.span)

    def overlaps(self, other: Asked) -> bool:
        return self.market == other.market and self.span.intersection(other.span) is not None


class Model:
    """documents: the store's content itself. now_ms: the time in the world."""

    def __init__(
        self, setting: Setting, documents: Documents, now_ms: Callable[[], int], excused: Collection[str] = EXCUSED
    ) -> None:
        self._excused = excused
        self._setting = setting
        self._documents = documents
        self._now_ms = now_ms
        self.asked: dict[str, Asked] = {}
        self.refused: set[str] = set()
        self._proven: dict[str, set[int]] = defaultdict(set)
        """Bars of each symbol of which a finished workflow has said that all is well, and that nobody removed."""
        self.vanished: dict[str, set[int]] = defaultdict(set)
        """Bars whose rows vanished, and of which nobody has taken notice yet."""
        self._ever_vanished: set[str] = set()
        self._twice: dict[str, set[int]] = defaultdict(set)
        self._called_stored: dict[str, set[int]] = defaultdict(set)
        self._asked_ms: dict[str, int] = {}

    def untrue(self, rule: str, detail: str = "") -> None:
        """Something is untrue: raises Untrue."""
        if rule not in self._excused:
            raise Untrue(rule, detail)

    # What happens.

    def accepted(self, workflow: Workflow) -> None:
        market = next(market for market in self._setting.markets if market.symbol == workflow.symbol)
        one = Asked(
            queue_id=workflow.queue_id,
            market=market,
            span=workflow.span,
            again=workflow.again,
            collection=workflow.collection,
        )
        self._refusing(self.asked.setdefault(workflow.queue_id, one))
        self._asked_ms.setdefault(market.symbol, self._now_ms())

    def _begins_again(self, one: Asked, workflow: Workflow) -> None:
        if not one.restart_asked:
            self.untrue("an ended workflow goes on by itself", one.queue_id)
        one.replays = workflow.replayed
        one.stop_asked = one.stopped = one.restart_asked = one.may_fail = one.disturbed = False
        one.vanished.clear()
        self._refusing(one)

    def removed(self, queue_id: str, *, data: bool) -> None:
        one = self.asked.pop(queue_id)
        if not data:
            return
        self._take(one.market, one.bars)
        left = {bar for bar in one.bars if self._key(one.market, bar) in self._documents.get(one.collection, {})}
        if left:
            self.untrue("data that were removed are there", f"bars {_shown(left)} of {one.collection}")

    def dropped(self, collection: str, keys: Iterable[str]) -> None:
        """A collection was dropped as a whole."""
        for market in self._setting.markets:
            bars = {bar for bar in range(market.bars) if self._key(market, bar) in keys}
            if not bars:
                continue
            age_ms = self._now_ms() - market.opens_ms(max(bars) + 1)
            if not self._setting.kept_days or age_ms < self._setting.kept_days * DAY_MS:
                continue
            self._take(market, bars)

    def rows_vanished(self, market: Market, bars: Sequence[int]) -> None:
        self._take(market, bars)
        self.vanished[market.symbol] |= set(bars)
        self._ever_vanished.add(market.symbol)
        for one in self._live(market):
            one.vanished |= set(bars)

    def _take(self, market: Market, bars: Iterable[int]) -> None:
        self._proven[market.symbol] -= set(bars)
        for one in self.asked.values():
            if one.market == market:
                one.taken |= set(bars)

    def refuses(self, market: Market, bar: int) -> None:
        self.refused.add(self._key(market, bar))
        for one in self._live(market):
            self._refusing(one)

    def accepts(self) -> None:
        self.refused.clear()

    def killed(self, queue_ids: Iterable[str]) -> None:
        for queue_id in queue_ids:
            if queue_id in self.asked:
                self.asked[queue_id].disturbed = True

    # What the manager says of workflows, at each change.

    def changed(self, workflow: Workflow, running: Iterable[str], confirmed: Iterable[str]) -> None:
        """A workflow's document was stored. running: queue_ids with a job that runs. confirmed: keys on its topic."""
        one = self.asked.get(workflow.queue_id)
        if one is None:
            return
        if workflow.plan is not None:
            one.planned_ms = workflow.plan.exchange_now_ms
        if workflow.status is Status.PENDING and any(
            step.attempts and not _over(step.attempts[-1]) for step in workflow.steps
        ):
            self.untrue("a pending workflow runs", workflow.queue_id)
        if one.ended and not workflow.ended:
            self._begins_again(one, workflow)
        was, one.status = one.status, workflow.status
        live = self._live(one.market)
        for other in live if len(live) > 1 else ():
            other.crowded = True
        if was is not workflow.status and workflow.ended:
            self._ends(one, workflow, confirmed)
        busy = [other for other in self.asked.values() if other.status is Status.RUNNING]
        if len(busy) > self._setting.max_running:
            self.untrue("more workflows run than may", f"{len(busy)} of {self._setting.max_running}")

    def jobs_run(self, queue_ids: Iterable[str]) -> None:
        """Jobs of these workflows run."""
        busy = set(queue_ids) & self.asked.keys()
        if len(busy) > self._setting.max_running:
            self.untrue("more workflows run than may", f"jobs of {', '.join(sorted(busy))}")

    def _ends(self, one: Asked, workflow: Workflow, confirmed: Iterable[str]) -> None:
        self._judge(one, workflow)
        if workflow.status is Status.INTERRUPTED and one.replays is None and not one.disturbed and not one.may_fail:
            self._drained(one, confirmed)
        if workflow.status is not Status.FINISHED:
            return
        market = one.market
        for bar in one.bars:
            if not market.trades(bar) or not market.is_over(bar, one.planned_ms):
                continue
            copies = self.copies(market, bar)
            if not copies and bar not in one.vanished:
                self.untrue("finished with less than there is", f"{one.queue_id} without bar {bar}")
            alone = not one.crowded
            if one.again and alone and len(copies) > 1:
                self.untrue("a second copy is left behind", f"bar {bar} is in {', '.join(copies)}")
        over = {bar for bar in one.bars if market.is_over(bar, one.planned_ms)}  # of the rest nobody knows later
        self._proven[market.symbol] |= over - one.vanished
        self.vanished[market.symbol] -= {bar for bar in one.bars if self.copies(market, bar)}

    def _judge(self, one: Asked, workflow: Workflow) -> None:
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
            self.untrue("an end that nothing explains", f"{one.queue_id} is {workflow.status.value}{why}, not {wanted}")

    def _drained(self, one: Asked, confirmed: Iterable[str]) -> None:
        there = self._documents.get(one.collection, {})
        taken = {self._key(one.market, bar) for bar in one.taken}
        left = [key for key in confirmed if key not in there and key not in taken]
        if left:
            self.untrue("stopping lost what was confirmed", f"{one.queue_id}: {len(left)} records, {left[0]} first")

    # What is said at rest: every workflow has ended, and the manager runs.

    def at_rest(self, workflows: Sequence[Workflow], words: Mapping[tuple[str, str, int], set[bytes]]) -> None:
        """words: the last words on the topic by queue_id, producer and attempt."""
        if (there := {workflow.queue_id for workflow in workflows}) != self.asked.keys():
            self.untrue("a workflow was lost, or made", f"{sorted(there ^ self.asked.keys())}")
        for workflow in workflows:
            for step in workflow.steps:
                numbers = [attempt.number for attempt in step.attempts]
                if numbers != list(range(1, len(numbers) + 1)):
                    self.untrue("attempts are numbered otherwise than 1, 2, …", f"{step.telemetry_id}: {numbers}")
                for attempt in step.attempts:
                    said = words.get((workflow.queue_id, step.telemetry_id, attempt.number), set())
                    if len(said) != 1 or attempt.last_word is None or attempt.outcome is None:
                        self.untrue(
                            "not exactly one last word",
                            f"{step.telemetry_id} attempt {attempt.number}: {len(said)} on the topic, "
                            f"{attempt.last_word} heard, outcome {attempt.outcome}",
                        )

    def history(self, queue_id: str, events: Sequence[Event]) -> None:
        """Compare what is remembered of what was said."""
        once = Counter((e.producer, e.attempt, e.event) for e in events if e.event not in ("loading", "pong"))
        ends = Counter((e.producer, e.attempt) for e in events if e.event in LAST_WORDS)
        for who, count in (*once.items(), *ends.items()):
            if count > 1:
                self.untrue("what was said once is remembered twice", f"{queue_id}: {who}")

    def coverage(self, market: Market, span: TimeRange, segments: Sequence[Segment]) -> None:
        """Compare what the coverage says of `span` with what is so."""
        called = [bar for one in segments if one.verdict is Verdict.STORED for bar in market.bars_in(one.span)]
        self._called_stored[market.symbol] = set(called)
        cursor = span.start_ms
        for segment in segments:
            if segment.start_ms != cursor or segment.end_ms <= cursor:
                self.untrue("coverage is not one line", f"{segment.span} after {cursor}")
            cursor = segment.end_ms
            bars = market.bars_in(segment.span)
            for bar in bars:
                self._bar(market, bar, segment)
            if segment.verdict is Verdict.STORED and segment.records != len(bars):
                there = sum(self._key(market, b) in self._documents.get(segment.collection or "", {}) for b in bars)
                if segment.records != there:
                    self.untrue("coverage counts wrongly", f"{segment.records} of {len(bars)} in {segment.span}")
        if cursor != span.end_ms:
            self.untrue("coverage is not one line", f"{span} ends at {cursor}")

    def _bar(self, market: Market, bar: int, segment: Segment) -> None:
        copies, verdict, symbol = self.copies(market, bar), segment.verdict, market.symbol
        over_ms = market.opens_ms(bar + 1) - 1
        what = f"{symbol} bar {bar} is {verdict.value}"
        if verdict is Verdict.STORED and segment.collection not in copies and bar not in self._gone(market):
            self.untrue("stored is what is not there", f"{what} in {segment.collection}, and is in {copies}")
        if verdict in (Verdict.EXCHANGE, Verdict.CLOSED, Verdict.OURS) and verdict is not self._of_exchange(
            market, bar
        ):
            self.untrue("a hole has the wrong reason", f"{what}, not {self._of_exchange(market, bar).value}")
        if verdict is Verdict.PENDING and over_ms < self._asked_ms.get(symbol, 0):
            self.untrue("a hole has the wrong reason", f"{what}, and was over before anybody asked")
        if bar in self._proven[symbol] and verdict not in SETTLED:
            self.untrue("what was proven is forgotten", what)
        if verdict is not Verdict.STORED and copies and bar not in self._doubtful(market):
            self.untrue("records are there that coverage does not know", f"{what}, and is in {', '.join(copies)}")

    def _of_exchange(self, market: Market, bar: int) -> Verdict:
        if not market.lists(bar):
            return Verdict.CLOSED
        return Verdict.OURS if market.trades(bar) else Verdict.EXCHANGE

    def _doubtful(self, market: Market) -> set[int]:
        """Bars of which records may be there without a word in the coverage."""
        return self._twice[market.symbol] | {
            bar
            for one in self.asked.values()
            if one.market == market and one.status is not Status.FINISHED and market.symbol in self._ever_vanished
            for bar in one.bars
        }

    def _gone(self, market: Market) -> set[int]:
        """Bars whose rows vanished and are not there again."""
        return {bar for bar in self.vanished[market.symbol] if not self.copies(market, bar)}

    def stored(self, market: Market, span: TimeRange) -> list[int]:
        """The bars of `span` whose records are there."""
        return [bar for bar in market.bars_in(span) if self.copies(market, bar)]

    def is_called_stored(self, market: Market, span: TimeRange) -> bool:
        """Whether the coverage called a bar of `span` stored, when it was looked at last, that is not there."""
        gone = self._gone(market)
        return any(bar in gone for bar in market.bars_in(span) if bar in self._called_stored[market.symbol])

    def lacks(self, market: Market, span: TimeRange) -> bool:
        """Whether rows of `span` vanished, so that reading it may fail by name."""
        return not self._gone(market).isdisjoint(market.bars_in(span))

    def moves(self, market: Market) -> bool:
        """Whether a workflow of it is under way, so that what a read gives is not foreseeable."""
        return bool(self._live(market))

    def copies(self, market: Market, bar: int) -> list[str]:
        """The collections that hold the bar."""
        key = self._key(market, bar)
        found = [name for name, there in self._documents.items() if key in there]
        if len(found) > 1:
            self._twice[market.symbol].add(bar)
        return found

    def _live(self, market: Market) -> list[Asked]:
        return [one for one in self.asked.values() if one.market == market and not one.ended]

    def _refusing(self, one: Asked) -> None:
        if self.refused and not self.refused.isdisjoint(self._key(one.market, bar) for bar in one.bars):
            one.may_fail = True

    @staticmethod
    def _key(market: Market, bar: int) -> str:
        return candle_key(market.symbol, market.interval, market.opens_ms(bar))


def _over(attempt: object) -> bool:
    return getattr(attempt, "ended_ms", None) is not None


def _shown(bars: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(bars)[:10]))
