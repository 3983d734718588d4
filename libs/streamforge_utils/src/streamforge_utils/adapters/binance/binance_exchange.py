"""The exchange port on Binance Spot's REST interface (public market data).

Source: Binance Spot REST, GET /api/v3/time and /api/v3/exchangeInfo; the endpoints of records are the kinds' affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from streamforge_utils.adapters.binance.binance_rules import CODES, EXCHANGE_INFO, TIME, UNKNOWN_SYMBOL, Endpoint
from streamforge_utils.adapters.binance.transport import Answer, Transport, Unreadable
from streamforge_utils.adapters.binance.turns import Turns
from streamforge_utils.model.errors import BannedError, PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import (
    ById,
    ByTime,
    IdAtTime,
    MalformedPage,
    Page,
    Question,
    SentRequest,
    described,
)
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.ports.exchange import Rank, SymbolInfo

CLOCK_FRESH_S = 300.0
"""How long a measurement of the exchange's clock is good for."""

SYMBOL_FRESH_S = 300.0
LISTS_KEPT = 1000
SNAPSHOTS_AT_ONCE = 4
"""The others wait, by their rank: of requests for weight the first one that asks is the first that is sent."""


class _Time(msgspec.Struct):
    server_time: int = msgspec.field(name="serverTime")


class _Symbol(SymbolInfo, frozen=True, kw_only=True, rename="camel"):
    base_asset: str = ""
    quote_asset: str = ""


class _RateLimit(msgspec.Struct, rename="camel"):
    rate_limit_type: str = ""
    interval: str = ""
    interval_num: int = 0
    limit: int = 0


class _ExchangeInfo(msgspec.Struct, rename="camel"):
    symbols: list[_Symbol]
    rate_limits: list[_RateLimit] = []


T = TypeVar("T")
_ALL = "exchangeInfo"


