"""An endpoint of the test exchange: a class with its paths, its weight and its answer.

The exchange finds the classes of the package `streamforge.exchange.endpoints` and those of plugins by itself. Faults,
request weight, recordings and the oracle work on each of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from streamforge.exchange import windows
from streamforge.exchange.books import Book
from streamforge.exchange.config import ANY_SYMBOL, ExchangeConfig, SymbolSpec
from streamforge.exchange.exchange_requests import ApiError, Sent, read_parameters, symbol_of, window_of
from streamforge.exchange.fault_kind import Fault, Page
from streamforge.exchange.windows import Numbers, RowSeries
from streamforge_utils.model.timeranges import TimeRange

_PART = 1_000


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request to an endpoint.

    symbols: those that are listed. now_ms: the exchange's clock. shown_ms: the time that it shows, which a fault may
    have changed. book: that of a symbol; None: there is none. row_faults: the faults that strike the rows;
    snapshot_faults: those that strike the snapshot of a book.
    """

    query: Mapping[str, str]
    symbols: Mapping[str, SymbolSpec]
    now_ms: int
    shown_ms: int
    book: Callable[[SymbolSpec], Book | None]
    row_faults: Iterable[Fault] = ()
    snapshot_faults: Iterable[Fault] = ()


class Endpoint(ABC):
    """One endpoint below /api/v3/. paths: its names there; faults and the oracle know it by the first."""

    paths: ClassVar[tuple[str, ...]]
    weight: ClassVar[int] = 1

    def __init__(self, config: ExchangeConfig) -> None:
        self.config = config

    def cost(self, query: Mapping[str, str]) -> int:
        """The weight of a request."""
        return self.weight

    @abstractmethod
    def answer(self, call: Call) -> bytes:
        """The JSON of the answer. Raises ApiError."""


