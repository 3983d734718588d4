"""Bars of many coins on one grid, and what of them a moment can see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamforge_utils.model.errors import InvalidInput

Floats = NDArray[np.float64]


class Hash(Protocol):
    """One of hashlib's."""

    def update(self, data: bytes | memoryview, /) -> None: ...


class Bars:
    """Bars of one coin. times: when they open, unix milliseconds, ascending; closes and quote volumes beside them.

    opens: None: there are none; graphs need none.
    """

    __slots__ = ("closes", "opens", "times", "volumes")

    def __init__(
        self,
        times: Iterable[int],
        closes: Iterable[float],
        volumes: Iterable[float],
        opens: Iterable[float] | None = None,
    ) -> None:
        self.times = np.asarray(list(times) if not isinstance(times, np.ndarray) else times, dtype=np.int64)
        self.closes = np.asarray(list(closes) if not isinstance(closes, np.ndarray) else closes, dtype=np.float64)
        self.volumes = np.asarray(list(volumes) if not isinstance(volumes, np.ndarray) else volumes, dtype=np.float64)
        self.opens = None if opens is None else np.asarray([*opens], dtype=np.float64)


class Window:
    """The bars that a moment sees, and no others: copies, the last row is of the last closed bar.

    symbols: ascending. closes, returns (of logarithms), volumes (quote): a row for each bar of the grid, a column for
    each coin; NaN where there is none.
    """

    __slots__ = ("closes", "returns", "symbols", "time_ms", "volumes")

    def __init__(self, time_ms: int, symbols: Sequence[str], closes: Floats, returns: Floats, volumes: Floats) -> None:
        self.time_ms = time_ms
        self.symbols = tuple(symbols)
        self.closes = closes
        self.returns = returns
        self.volumes = volumes