class BinanceExchange:
    """Market data from Binance, or from a server with the same interface."""

    def __init__(self, transport: Transport) -> None:
        self._clock = transport.clock
        self._observer = transport.observer
        self._transport = transport
        self._measuring = asyncio.Lock()
        self._listed: dict[str, tuple[float, Sequence[SymbolInfo]]] = {}
        self._listing = asyncio.Lock()
        self._snapshots = Turns(SNAPSHOTS_AT_ONCE)

    async def server_time(self) -> int:
        """The exchange's clock, from a measurement at most some minutes old."""
        await self._measure_clock()
        return self._transport.now_ms()

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        """The symbol, as the exchange described it at most some minutes ago."""
        what = f"exchangeInfo {symbol}"
        for found in self._kept(_ALL) or ():  # the list of all weighs as much as one symbol
            if found.symbol == symbol:
                return found
        for found in await self._list(what, {"symbol": symbol}):
            if found.symbol == symbol:
                return found
        raise PermanentError(f"{what}: {CODES[UNKNOWN_SYMBOL].hint}")

    async def symbols(self) -> Sequence[SymbolInfo]:
        """All symbols, as the exchange listed them at most some minutes ago."""
        async with self._listing:
            return await self._list(_ALL, {"showPermissionSets": "false"})

    def _kept(self, what: str) -> Sequence[SymbolInfo] | None:
        kept = self._listed.get(what)
        return None if kept is None or self._clock.monotonic() - kept[0] >= SYMBOL_FRESH_S else kept[1]

    async def _list(self, what: str, parameters: Mapping[str, str]) -> Sequence[SymbolInfo]:
        """The symbols of an answer that is at most some minutes old, sorted. what: names the question."""
        now = self._clock.monotonic()
        if (kept := self._kept(what)) is not None:
            return kept
        info = await self._transport.get(
            EXCHANGE_INFO, parameters, what, lambda answer: _decoded(answer, _ExchangeInfo)
        )
        for limit in info.rate_limits:
            if (limit.rate_limit_type, limit.interval, limit.interval_num) == ("REQUEST_WEIGHT", "MINUTE", 1):
                self._transport.budget.set_address_limit(limit.limit)
        if len(self._listed) >= LISTS_KEPT:
            self._listed.clear()
        found = sorted(info.symbols, key=lambda one: one.symbol)
        if found:  # a symbol may be listed at any moment
            self._listed[what] = (now, found)
        return found

    async def page(self, series: Series, question: Question) -> Page:
        """One page, see `ports.exchange`; its versions are the moment at which the exchange was asked.

        Rows that the exchange repeated, or that were not asked for, are left out and counted.
        """
        paging = kind_of(series).paging
        if paging is None:
            raise PermanentError(f"{series.id}: the exchange gives no history of {series.kind} by requests")
        limit = paging.most if question.limit is None else question.limit
        if not 1 <= limit <= paging.most:
            raise ValueError(f"a page has 1 to {paging.most} records, not {limit}")
        await self._measure_clock()
        if isinstance(question, ByTime) and paging.id_at_time is not None:
            return await self._page_at(series, question, paging.id_at_time)
        sent, sent_limit = paging.widened(series, question, limit, local_ms=self._clock.now_ms())
        parameters = paging.parameters(series, sent, sent_limit)

        def read(answer: Answer) -> Page:
            observed_ms, disagree = self._transport.exchange_clock.observed_ms(
                answer.sent, answer.received, answer.date
            )
            if disagree:
                self._observer.count("exchange_clock_disagreements_total")
            asked = SentRequest(
                series=series,
                question=question,
                sent=sent,
                limit=limit,
                observed_ms=observed_ms,
                local_ms=answer.sent_ms,
            )
            try:
                return paging.read(answer.body, asked)
            except MalformedPage as error:
                raise Unreadable(str(error)) from error

        endpoint = Endpoint(paging.path, paging.weight(parameters))
        page = await self._transport.get(endpoint, parameters, f"{endpoint.name} {described(series, question)}", read)
        for reason, rows in page.dropped.items():
            self._observer.count("exchange_rows_dropped_total", rows, reason=reason)
        return page

    async def snapshot(self, series: Series, limit: int, *, rank: Rank = tuple) -> bytes:
        """An answer as it came, see `ports.exchange`; some may be under way while one of less rank comes."""
        snapshots = kind_of(series).snapshots
        if snapshots is None:
            raise PermanentError(f"{series.id}: the exchange gives no snapshots of {series.kind}")
        if not 1 <= limit <= snapshots.most:
            raise ValueError(f"a snapshot has 1 to {snapshots.most} levels a side, not {limit}")
        endpoint = Endpoint(snapshots.path, snapshots.weight(limit))
        what = f"{endpoint.name} {series.symbol}"
        async with self._snapshots.turn(rank):
            return await self._transport.get(
                endpoint, snapshots.parameters(series, limit), what, lambda answer: bytes(answer.body)
            )

    async def _page_at(self, series: Series, question: ByTime, id_at_time: IdAtTime) -> Page:
        """The first or the last record of a span, for which another endpoint knows its id."""

        def read(answer: Answer) -> tuple[int, int] | None:
            try:
                return id_at_time.read(answer.body, question)
            except MalformedPage as error:
                raise Unreadable(str(error)) from error

        endpoint = Endpoint(id_at_time.path, id_at_time.weight)
        parameters = id_at_time.parameters(series, question)
        found = await self._transport.get(endpoint, parameters, f"{endpoint.name} {described(series, question)}", read)
        if found is None:
            return Page([], [], [], [])
        record_id, time_ms = found
        if question.places:
            return Page([record_id], [time_ms], [], [])
        return await self.page(series, ById(record_id, limit=1))

    def set_weight_limit(self, weight_per_minute: int) -> None:
        """The share from now on; requests that wait for weight are judged by it at once. 0 holds them all back."""
        self._transport.budget.set_share(weight_per_minute)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _measure_clock(self) -> None:
        if self._clock_is_fresh():
            return
        async with self._measuring:
            if self._clock_is_fresh():  # another call has measured it meanwhile
                return
            measured = self._transport.exchange_clock.measured_at is not None
            try:
                # An old measurement will do if the exchange is slow to give a new one.
                await self._transport.get(
                    TIME, {}, "the time of the exchange", self._read_time, attempts=1 if measured else None
                )
            except BannedError:
                raise
            except RetryableError:
                if not measured:
                    raise
            difference_ms = self._transport.now_ms() - self._clock.now_ms()
            self._observer.gauge("exchange_clock_difference_seconds", difference_ms / 1000)

    def _clock_is_fresh(self) -> bool:
        measured_at = self._transport.exchange_clock.measured_at
        return measured_at is not None and self._clock.monotonic() - measured_at < CLOCK_FRESH_S

    def _read_time(self, answer: Answer) -> None:
        server_ms = _decoded(answer, _Time).server_time
        if not 10**12 <= server_ms < 10**13:
            raise Unreadable(f"serverTime {server_ms} is not in milliseconds")
        if self._transport.exchange_clock.measure(server_ms, answer.sent, answer.received, answer.date):
            self._observer.count("exchange_clock_disagreements_total")


def _decoded(answer: Answer, form: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error