class RowsEndpoint(Endpoint):
    """An endpoint that gives the rows of a series, in pages by time or by id.

    parameters: what a request may name. members: of a row that is a JSON object, in the order of the archive's columns.
    recordings: the recorded series by symbol and variant; None: rows are seeded.
    archive: the folder of its files in the archive; empty: it is not in there. bytes_a_row: of a zip, filled up.
    times: the columns that are times, and what makes microseconds of their milliseconds. quantity: its column.
    header: the names of the columns. stream: the word of the streams whose events have its rows. stored: the kind of
    the stored records that are its rows.
    """

    parameters: ClassVar[tuple[str, ...]] = ("symbol", "fromId", "startTime", "endTime", "limit")
    members: ClassVar[tuple[str, ...]] = ()
    archive: ClassVar[str] = ""
    bytes_a_row: ClassVar[int] = 100
    times: ClassVar[Mapping[int, str]] = {}
    quantity: ClassVar[int] = 2
    header: ClassVar[str] = ""
    stream: ClassVar[str] = ""
    stored: ClassVar[str] = ""

    def __init__(self, config: ExchangeConfig) -> None:
        super().__init__(config)
        self.recordings: dict[tuple[str, Hashable], RowSeries] | None = None

    @abstractmethod
    def seeded(self, spec: SymbolSpec, variant: Hashable) -> RowSeries:
        """A series that follows from the seed."""

    def variant(self, sent: Sent) -> Hashable:
        """Which of the symbol's series is asked for. Raises ApiError."""
        return None

    def recorded_variant(self, name: str) -> Hashable:
        """The variant of a recording called SYMBOL-`name`-DATE. Raises ValueError with the reason: it is none."""
        raise ValueError(f"{self.paths[0]} reads no recordings")

    def recorded_row(self, cells: Sequence[str]) -> tuple[int, int, int, bytes]:
        """A row of a recording: its id, when it begins, the last instant at which it may change, its JSON; unix ms.

        cells: of a line of CSV, or of a row of the REST API. Raises ValueError with the reason if it is no row.
        """
        raise ValueError(f"{self.paths[0]} reads no recordings")

    def row_of_event(self, event: Mapping[str, Any]) -> tuple[int, int, int, bytes] | None:
        """The row, as `recorded_row` has it, that follows from a recorded event of its stream; None: none does."""
        return None

    def variant_of_stream(self, options: Sequence[str]) -> Hashable:
        """The variant of the rows of a stream. options: of its name."""
        return None

    def row_of_stored(self, record: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
        """The row, as `recorded_row` has it, of a record of `stored`. Raises ValueError with the reason: it is none."""
        raise ValueError(f"{self.paths[0]} has no stored rows")

    def variant_of_stored(self, record: Mapping[str, Any]) -> Hashable:
        """The variant that a record of `stored` belongs to."""
        return None

    def derive_recordings(self, others: Sequence[RowsEndpoint]) -> None:
        """Add the series to `recordings` that follow from those of other endpoints."""

    def series(self, spec: SymbolSpec, sent: Sent) -> tuple[Hashable, RowSeries | None]:
        """The variant and the series that a request names; None where no recording has it. Raises ApiError."""
        variant = self.variant(sent)
        if self.recordings is not None:
            return variant, self.recordings.get((spec.symbol, variant))
        return variant, self.seeded(spec, variant)

    def archived_variants(self) -> Mapping[str, Hashable]:
        """The variants that the archive has, by their names there; an empty name has no folder of its own."""
        return {"": None}

    def has_days(self, variant: Hashable) -> bool:
        """Whether the archive has files of days, beside those of months."""
        return True

    def over_ms(self, variant: Hashable, span: TimeRange) -> int:
        """When all rows that begin in `span` are over, unix ms."""
        return span.end_ms

    def archived(self, spec: SymbolSpec, variant: Hashable) -> RowSeries | None:
        """The series as the archive has it: from the first row on, also what REST no longer gives."""
        if self.recordings is not None:
            return self.recordings.get((spec.symbol, variant))
        return self.seeded(msgspec.structs.replace(spec, trades_from_ms=0), variant)

    def lines(self, series: RowSeries, numbers: Numbers, now_ms: int, *, micro: bool) -> Iterator[bytes]:
        """Rows as lines of the archive's CSV, in parts. micro: times are in microseconds."""
        first, end = numbers[0], numbers[1] + 1
        for start in range(first, end, _PART):
            rows = series.rows(start, min(end, start + _PART) - 1, now_ms)
            yield "".join(self._line(row, micro=micro) for row in rows).encode()

    def _line(self, row: bytes, *, micro: bool) -> str:
        values: Any = msgspec.json.decode(row)
        cells = [str(value) for value in (values.values() if isinstance(values, dict) else values)]
        if micro:
            for column, digits in self.times.items():
                cells[column] += digits
        return ",".join(cells) + "\n"

    def holes(self, symbol: str) -> list[TimeRange]:
        """The downtime of `symbol`, ascending."""
        configured = self.config.holes
        return sorted({*configured.get(ANY_SYMBOL, ()), *configured.get(symbol, ())})

    def answer(self, call: Call) -> bytes:
        sent = read_parameters(call.query, self.parameters)
        spec = call.symbols[symbol_of(sent, call.symbols)]
        variant, series = self.series(spec, sent)
        window = window_of(sent)
        if series is None:
            return b"[]"
        rows = windows.read(series, windows.page(series, window, call.now_ms), call.now_ms)
        for fault in call.row_faults:
            rows = fault.spoil(Page((self.paths[0], spec.symbol, variant), series, window, call.now_ms, rows))
        return b"[" + b",".join(row for _, row in rows) + b"]"

    def oracle(self, query: Mapping[str, str], symbols: Mapping[str, SymbolSpec], now_ms: int) -> Iterator[list[bytes]]:
        """The rows that a client must end up with from `startTime` to before `endTime`, ascending, in parts.

        Each row that never changes again is there once, as the API writes it. Raises ApiError.
        """
        sent = read_parameters(query, {*self.parameters, "startTime", "endTime"})
        _, series = self.series(symbols[symbol_of(sent, symbols)], sent)
        window = window_of(sent)
        if window.start_ms is None or window.end_ms is None:
            raise ApiError(-1102, "startTime" if window.start_ms is None else "endTime")
        if series is None or window.end_ms <= window.start_ms:
            return iter(())
        pieces = windows.closed(series, TimeRange(window.start_ms, window.end_ms), now_ms)
        return (
            series.rows(start, min(last, start + _PART - 1), now_ms)
            for first, last in pieces
            for start in range(first, last + 1, _PART)
        )
