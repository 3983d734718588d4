"""What a load of many symbols would take, told before anything is started."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from streamforge.manager.batches.requests import BatchRequest, check_batch
from streamforge.manager.batches.symbol_chooser import Chooser
from streamforge.manager.batches.symbol_selection import SHOWN, shortened
from streamforge.manager.catalogue.symbols import was_listed
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.forecaster import WITHIN_S, Forecaster, Room, require_end
from streamforge.manager.note_codes import NoteCode, Noted, noted, told_by
from streamforge.manager.plan_answers import BatchForecast, Forecast, SymbolForecast, warnings_of
from streamforge.manager.use_cases import UpToDate
from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError
from streamforge_utils.model.timeranges import format_ms

MOST_ASKED = 200
"""Of more symbols so many are looked at: each costs the manager a dozen requests."""
AT_ONCE = 4
EACH_SHOWN = 100

_SUMS = ("records_expected", "records_there", "requests", "weight", "download_bytes", "store_bytes")


class BatchForecaster:
    """Makes forecasts. It asks the exchange and the archive, and changes nothing."""

    def __init__(self, deps: Dependencies, chooser: Chooser, forecaster: Forecaster) -> None:
        self._deps = deps
        self._chooser = chooser
        self._forecaster = forecaster

    async def of(self, request: BatchRequest) -> BatchForecast:
        """What the load of `request` would take. Raises InvalidInput or RetryableError (no symbol was answered)."""
        deps = self._deps
        checked, listed_at_ms = check_batch(request, deps.clock.now_ms(), archive=deps.archive is not None)
        require_end(checked.type)
        chosen = await self._chooser.choose(
            request.symbols, checked.type, request.source, skip_unknown=request.skip_unknown
        )
        room = await self._forecaster.room()
        size = len(chosen.symbols)
        asked = [chosen.symbols[size * number // min(size, MOST_ASKED)] for number in range(min(size, MOST_ASKED))]
        found, trouble = await self._looked_at(request, asked, listed_at_ms, room)
        if not found and trouble is not None:
            raise trouble
        sums: dict[str, Any] = {
            name: round(sum(getattr(one, name) for one in found) * size / len(found)) for name in _SUMS
        }
        load = [sums[name] for name in ("records_expected", "requests", "weight", "download_bytes")]
        seconds, how = self._forecaster.time(*load, loads=size, at_once=deps.policy.batch_live)
        estimate = [how]
        if len(found) < size:
            some = f"estimated from {len(found):,} of {size:,} symbols"
            estimate = [noted(some, NoteCode.SOME_SYMBOLS, looked_at=len(found), size=size), how]
        ordered = sorted(found, key=lambda one: not one.refused)
        return BatchForecast(
            symbols=shortened(request.symbols),
            type=checked.type,
            requested=checked.requested,
            size=size,
            delisted=len(chosen.delisted),
            archived=len(chosen.archived),
            unknown=len(chosen.unknown),
            unknown_first=list(chosen.unknown[:SHOWN]),
            looked_at=len(found),
            cut_short=None if trouble is None else str(trouble),
            refused=sum(one.refused for one in found),
            nothing=sum(not one.refused and not one.parts for one in found),
            **sums,
            weight_per_minute=deps.policy.weight_per_minute,
            seconds=round(seconds, 1),
            estimate="; ".join(one.text for one in estimate),
            estimate_codes=[one.note for one in estimate],
            free_bytes=room.free,
            licence_left_bytes=room.left,
            **told_by("warning", warnings_of(sums["store_bytes"], sums["download_bytes"], *room)),
            each=ordered[:EACH_SHOWN],
            each_left_out=max(0, len(found) - EACH_SHOWN),
        )

    async def _looked_at(
        self, request: BatchRequest, symbols: Sequence[str], listed_at_ms: int | None, room: Room
    ) -> tuple[list[SymbolForecast], StreamForgeError | None]:
        """Those of `symbols` that were answered, in their order, and why no more were."""
        found, left = dict[str, SymbolForecast](), iter(symbols)

        async def some() -> None:
            for symbol in left:
                found[symbol] = await self._one(request, symbol, listed_at_ms, room)

        trouble: StreamForgeError | None = None
        tasks = [asyncio.create_task(some()) for _ in range(AT_ONCE)]
        try:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.gather(*tasks)
        except TimeoutError:
            trouble = RetryableError(f"{self._deps.exchange_name} did not answer more within {WITHIN_S:g} s")
        except RetryableError as error:
            trouble = error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [found[symbol] for symbol in symbols if symbol in found], trouble

    async def _one(self, request: BatchRequest, symbol: str, listed_at_ms: int | None, room: Room) -> SymbolForecast:
        """What the load of one symbol would take. Raises RetryableError."""
        try:
            if listed_at_ms is not None and not await self._was_listed(symbol, listed_at_ms):
                day = format_ms(listed_at_ms)
                return _forecast(symbol, noted(f"it was not listed on {day}", NoteCode.NOT_LISTED, day=day))
            told = await self._forecaster.of(request.of(symbol), room)
        except UpToDate as nothing:
            return _forecast(symbol, noted(str(nothing), NoteCode.UP_TO_DATE, until_ms=nothing.until_ms))
        except (PermanentError, NotNow) as error:
            return _forecast(symbol, noted(str(error), NoteCode.REFUSED, detail=str(error)), refused=True)
        parts = Counter(part.source for part in told.parts)
        sums = {name: getattr(told, name) for name in _SUMS}
        return _forecast(symbol, _why_less(told), parts=dict(parts), **sums)

    async def _was_listed(self, symbol: str, day_ms: int) -> bool:
        exchange = self._deps.exchange
        return await was_listed(exchange, symbol, day_ms, await exchange.server_time())


def _forecast(symbol: str, why: Noted | None, **more: Any) -> SymbolForecast:
    if why is not None:
        more |= {"note": why.text, "note_codes": [why.note]}
    return SymbolForecast(symbol=symbol, **more)


def _why_less(told: Forecast) -> Noted | None:
    """Why not all of the range is loaded, or nothing of it."""
    if told.unknown:
        count = len(told.unknown)
        return noted(f"no source has {count} of its ranges", NoteCode.NO_SOURCE, n=count)
    if told.parts:
        return None
    if told.records_there:
        return noted("all of it is stored already", NoteCode.ALL_STORED)
    return noted("there is nothing to load in the range", NoteCode.NOTHING_TO_LOAD)