class Panel:
    """Bars of many coins, whose rows are the steps of a grid from `start_ms` on."""

    def __init__(
        self,
        start_ms: int,
        bar_ms: int,
        symbols: Sequence[str],
        closes: Floats,
        volumes: Floats,
        opens: Floats | None = None,
    ) -> None:
        self.start_ms = start_ms
        self.bar_ms = bar_ms
        self.symbols = tuple(symbols)
        self._closes = closes
        self._volumes = volumes
        self._opens = opens
        self._returns = np.full(closes.shape, np.nan)
        logarithms = np.log(closes)
        np.subtract(logarithms[1:], logarithms[:-1], out=self._returns[1:])

    @classmethod
    def of(cls, bars: Mapping[str, Bars], *, start_ms: int, end_ms: int, bar_ms: int) -> Panel:
        """The bars that open in the half-open range, which begins on the grid. Raises as `PanelColumns.take`."""
        with_opens = all(own.opens is not None for own in bars.values())
        columns = PanelColumns(bars, start_ms=start_ms, end_ms=end_ms, bar_ms=bar_ms, with_opens=with_opens)
        for symbol in columns.symbols:
            columns.take(symbol, bars[symbol])
        return columns.panel()

    @property
    def end_ms(self) -> int:
        """When the last bar of the grid closes."""
        return self.start_ms + len(self._closes) * self.bar_ms

    def before(self, time_ms: int, rows: int) -> Window:
        """The last `rows` bars that are closed at `time_ms`. Those that the panel does not reach back to are NaN."""
        end = (time_ms - self.start_ms) // self.bar_ms
        bars = [_rows(one, end - rows, end) for one in (self._closes, self._returns, self._volumes)]
        return Window(time_ms, self.symbols, *bars)

    def after(self, time_ms: int, rows: int) -> tuple[Floats, Floats]:
        """Opens and closes of the first `rows` bars that open at `time_ms` or later: for targets, and nothing else.

        A row for each bar of the grid, a column for each coin; NaN where there is none. Raises InvalidInput where the
        panel ends earlier, or was made of bars without opens.
        """
        first = -(-(time_ms - self.start_ms) // self.bar_ms)
        if first + rows > len(self._closes):
            raise InvalidInput(
                "range",
                f"{rows} bars from {time_ms} (unix ms) reach beyond the last one, which closes at {self.end_ms}: "
                "give more bars, or end the moments earlier",
            )
        if self._opens is None:
            raise InvalidInput("inputs", "a coin's bars have no opens, at which a model would trade: read them as well")
        return _rows(self._opens, first, first + rows), _rows(self._closes, first, first + rows)

    def add_to(self, hash: Hash, start_ms: int, end_ms: int) -> None:
        """Add what there is of the bars that open at `start_ms` or later, and are closed at `end_ms`: of coins that
        have any, in order."""
        first, end = ((time_ms - self.start_ms) // self.bar_ms for time_ms in (start_ms, end_ms))
        within = first >= 0 and end <= len(self._closes)
        bars = [one[first:end] if within else _rows(one, first, end) for one in (self._closes, self._volumes)]
        there = np.isfinite(bars[0]).any(axis=0)
        hash.update("\n".join(np.asarray(self.symbols, dtype=object)[there].tolist()).encode())
        for values in bars:
            whole = values if there.all() else values[:, there]
            hash.update(np.ascontiguousarray(whole, dtype="<f8").reshape(-1).data)


class PanelColumns:
    """A panel that is filled coin by coin, so that bars are not there twice. The half-open range begins on the grid."""

    def __init__(
        self, symbols: Iterable[str], *, start_ms: int, end_ms: int, bar_ms: int, with_opens: bool = False
    ) -> None:
        self.symbols = sorted(symbols)
        self._places = {symbol: place for place, symbol in enumerate(self.symbols)}
        self._start_ms, self._end_ms, self._bar_ms = start_ms, end_ms, bar_ms
        shape = max(0, -(-(end_ms - start_ms) // bar_ms)), len(self.symbols)
        self._closes, self._volumes = np.full(shape, np.nan), np.full(shape, np.nan)
        self._opens = np.full(shape, np.nan) if with_opens else None

    def take(self, symbol: str, own: Bars) -> None:
        """Those of a coin that open in the range.

        Raises InvalidInput for a bar that is not on the grid, a time that comes twice, and a close or an
        open that is no price.
        """
        column = self._places[symbol]
        within = (own.times >= self._start_ms) & (own.times < self._end_ms)
        times, prices, amounts = own.times[within], own.closes[within], own.volumes[within]
        at, off = np.divmod(times - self._start_ms, self._bar_ms)
        _require(symbol, times, off != 0, "is not on the grid of the bars: name series of one interval")
        _require(symbol, times[1:], np.diff(times) <= 0, "is not after the one before: give each bar once, in order")
        usable = np.isfinite(prices) & (prices > 0)
        _require(symbol, times, ~usable, "has a close that is no price: mend or remove the bar")
        usable = np.isfinite(amounts) & (amounts >= 0)
        _require(symbol, times, ~usable, "has a quote volume that is no amount: mend or remove the bar")
        self._closes[at, column] = prices
        self._volumes[at, column] = amounts
        if self._opens is not None and own.opens is not None:
            prices = own.opens[within]
            usable = np.isfinite(prices) & (prices > 0)
            _require(symbol, times, ~usable, "has an open that is no price: mend or remove the bar")
            self._opens[at, column] = prices

    def panel(self) -> Panel:
        """What was taken."""
        return Panel(self._start_ms, self._bar_ms, self.symbols, self._closes, self._volumes, self._opens)


def _rows(bars: Floats, first: int, end: int) -> Floats:
    """A copy of the rows from `first` to before `end`; NaN for those that are not there."""
    if first >= 0 and end <= len(bars):
        return bars[first:end].copy()
    found = np.full((end - first, bars.shape[1]), np.nan)
    low, high = max(0, first), min(len(bars), end)
    if low < high:
        found[low - first : high - first] = bars[low:high]
    return found


def _require(symbol: str, times: NDArray[np.int64], bad: NDArray[np.bool_], reason: str) -> None:
    if bad.any():
        raise InvalidInput("inputs", f"{symbol}: the bar at {int(times[int(bad.argmax())])} (unix ms) {reason}")
