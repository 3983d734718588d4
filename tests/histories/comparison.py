"""Sends queries to the manager of a simulation, at rest and meanwhile; the oracle compares the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from streamforge.cli.command_errors import CliError
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.engine.document import Status
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.reading import ReadingError
from tests.doubles.candles import candle
from tests.doubles.virtualloop import VirtualLoop
from tests.histories.history import Market
from tests.histories.manager_process import FORMATS, InProcessClient, ManagerProcess
from tests.histories.model import Model, Violation
from tests.histories.oracle import Oracle
from tests.histories.simulated_processes import Killed

_SPANS = ("range", "asked", "life")
_COVERAGES = ("asked", "life", "workflow")
_EXPORTS = tuple(product((*_SPANS, "workflow", "collection"), FORMATS))
_LISTS = ("all", "symbol", "status")


class Comparison:
    """Sends queries. turn: which of the many forms of a query comes next."""

    def __init__(self, loop: VirtualLoop, model: Model, manager: ManagerProcess, folder: Path, turn: int) -> None:
        self._loop, self._model, self._manager, self._folder = loop, model, manager, folder
        self.oracle = Oracle(model)
        self._turn = turn

    def _client(self) -> InProcessClient:
        return InProcessClient(self._loop, self._manager.manager, self._folder)

    # At rest: every workflow has ended, and the manager runs.

    def all(self, *, last: bool) -> None:
        """Query each series; at the last rest every workflow too, and in more forms, others each time."""
        client = self._client()
        for market in self._model.setting.markets:
            self._coverage(client, market, str(market.span(0, market.bars)))
        if last:
            self._series(client)
            self._workflows(client)
        for market in self._model.setting.markets:
            forms = (self._other_coverage, self._read, self._export)
            for form in forms if last else forms[self._turn % len(forms) :][:1]:
                form(client, market)
            self._turn += 1

    def _series(self, client: InProcessClient) -> None:
        listed = client.get("/series", dict[str, Any])
        assert listed is not None
        series = {one.symbol: one for one in msgspec.convert(listed["series"], list[data_answers.Series])}
        for market in self._model.setting.markets:
            self.oracle.series(market, series.get(market.symbol))

    def _workflows(self, client: InProcessClient) -> None:
        how = _LISTS[self._turn % len(_LISTS)]
        symbol = self._model.setting.markets[-1].symbol if how == "symbol" else None
        status = list(Status)[self._turn % len(Status)].value if how == "status" else None
        query = {"symbol": symbol, "status": status}
        self.oracle.lists(client.queues(**{key: value for key, value in query.items() if value}), symbol, status)
        for queue_id in self._model.asked:
            self._show(client, queue_id)

    def _show(self, client: InProcessClient, queue_id: str) -> None:
        answer = client.get(f"/queues/{queue_id}", dict[str, Any])
        shown = None if answer is None else msgspec.convert(answer, answers.Started)
        self.oracle.shows(queue_id, shown, None if answer is None else answer["coverage"])

    def _coverage(self, client: InProcessClient, market: Market, *span: str) -> None:
        answer, code = client.coverage(market.symbol, market.type, *span)
        self.oracle.coverage(market, answer, code)
        self.oracle.knows(market, answer)

    def _other_coverage(self, client: InProcessClient, market: Market) -> None:
        match _COVERAGES[self._turn // 3 % len(_COVERAGES)]:
            case "workflow":
                for queue_id in self._of(market)[:1]:
                    self.oracle.coverage(market, *client.coverage(queue_id))
            case how:
                self.oracle.coverage(market, *client.coverage(market.symbol, market.type, life=how == "life"))

    def _of(self, market: Market) -> list[str]:
        found = [one.queue_id for one in self._model.asked.values() if one.market == market]
        turned = self._turn % len(found) if found else 0
        return found[turned:] + found[:turned]

    def _read(self, client: InProcessClient, market: Market) -> None:
        how = _SPANS[self._turn // 3 % len(_SPANS)]
        span = market.span(0, market.bars) if how == "range" else None
        self._read_span(client, market, span, life=how == "life")

    def _read_span(
        self, client: InProcessClient, market: Market, span: TimeRange | None, *, life: bool = False
    ) -> None:
        whole = market.span(0, market.bars)
        try:
            series = client.series(market.symbol, market.type, span, life=life)
        except ReadingError as error:
            self.oracle.reads(market, span or whole, None, str(error))
            return
        bars = [market.bar_at(one.open_time) for one in series.candles]
        self.oracle.reads(market, whole if span is None else span, bars, "")
        for bar, read in zip(bars, series.candles, strict=True):
            true = candle(market.opens_ms(bar), symbol=market.symbol)
            if (read.symbol, read.open, read.volume) != (market.symbol, float(true.open), float(true.volume)):
                raise Violation("a record has other values", f"{market.symbol} bar {bar}: {read}")
        named = parse_time_range(f"{series.start}:{series.end}") if series.start else None
        holes = [parse_time_range(f"{hole.start}:{hole.end}") for hole in series.holes]
        for bar in set(market.bars_in(named)) - set(bars) if named is not None else ():
            if not any(market.opens_ms(bar) in hole for hole in holes):
                raise Violation("a read is short and does not report it", f"{market.symbol} {named}: bar {bar}")

    def _export(self, client: InProcessClient, market: Market) -> None:
        whole = market.span(0, market.bars)
        how, form = _EXPORTS[self._turn // 3 % len(_EXPORTS)]
        if how == "collection":
            for name in sorted(self._model.collections):
                written = client.export(name, form=form)
                refused = isinstance(written, CliError)
                rows = None if isinstance(written, CliError) else len(written.times)
                answer, code = (None, 1) if refused else (written.answer, written.code)  # type: ignore[union-attr]
                self.oracle.exports_collection(name, rows, answer, code)
            return
        what = [market.symbol, market.type]
        span: TimeRange | None = whole
        if how == "workflow":
            what = self._of(market)[:1]
            if not what:
                return
            span = self._model.asked[what[0]].planned_span
        elif how == "range":
            what.append(str(whole))
        written = client.export(*what, form=form, life=how == "life")
        if isinstance(written, CliError):
            if span is not None:
                self.oracle.reads(market, span, None, str(written))
            return
        if span is None:
            raise Violation("something is exported of what was not over", what[0])
        bars = [market.bar_at(time_ms) for time_ms in written.times]
        self.oracle.exports(market, written.answer, written.code, bars)
        self.oracle.reads(market, span, bars, "")

    # Meanwhile: others go on, and the manager may be killed.

    def meanwhile(self) -> None:
        """Query all workflows and series while they go on."""
        self._answered(self._look)

    def read(self, market: Market, span: TimeRange) -> None:
        """Read a span. While others load it, what comes is not foreseeable: then only what it is."""
        self._answered(lambda client: self._read_now(client, market, span))

    def verify(self, market: Market, span: TimeRange | None) -> None:
        """`coverage --verify`: from now on no answer may contain what has vanished."""
        self._answered(lambda client: self._verify(client, market, span))

    def _answered(self, what: Callable[[InProcessClient], None]) -> None:
        """Ask until the manager lives through it, and bus and store answer."""
        while True:
            self._loop.run_until_complete(self._manager.ready.wait())
            process, outage = self._manager.process, self._manager.outage
            try:
                what(self._client())
            except Violation:
                raise
            except (Exception, BaseExceptionGroup, Killed, asyncio.CancelledError):
                if process.alive and not outage:
                    raise
                self._loop.run_until_complete(asyncio.sleep(0.5 if outage else 0))
            else:
                return

    def _look(self, client: InProcessClient) -> None:
        before = {queue_id: one.status for queue_id, one in self._model.asked.items()}
        self.oracle.lists_meanwhile(client.queues(), before)
        for market in self._model.setting.markets:
            whole = market.span(0, market.bars)
            there = set(self._model.stored(market, whole))
            answer, code = client.coverage(market.symbol, market.type, str(whole))
            if answer is not None:
                self.oracle.coverage(market, answer, code, there)

    def _read_now(self, client: InProcessClient, market: Market, span: TimeRange) -> None:
        if not self._moves(market):
            self._coverage(client, market, str(market.span(0, market.bars)))
            self._read_span(client, market, span)
            return
        with suppress(ReadingError):  # records come and go under it, and it says so
            client.series(market.symbol, market.type, span)

    def _verify(self, client: InProcessClient, market: Market, span: TimeRange | None) -> None:
        still = not self._moves(market)
        if still:
            answer, _ = client.coverage(market.symbol, market.type, str(market.span(0, market.bars)))
            self.oracle.knows(market, answer)
        words = () if span is None else (str(span),)
        verified = client.verify(market.symbol, market.type, *words)
        if isinstance(verified, CliError):
            if self.oracle.called[market.symbol] and still:
                raise Violation("a verification fails without a reason", str(verified))
            return
        self._model.verified(market, span)
        if still:
            self.oracle.verification(market, span, *verified)

    def _moves(self, market: Market) -> bool:
        return bool(self._model.live(market))
