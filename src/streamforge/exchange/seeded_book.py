"""A seeded order book: each level is a pure function of (seed, symbol, update id), so that no history is replayed.

Time is cut into slots of 100 ms; how many updates a slot has follows from its place in a cycle of 64. Prices are cut
into cells of some ticks, with one level in each. The middle of the book moves in a straight line from a minute's open
to its close, with noise; what lies at or below it are bids, the rest are asks. Quantities are drawn again: near the
middle every few updates, elsewhere rarely, and some are zero. The book ends `_WIDTH` cells from the middle.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, islice

from streamforge.exchange.books import Book, BookState, Level, ticker
from streamforge.exchange.config import ANY_SYMBOL, ExchangeConfig, SymbolSpec
from streamforge.exchange.prices import MINUTE_MS, PricePath, scrambled, text_hash
from streamforge.exchange.stream_source import StreamEvent
from streamforge_utils.model.timeranges import TimeRange

_SLOT_MS, _CYCLE, _MOST_UPDATES = 100, 64, 15
_WIDTH, _NEAR = 2_500, 16
_NEAR_PERIOD, _FAR_PERIOD, _STRIDE = 16, 2_048, 1_229
"""Of updates: after so many a quantity is drawn again. Neighbouring cells are `_STRIDE` updates apart."""
_INVERSE = pow(_STRIDE, -1, _FAR_PERIOD)
_TREMBLE = 4
"""Updates after which the noise of the middle changes."""
_LEVELS_A_TICK = 1e6
"""A cell is this part of the price, so that 1000 levels are a thousandth of it, where the tick allows that."""
_MASK = (1 << 64) - 1

Change = tuple[int, int]
"""A price in ticks and the quantity there in steps; 0: the level is gone."""


class SeededBook(Book):
    """A book that follows from the seed. holes: downtime; whole slots of it have no updates."""

    def __init__(self, seed: int, spec: SymbolSpec, holes: Sequence[TimeRange]) -> None:
        self._spec, self._key = spec, text_hash(f"{seed}:{spec.symbol}:book")
        self._minute = lru_cache(maxsize=64)(PricePath(seed, spec).minute)
        self._cell = max(1, round(spec.price * 10.0**spec.price_decimals / _LEVELS_A_TICK))
        counts = [scrambled(self._key + place) % (_MOST_UPDATES + 1) for place in range(_CYCLE)]
        self._sums = [0, *accumulate(counts)]
        self._holes = _slots_of(holes)
        self._tick, self._step = 10.0**-spec.price_decimals, 10.0**-spec.quantity_decimals
        price, quantity = (
            f"%.{digits}f{'0' * (8 - digits)}" for digits in (spec.price_decimals, spec.quantity_decimals)
        )
        self._level = f'["{price}","{quantity}"]'
        self._price, self._quantity = price, quantity

    def update_at(self, time_ms: int) -> int:
        if self._spec.delisted_ms is not None:
            time_ms = min(time_ms, self._spec.delisted_ms - 1)
        slot, of_slot = divmod(time_ms, _SLOT_MS)
        before, count = self._updates_before(slot), self._updates_before(slot + 1) - self._updates_before(slot)
        return before + min(count, ((of_slot + 1) * count - 1) // _SLOT_MS + 1)

    def time_ms(self, update_id: int) -> int:
        """When the update happens, unix ms."""
        cycles, left = divmod(update_id - 1, self._sums[-1])
        place = bisect_right(self._sums, left) - 1
        slot = cycles * _CYCLE + place
        for first, end in self._holes:
            if slot >= first:
                slot += end - first
        of_slot, count = left - self._sums[place], self._sums[place + 1] - self._sums[place]
        return slot * _SLOT_MS + of_slot * _SLOT_MS // count

    def state(self, update_id: int, levels: int | None = None) -> BookState | None:
        time_ms = self.time_ms(update_id)
        spec = self._spec
        if time_ms < spec.listed_ms or (spec.delisted_ms is not None and time_ms >= spec.delisted_ms):
            return None
        middle = self._middle(update_id)
        bids, asks = (islice(side(update_id, middle), levels) for side in (self._bids, self._asks))
        return BookState(update_id, time_ms, [*map(self._texts, bids)], [*map(self._texts, asks)])

    def diffs(self, after_ms: int, until_ms: int, step_ms: int, phase_ms: int) -> list[StreamEvent]:
        """The diffs with `after_ms` < time <= `until_ms`, one for each `step_ms` in which something changed.

        phase_ms: how much later than at whole steps a diff ends.
        """
        found = []
        after_ms = max(after_ms, self._spec.listed_ms + step_ms)
        first_ms = (after_ms - phase_ms) // step_ms * step_ms + phase_ms
        before = self.update_at(first_ms)
        for time_ms in range(first_ms + step_ms, until_ms + 1, step_ms):
            last = self.update_at(time_ms)
            if last > before:
                bids, asks = (self._list(changes) for changes in self.changes(before + 1, last))
                text = f'{{"e":"depthUpdate","E":%d,"s":"{self._spec.symbol}","U":%d,"u":%d,"b":[%s],"a":[%s]}}'
                data = text % (time_ms, before + 1, last, bids, asks)
                found.append(StreamEvent(time_ms, data.encode(), ("E",)))
            before = last
        return found

    def tickers(self, after_ms: int, until_ms: int, step_ms: int = 0) -> list[StreamEvent]:
        """The best levels whenever they change, with `after_ms` < time <= `until_ms`.

        step_ms: what changed within it is told once, at its end; 0: each change at once.
        """
        found = []
        after_ms = max(after_ms, self._spec.listed_ms)
        first, last = self.update_at(after_ms), self.update_at(until_ms)
        updates: Iterable[tuple[int, int]] = ((one, self.time_ms(one)) for one in range(first + 1, last + 1))
        if step_ms:
            times = range((after_ms // step_ms + 1) * step_ms, until_ms + 1, step_ms)
            first = self.update_at(max(self._spec.listed_ms, times.start - step_ms))
            updates = ((self.update_at(time_ms), time_ms) for time_ms in times)
        before = self._top(first)
        for update_id, time_ms in updates:
            top = self._top(update_id)
            if top != before:
                data = ticker(self._spec.symbol, update_id, *map(self._texts, top))
                found.append(StreamEvent(time_ms, data, ()))
            before = top
        return found

    def changes(self, first: int, last: int) -> tuple[list[Change], list[Change]]:
        """Bids and asks that the updates `first` to `last` touched, as they are after the last one, best first.

        A level is told also if it is again as it was: a snapshot may have been taken in between.
        """
        middles = [self._middle(update_id) for update_id in range(first - 1, last + 1)]
        lowest, highest = min(middles), max(middles)
        low, high, center = (middle // self._cell for middle in (lowest, highest, middles[-1]))
        cells = set(range(low, high + 1))
        for edge in (-_WIDTH, -_NEAR, _NEAR + 1, _WIDTH + 1):
            cells.update(range(low + edge, high + edge))
        begin = low - _WIDTH
        for update_id in range(first, last + 1):
            place = begin + (-update_id * _INVERSE - begin) % _FAR_PERIOD
            cells.update(range(place, high + _WIDTH + 1, _FAR_PERIOD))
        cells.update(
            cell
            for cell in range(low - _NEAR, high + _NEAR + 1)
            if (first - 1 + cell * 5) // _NEAR_PERIOD != (last + cell * 5) // _NEAR_PERIOD
        )
        bids: list[Change] = []
        asks: list[Change] = []
        for cell in sorted(cell for cell in cells if cell > 0):
            tick, quantity = self._tick_of(cell), self._at(cell, last, center)
            if tick <= highest:
                bids.append((tick, quantity if tick <= middles[-1] else 0))
            if tick > lowest:
                asks.append((tick, quantity if tick > middles[-1] else 0))
        return bids[::-1], asks

    def _top(self, update_id: int) -> tuple[Change, Change]:
        middle = self._middle(update_id)
        return next(self._bids(update_id, middle), (0, 0)), next(self._asks(update_id, middle), (0, 0))

    def _bids(self, update_id: int, middle: int) -> Iterator[Change]:
        center = middle // self._cell
        for cell in range(center, max(center - _WIDTH, 1) - 1, -1):
            tick, quantity = self._tick_of(cell), self._at(cell, update_id, center)
            if quantity and tick <= middle:
                yield tick, quantity

    def _asks(self, update_id: int, middle: int) -> Iterator[Change]:
        center = middle // self._cell
        for cell in range(max(center, 1), center + _WIDTH + 1):
            tick, quantity = self._tick_of(cell), self._at(cell, update_id, center)
            if quantity and tick > middle:
                yield tick, quantity

    def _middle(self, update_id: int) -> int:
        """The highest tick at which a bid may be."""
        time_ms = self.time_ms(update_id)
        minute = self._minute(time_ms // MINUTE_MS)
        moved = (minute.close - minute.open) * (time_ms % MINUTE_MS) // MINUTE_MS
        trembled = scrambled(self._key ^ update_id // _TREMBLE) % 5 - 2
        return minute.open + moved + trembled * self._cell

    def _tick_of(self, cell: int) -> int:
        """The price of the level of a cell, in ticks."""
        if self._cell == 1:
            return cell
        return cell * self._cell + (((cell * 0x9E3779B97F4A7C15 & _MASK) ^ self._key) >> 40) % self._cell

    def _at(self, cell: int, update_id: int, center: int) -> int:
        """The quantity in a cell, in steps; 0: there is no level. center: the cell of the middle."""
        distance = cell - center
        if -_NEAR <= distance <= _NEAR:
            drawn = (update_id + cell * 5) // _NEAR_PERIOD * 2 + 1
        elif -_WIDTH <= distance <= _WIDTH:
            drawn = (update_id + cell * _STRIDE) // _FAR_PERIOD * 2
        else:
            return 0
        # as `scrambled`, without a call for each
        x = (self._key + cell * 0x9E3779B97F4A7C15 + drawn * 0xD1B54A32D192ED03) & _MASK
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        bits = ((x ^ x >> 27) * 0x94D049BB133111EB & _MASK) >> 20
        return (1 + (bits & 0x3FF)) * (1 + (bits >> 10 & 0x3FF)) if bits & 0xF00000 else 0

    def _list(self, changes: Sequence[Change]) -> str:
        tick, step, level = self._tick, self._step, self._level
        return ",".join([level % (price * tick, quantity * step) for price, quantity in changes])

    def _texts(self, change: Change) -> Level:
        return self._price % (change[0] * self._tick), self._quantity % (change[1] * self._step)

    def _updates_before(self, slot: int) -> int:
        """The updates before a slot, since the epoch."""
        gone = sum(min(end, slot) - first for first, end in self._holes if first < slot)
        cycles, place = divmod(slot - gone, _CYCLE)
        return cycles * self._sums[-1] + self._sums[place]


def _slots_of(holes: Sequence[TimeRange]) -> list[tuple[int, int]]:
    """The slots that lie wholly inside `holes`, from the first to before the end, ascending and apart."""
    found: list[tuple[int, int]] = []
    for hole in sorted(holes):
        first, end = -(-hole.start_ms // _SLOT_MS), hole.end_ms // _SLOT_MS
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif first < end:
            found.append((first, end))
    return found


def seeded_book(config: ExchangeConfig, spec: SymbolSpec) -> SeededBook | None:
    """The book of a symbol; None: the exchange is a replay."""
    if config.replay is not None:
        return None
    return _seeded(config.seed, spec, (*config.holes.get(ANY_SYMBOL, ()), *config.holes.get(spec.symbol, ())))


@lru_cache(maxsize=1024)
def _seeded(seed: int, spec: SymbolSpec, holes: tuple[TimeRange, ...]) -> SeededBook:
    return SeededBook(seed, spec, holes)
