"""Compares the answers of StreamForge with the model: about workflows, about series, and the records that are read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from streamforge.cli.commands.export_command import Exported
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.engine.document import Status, Workflow
from streamforge_utils.model.coverage import COMPLETE, KEPT, SETTLED, Verdict
from streamforge_utils.model.messages import TERMINAL_EVENTS, Event
from streamforge_utils.model.timeranges import TimeRange
from tests.histories.history import Market
from tests.histories.model import ExpectedWorkflow, Model, Violation, shown

_OF_EXCHANGE = (Verdict.EXCHANGE, Verdict.CLOSED, Verdict.OURS)


class Oracle:
    """Raises Violation where an answer contradicts the model. called: bars that coverage calls stored, and where.

    It is as of the latest coverage of the whole series.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.called: dict[str, dict[int, str]] = defaultdict(dict)
        self._settled: dict[str, list[TimeRange]] = defaultdict(list)

    # Answers about workflows.

    def at_rest(self, workflows: Sequence[Workflow], words: Mapping[tuple[str, str, int], set[bytes]]) -> None:
        """Every workflow has ended. words: the terminal events on the topic by queue_id, producer and attempt."""
        if (there := {workflow.queue_id for workflow in workflows}) != self._model.asked.keys():
            raise Violation("a workflow was lost, or made", f"{sorted(there ^ self._model.asked.keys())}")
        for workflow in workflows:
            for step in workflow.steps:
                numbers = [attempt.number for attempt in step.attempts]
                if numbers != list(range(1, len(numbers) + 1)):
                    raise Violation("attempts are numbered otherwise than 1, 2, …", f"{step.telemetry_id}: {numbers}")
                for attempt in step.attempts:
                    answer = words.get((workflow.queue_id, step.telemetry_id, attempt.number), set())
                    if len(answer) != 1 or attempt.terminal_event is None or attempt.outcome is None:
                        raise Violation(
                            "not exactly one terminal event",
                            f"{step.telemetry_id} attempt {attempt.number}: {len(answer)} on the topic, "
                            f"{attempt.terminal_event} heard, outcome {attempt.outcome}",
                        )

    def history(self, queue_id: str, events: Sequence[Event]) -> None:
        """Compare the stored events of a workflow."""
        once = Counter((e.producer, e.attempt, e.event) for e in events if e.event not in ("loading", "pong"))
        ends = Counter((e.producer, e.attempt) for e in events if e.event in TERMINAL_EVENTS)
        for who, count in (*once.items(), *ends.items()):
            if count > 1:
                raise Violation("an event is stored twice", f"{queue_id}: {who}")

    def shows(self, queue_id: str, answer: answers.Started | None, proof: Mapping[str, object] | None) -> None:
        """The answer of `show`. proof: the summary of its coverage."""
        one = self._model.asked[queue_id]
        if answer is None or answer.status != one.status.value:
            self._wrong_show(queue_id, "status", answer and answer.status, one.status.value)
            return
        progress = answer.progress
        if answer.undriven is not None or (one.ended and answer.waiting_for is not None):
            self._wrong_show(queue_id, "waiting", (answer.undriven, answer.waiting_for), None)
        expected, stored = progress.records_expected, progress.records_stored
        share = None if expected is None else stored / expected if expected else 1.0
        if progress.share != share or stored < 0 or (expected is not None and stored > expected):
            self._wrong_show(queue_id, "progress", progress, share)
        if not one.ended:
            return
        if one.status is Status.FINISHED and proof is None:
            self._wrong_show(queue_id, "coverage", proof, "a proof")
        # After its end it is answer what coverage knows now.
        called = self.called[one.market.symbol]
        now = sum(bar in called for bar in one.planned_bars)
        if proof is None:
            if expected is not None and stored != now:
                self._wrong_show(queue_id, "records", stored, now)
            return
        true = (one.expected, now, now)
        if (expected, stored, proof["records_stored"]) != true:
            self._wrong_show(queue_id, "records", (expected, stored, proof["records_stored"]), true)
        if proof["complete"] is not self._is_settled(one):
            self._wrong_show(queue_id, "complete", proof["complete"], self._is_settled(one))

    def _is_settled(self, one: ExpectedWorkflow) -> bool:
        """Whether coverage has a reason for all of its range that is not stored."""
        market, planned = one.market, one.planned_span
        if planned is None:
            return True
        start_ms = max(market.ceil(planned.start_ms), market.opens_ms(0))
        end_ms = min(planned.end_ms, market.opens_ms(market.bars))
        if start_ms >= end_ms:
            return True
        wanted = TimeRange(start_ms, end_ms)
        covered = [common for span in self._settled[market.symbol] if (common := span.intersection(wanted))]
        return sum(common.end_ms - common.start_ms for common in covered) == end_ms - start_ms

    def _wrong_show(self, queue_id: str, what: str, answer: object, true: object) -> None:
        raise Violation("show contradicts the model", f"{queue_id}: {what} {answer}, not {true}")

    def lists(
        self, listed: Sequence[answers.WorkflowSummary], symbol: str | None = None, status: str | None = None
    ) -> None:
        """The answer of `queues` about all workflows (of a symbol, in a status)."""
        true = {
            one.queue_id: one.status.value
            for one in self._model.asked.values()
            if symbol in (None, one.market.symbol) and status in (None, one.status.value)
        }
        answer = {one.queue_id: one.status for one in listed}
        if answer != true or len(listed) != len(answer):
            raise Violation("queues contradicts the model", f"{answer}, not {true}")
        times = [datetime.fromisoformat(one.created_at) for one in listed]
        if times != sorted(times, reverse=True):
            raise Violation("queues contradicts the model", f"the newest is not first: {times}")

    def lists_meanwhile(self, listed: Sequence[answers.WorkflowSummary], before: Mapping[str, Status]) -> None:
        """The answer of `queues` while workflows go on. before: how they stood when it was asked."""
        for answer in listed:
            now = self._model.asked.get(answer.queue_id)
            true = {one.value for one in (before.get(answer.queue_id), None if now is None else now.status) if one}
            if answer.status not in true or answer.undriven is not None:
                what = f"{answer.queue_id} is {answer.status} ({answer.undriven}), not {' or '.join(sorted(true))}"
                raise Violation("queues contradicts the model", what)
        if left := before.keys() & self._model.asked.keys() - {answer.queue_id for answer in listed}:
            raise Violation("queues contradicts the model", f"without {sorted(left)}")

    # Answers about a series.

    def coverage(
        self, market: Market, answer: data_answers.Coverage | None, code: int, before: Collection[int] | None = None
    ) -> None:
        """The answer of `coverage`. answer: None if nothing is known. code: the command's exit code.

        before: of a series that is being loaded, the bars that were there when it was asked.
        """
        if answer is not None and answer.queue_id is not None:
            self._of_workflow(self._model.asked[answer.queue_id], answer)
            if answer.span is None:
                return
        if answer is None or answer.span is None:
            if needed := self._needed(market):
                raise Violation("nothing is known", f"{market.symbol}: bars {shown(needed)}")
            if answer is not None and (answer.complete or (answer.segments and self.called[market.symbol])):
                raise Violation("coverage names no span", market.symbol)
            return
        span = TimeRange(answer.span.start_ms, answer.span.end_ms)
        cursor = market.ceil(span.start_ms)
        if market.interval == "3d" and answer.segments and answer.segments[0].start_ms == span.start_ms:
            cursor = span.start_ms  # where bars of three days open may not be known yet
        for segment in answer.segments:
            if segment.start_ms != cursor or segment.end_ms <= cursor:
                raise Violation("coverage is not one line", f"{segment} after {cursor}")
            cursor = segment.end_ms
            bars = market.bars_in(TimeRange(segment.start_ms, segment.end_ms))
            for bar in bars:
                self._bar(market, bar, segment, before)
            if segment.verdict == Verdict.STORED and segment.records != len(bars):
                raise Violation("coverage counts wrongly", f"{segment.records} of {len(bars)} in {segment}")
        if cursor != max(span.end_ms, market.ceil(span.start_ms)):
            raise Violation("coverage is not one line", f"{span} ends at {cursor}")
        self._complete(market, answer, code, resting=before is None)
        if before is None and answer.span.basis == "asked":
            self._asked_for(market, answer)
        if answer.span.basis == "life":
            self._life(market, answer.span)

    def knows(self, market: Market, answer: data_answers.Coverage | None) -> None:
        """Remember the answer about the whole series, which later reads must match."""
        self.called[market.symbol] = {
            bar: segment.collection or ""
            for segment in (answer.segments if answer is not None else ())
            if segment.verdict == Verdict.STORED
            for bar in market.bars_in(TimeRange(segment.start_ms, segment.end_ms))
        }

        self._settled[market.symbol] = [
            TimeRange(segment.start_ms, segment.end_ms)
            for segment in (answer.segments if answer is not None else ())
            if segment.verdict in KEPT
        ]

    def _bar(self, market: Market, bar: int, segment: data_answers.Segment, before: Collection[int] | None) -> None:
        model, symbol, verdict = self._model, market.symbol, Verdict(segment.verdict)
        copies = model.copies(market, bar)
        what = f"{symbol} bar {bar} is {verdict.value}"
        there = segment.collection in copies or (before is not None and bar in before)
        if verdict is Verdict.STORED and not there and bar not in model.gone(market):
            raise Violation(
                "a bar is called stored and is not there", f"{what} in {segment.collection}, and is in {copies}"
            )
        if verdict in _OF_EXCHANGE and verdict is not market.verdict_of(bar):
            raise Violation("a hole has the wrong reason", f"{what}, not {market.verdict_of(bar).value}")
        if before is None and verdict is Verdict.PENDING and market.is_over(bar, model.now_ms()):
            raise Violation("a hole has the wrong reason", f"{what}, and is over")
        if bar in model.proven[symbol] and verdict not in SETTLED:
            raise Violation("what was proven is forgotten", what)
        if before is None and verdict is not Verdict.STORED and copies and bar not in self._doubtful(market):
            raise Violation("records are there that coverage does not know", f"{what}, and is in {', '.join(copies)}")

    def _doubtful(self, market: Market) -> set[int]:
        """Bars whose records may be there though the coverage does not contain them."""
        model = self._model
        return model.twice[market.symbol] | {
            bar
            for one in model.asked.values()
            if one.market == market and one.status is not Status.FINISHED and market.symbol in model.ever_vanished
            for bar in one.bars
        }

    def _complete(self, market: Market, answer: data_answers.Coverage, code: int, *, resting: bool) -> None:
        settled = all(segment.verdict in KEPT for segment in answer.segments)
        if answer.complete is not settled or code != (0 if settled else 1):
            raise Violation(
                "a range with holes is called complete", f"{answer.span}: {answer.complete}, exit code {code}"
            )
        if answer.span is None or not resting:
            return
        span = TimeRange(answer.span.start_ms, answer.span.end_ms)
        if answer.complete:
            now_ms, gone = self._model.now_ms(), self._model.gone(market)
            removed = [TimeRange(one.start_ms, one.end_ms) for one in answer.segments if one.verdict == Verdict.EXPIRED]
            expired = {bar for each in removed for bar in market.bars_in(each)}
            for bar in market.bars_in(span):
                is_there = bar in gone or bar in expired or self._model.copies(market, bar)
                if market.trades(bar) and market.is_over(bar, now_ms) and not is_there:
                    raise Violation("a range that lacks a bar is called complete", f"{market.symbol} {span}: bar {bar}")
        one = self._model.asked.get(answer.queue_id or "")
        if one is not None and one.is_whole and not answer.complete:
            raise Violation("what was proven is not complete", f"{one.queue_id} {span}")

    def _of_workflow(self, one: ExpectedWorkflow, answer: data_answers.Coverage) -> None:
        """The answer about a workflow covers the bars that were over when it was planned."""
        span = None if answer.span is None else TimeRange(answer.span.start_ms, answer.span.end_ms)
        bars = [] if span is None else one.market.bars_in(span)
        spoken_of, true = ([bar for bar in some if one.market.lists(bar)] for some in (bars, one.planned_bars))
        if spoken_of != true or (span is not None and span.start_ms != one.span.start_ms):
            what = f"{one.queue_id} {span}: bars {shown(spoken_of)}, not {shown(true)}"
            raise Violation("a workflow's coverage has another span", what)
        if span is None and (one.planned_bars or not answer.complete or answer.segments):
            raise Violation("a workflow's coverage has another span", f"{one.queue_id}: none")

    def _needed(self, market: Market) -> set[int]:
        """The bars of which something is known: asked for by a workflow that is there, and nobody took them since."""
        return {
            bar
            for one in self._model.asked.values()
            if one.market == market and one.planned
            for bar in market.opening_in(one.span)
            if market.is_in_life(bar, one.planned_ms) and bar not in one.taken
        }

    def _asked_for(self, market: Market, answer: data_answers.Coverage) -> None:
        """The answer without a range covers all that was asked for; what lies between is unknown."""
        if answer.span is None:
            return
        span = TimeRange(answer.span.start_ms, answer.span.end_ms)
        left = {bar for bar in self._needed(market) if market.opens_ms(bar) not in span}
        left |= {bar for bar in self.called[market.symbol] if market.opens_ms(bar) not in span}
        ever = self._model.ever_asked[market.symbol]
        last_ms = market.ceil(max(one.end_ms for one in ever))  # of a bar all is known
        if left or span.start_ms < min(one.start_ms for one in ever) or span.end_ms > last_ms:
            raise Violation("coverage has another span", f"{market.symbol} {span}, without {shown(left)}")
        for segment in answer.segments:
            for bar in market.bars_in(TimeRange(segment.start_ms, segment.end_ms)):
                wanted = any(market.opens_ms(bar) in one for one in ever)
                if segment.verdict not in (Verdict.UNKNOWN, Verdict.PENDING) and not wanted:
                    what = f"{market.symbol} bar {bar} is {segment.verdict}"
                    raise Violation("something is known that nobody has asked for", what)

    def _life(self, market: Market, answer: data_answers.CoverageSpan) -> None:
        planned_ms = self._model.planned_ms.get(market.symbol)
        if planned_ms is None or not market.is_over(market.listed, planned_ms):
            return  # nobody has found out where it begins
        now_ms, bar = self._model.now_ms(), market.bar_at(self._model.now_ms())
        end = bar
        if market.delisted is not None and market.is_over(market.delisted - 1, planned_ms):
            end = market.delisted
        true = (market.opens_ms(market.listed), market.opens_ms(end))
        if (answer.start_ms, answer.end_ms) != true:
            raise Violation("the life of a series is another one", f"{market.symbol} {answer}, not {true} at {now_ms}")

    def series(self, market: Market, answer: data_answers.Series | None) -> None:
        """The answer of `series`."""
        called = self.called[market.symbol]
        if answer is None:
            if called or self._needed(market):
                raise Violation("series leaves one out", market.symbol)
            return
        ends = (answer.start_ms, answer.end_ms)
        if called and answer.start_ms is not None and answer.end_ms is not None:
            out = [bar for bar in called if market.opens_ms(bar) not in TimeRange(answer.start_ms, answer.end_ms)]
            if out or answer.records not in (None, len(called)):
                raise Violation(
                    "series contradicts the model", f"{answer}: {len(called)} are stored, {shown(out)} outside"
                )
        elif called or ends != (None, None):
            raise Violation("series contradicts the model", f"{answer}: {len(called)} are stored")

    def verification(
        self, market: Market, span: TimeRange | None, answer: data_answers.Verification, code: int
    ) -> None:
        """The answer of `coverage --verify`: what was called stored is counted, and what is gone of it marked."""
        bars = range(market.bars) if span is None else market.bars_in(span)
        called = {bar: where for bar, where in self.called[market.symbol].items() if bar in bars}
        lacking = {bar for bar, where in called.items() if not self._model.holds(where, market, bar)}
        gaps = {bar for gap in answer.gaps for bar in market.bars_in(TimeRange(gap.start_ms, gap.end_ms))}
        numbers = (answer.records_counted, answer.records_missing, sum(gap.records for gap in answer.gaps))
        if gaps != lacking or numbers != (len(called) - len(lacking), len(lacking), len(lacking)):
            what = f"{numbers}, gaps {shown(gaps)}; gone are {shown(lacking)} of {len(called)}"
            raise Violation("a verification counts wrongly", f"{market.symbol} {span}: {what}")
        self.marked(market, answer.coverage, lacking)
        if code != (0 if answer.coverage.complete and not answer.gaps else 1):
            raise Violation("a verification ends with another exit code", f"{code}, {answer.records_missing} missing")

    def marked(self, market: Market, answer: data_answers.Coverage, lacking: Collection[int]) -> None:
        """What was found to be gone is `ours` now."""
        for segment in answer.segments:
            for bar in market.bars_in(TimeRange(segment.start_ms, segment.end_ms)):
                if bar in lacking and segment.verdict != Verdict.OURS:
                    raise Violation("what is gone is not marked", f"{market.symbol} bar {bar} is {segment.verdict}")

    def repaired(self, market: Market) -> None:
        """The manager's verification had its time, and was to repair: what was lost is there again."""
        model = self._model
        failed = {
            bar
            for one in model.asked.values()
            if one.market == market and one.repair and one.status is not Status.FINISHED
            for bar in one.bars
        }
        left = {bar for bar in model.lost[market.symbol] - failed if not model.copies(market, bar)}
        if left:
            raise Violation("what was lost is not repaired", f"{market.symbol} bars {shown(left)}")

    # Records that are read.

    def lacking(self, market: Market, span: TimeRange) -> set[int]:
        """The bars of `span` that coverage calls stored, and that are not there."""
        called = self.called[market.symbol]
        there = {bar for bar in market.bars_in(span) if bar in called}
        return {bar for bar in there if not self._model.holds(called[bar], market, bar)}

    def reads(self, market: Market, span: TimeRange, bars: Sequence[int] | None, refusal: str) -> None:
        """What was read of a span: each bar that is there once, oldest first. bars: None if it was refused."""
        called = sorted(bar for bar in market.bars_in(span) if bar in self.called[market.symbol])
        lacking = self.lacking(market, span)
        if bars is None:
            if called and not lacking:
                raise Violation("a read fails without a reason", f"{market.symbol} {span}: {refusal}")
        elif lacking:
            raise Violation("a read is short and does not fail", f"{market.symbol} {span}: {shown(lacking)}")
        elif list(bars) != called:
            what = f"{market.symbol} {span}: {list(bars)}, not {called}"
            raise Violation("a read gives something else than there is", what)

    def exports(self, market: Market, answer: Exported, code: int, bars: Sequence[int]) -> None:
        """The answer of `export --json`."""
        if answer.span is None:
            raise Violation("an export names no span", answer.file)
        settled = all(hole.verdict in COMPLETE for hole in answer.holes)
        if answer.complete is not settled or code != (0 if settled else 1):
            raise Violation("an export ends with another exit code", f"{code}, complete {answer.complete}")
        if answer.rows != len(bars):
            raise Violation(
                "an export counts wrongly", f"{answer.rows} rows in the answer, {len(bars)} are in {answer.file}"
            )
        holes = {bar for h in answer.holes for bar in market.bars_in(TimeRange(h.start_ms, h.end_ms))}
        span = TimeRange(answer.span.start_ms, answer.span.end_ms)
        if holes != set(market.bars_in(span)) - set(bars):
            raise Violation(
                "an export is short and does not report it", f"{market.symbol} {span}: holes {shown(holes)}"
            )

    def exports_collection(self, name: str, rows: int | None, answer: Exported | None, code: int) -> None:
        """What `export COLLECTION` wrote. rows: None if it was refused."""
        model = self._model
        lacking = {
            (market.symbol, bar)
            for market in model.setting.markets
            for bar, where in self.called[market.symbol].items()
            if where == name and not model.holds(where, market, bar)
        }
        if (rows is None) is not bool(lacking):
            raise Violation("a collection is exported wrongly", f"{name}: {rows} rows, and {len(lacking)} are gone")
        if answer is not None and (rows, answer.rows, answer.complete, code) != (
            model.collections[name],
            model.collections[name],
            None,
            0,
        ):
            what = f"{rows} rows, {answer.rows} in the answer, complete {answer.complete}, exit code {code}"
            raise Violation("a collection is exported wrongly", f"{name}: {what}; it holds {model.collections[name]}")
