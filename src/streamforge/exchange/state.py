"""What one running test exchange holds, apart from HTTP: its clock, the request weight that was spent, its counters."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from streamforge.exchange.books import Book
from streamforge.exchange.config import WEIGHT_LIMIT, ExchangeConfig, SymbolSpec
from streamforge.exchange.endpoint import Endpoint, RowsEndpoint
from streamforge.exchange.endpoints import endpoint_classes
from streamforge.exchange.exchange_requests import ApiError, banned
from streamforge.exchange.faults import Faults
from streamforge.exchange.made_up_symbols import made_up_symbols
from streamforge.exchange.recordings import RecordedZip, Recordings, load_recordings
from streamforge.exchange.seeded_book import seeded_book
from streamforge_utils.model.errors import InvalidInput

_WINDOW_MS = 60_000
_BAN_AFTER = 5
"""So many requests may follow the first 429 of a minute before the address is banned."""
_BAN_MS, _BAN_LIMIT_MS = 120_000, 3 * 86_400_000
"""Length of the first ban; each further one is twice as long, up to the limit."""
_KEPT = 100

Load = Callable[[Path, Sequence[RowsEndpoint]], Recordings]
"""Lets endpoints serve what lies in a folder."""


class Refused(msgspec.Struct, frozen=True):
    """A time in which the client is to ask nothing; unix ms of the exchange's clock."""

    from_ms: int
    until_ms: int


class Limiter:
    """Counts weight by minute of the exchange's clock. limit: None never refuses.

    bans, pauses: the last ones, of 418 and of 429. asked_in_pause, refused_while_banned: requests in one of them.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.max_used = 0
        self.refused_while_banned = 0
        self.asked_in_pause = 0
        self.bans: list[Refused] = []
        self.pauses: list[Refused] = []
        self._minute = self._used = self._refused = 0
        self._paused_until_ms = 0

    def spend(self, weight: int, now_ms: int) -> None:
        """Charge a request. Raises ApiError: 429, or 418 for a client that is banned."""
        used = self.used(now_ms) + weight
        if self.bans and now_ms < self.bans[-1].until_ms:
            self.refused_while_banned += 1
            raise self._banned(now_ms)
        if now_ms < self._paused_until_ms:
            self.asked_in_pause += 1
        self._used, self.max_used = used, max(self.max_used, used)
        if self.limit is None or used <= self.limit:
            return
        self._refused += 1
        if self._refused > _BAN_AFTER:
            raise self.ban(min(_BAN_MS * 2 ** len(self.bans), _BAN_LIMIT_MS), now_ms)
        raise self.pause(-(-_left_ms(now_ms) // 1000), now_ms)

    def used(self, now_ms: int) -> int:
        """Weight spent in the current minute."""
        if self._minute != now_ms // _WINDOW_MS:
            self._minute, self._used, self._refused = now_ms // _WINDOW_MS, 0, 0
        return self._used

    def ban(self, duration_ms: int, now_ms: int) -> ApiError:
        """Refuse every request for `duration_ms`; the answer to this request."""
        self.bans = [*self.bans[1 - _KEPT :], Refused(now_ms, now_ms + duration_ms)]
        return self._banned(now_ms)

    def pause(self, retry_after: int | None, now_ms: int) -> ApiError:
        """The answer 429. retry_after: seconds of the header; None: without one, until the minute is over."""
        until_ms = now_ms + (_left_ms(now_ms) if retry_after is None else retry_after * 1000)
        self._paused_until_ms = max(self._paused_until_ms, until_ms)
        self.pauses = [*self.pauses[1 - _KEPT :], Refused(now_ms, until_ms)]
        return ApiError(-1003, self.limit or WEIGHT_LIMIT, status=429, retry_after=retry_after)

    def _banned(self, now_ms: int) -> ApiError:
        until_ms = self.bans[-1].until_ms
        return banned(until_ms, -(-(until_ms - now_ms) // 1000))


def _left_ms(now_ms: int) -> int:
    """Until the next minute of the exchange's clock."""
    return _WINDOW_MS - now_ms % _WINDOW_MS


class ExchangeClock:
    """Runs `speed` times as fast as the machine's clock from `start_ms` on (None: the machine's own time).

    frozen: it stands still and moves by `advance` and `set` only, until it is given a speed.
    """

    def __init__(self, start_ms: int | None = None, *, frozen: bool = False, speed: float = 1.0) -> None:
        self._speed = 0.0 if frozen else speed
        self._since_ns = time.time_ns()
        self._base_ms = self._since_ns // 1_000_000 if start_ms is None else start_ms
        self._watching: list[Callable[[], None]] = []

    @property
    def speed(self) -> float:
        """How many times as fast as the machine's clock it runs; 0: it stands still."""
        return self._speed

    def now_ms(self) -> int:
        """Unix milliseconds, UTC."""
        return self._base_ms + int((time.time_ns() - self._since_ns) * self._speed) // 1_000_000

    def advance(self, milliseconds: int) -> None:
        """Move it; negative values move it back."""
        self._base_ms += milliseconds
        self._moved()

    def set(self, now_ms: int) -> None:
        """Make it show `now_ms`, and run on from there."""
        self.advance(now_ms - self.now_ms())

    def run(self, speed: float) -> None:
        """Let it run at another speed from now on; 0 freezes it."""
        self._base_ms, self._since_ns, self._speed = self.now_ms(), time.time_ns(), speed
        self._moved()

    def seconds_until(self, time_ms: float) -> float | None:
        """How long a waiter for `time_ms` sleeps, in the machine's seconds; None: until the clock is moved."""
        return max(0.0, (time_ms - self.now_ms()) / 1000 / self._speed) if self._speed else None

    def watch(self, moved: Callable[[], None]) -> None:
        """Call `moved` whenever the clock is moved, or runs at another speed."""
        self._watching.append(moved)

    def _moved(self) -> None:
        for moved in self._watching:
            moved()


class ArchiveCounts(msgspec.Struct):
    """What the archive answered. requests: by what was asked for and the status; `closed`: not sent whole.

    bytes: of the bodies. made: zips that were made, however often they were sent.
    """

    requests: dict[str, Counter[str]] = msgspec.field(default_factory=dict)
    bytes: int = 0
    made: int = 0

    def add(self, what: str, status: str, sent: int) -> None:
        """Count an answer."""
        self.requests.setdefault(what, Counter())[status] += 1
        self.bytes += sent


class StreamCounts(msgspec.Struct):
    """What was done on the streams. open: connections; refused: those that were not made. ended: the others, by reason.

    received: messages of clients, pings and pongs included. sent: events, by stream.
    """

    open: int = 0
    connects: int = 0
    refused: int = 0
    ended: Counter[str] = msgspec.field(default_factory=Counter)
    received: int = 0
    sent: Counter[str] = msgspec.field(default_factory=Counter)


class ExchangeState:
    """Endpoints, symbols, clock, limiter, faults and counters of one exchange.

    name: two exchanges of the same name never differ about what a record holds. ignored: the files of a replay that
    are not served, each with the reason. paced: the clock moves as fast as clients of the streams read.
    load: reads what is in the folder of a replay.
    """

    def __init__(
        self, config: ExchangeConfig, clock: ExchangeClock | None = None, load: Load = load_recordings
    ) -> None:
        self.config = config
        self.paced = math.isinf(config.speed)
        made = ExchangeClock(config.now_ms, frozen=self.paced, speed=config.speed)
        self.clock = clock if clock is not None else made
        self.endpoints: list[Endpoint] = [made(config) for made in endpoint_classes()]
        specs = [*config.symbols, *made_up_symbols(config.symbols_extra)]
        if config.trades_a_minute is not None:
            specs = [msgspec.structs.replace(spec, trades_a_minute=config.trades_a_minute) for spec in specs]
        self.symbols: dict[str, SymbolSpec] = {spec.symbol: spec for spec in specs}
        self.ignored: dict[str, str] = {}
        self.zips: dict[str, RecordedZip] = {}
        self.recordings: Recordings | None = None
        if config.replay is not None:
            rows = [endpoint for endpoint in self.endpoints if isinstance(endpoint, RowsEndpoint)]
            found = self.recordings = load(config.replay, rows)
            self.symbols, self.ignored, self.zips = found.symbols, found.ignored, found.zips
        self.name = _name(config)
        self._listings = sorted({spec.listed_ms for spec in self.symbols.values()})
        self._listed: tuple[int, dict[str, SymbolSpec]] = (-1, {})
        self.faults = Faults(config.faults, [endpoint.paths[0] for endpoint in self.endpoints])
        self.streams = StreamCounts()
        self.reset_counts()

    def reset_counts(self) -> None:
        """Forget what was counted, bans and spent weight included."""
        self.limiter = Limiter(self.config.weight_limit)
        self._requests: dict[str, Counter[str]] = {}
        self.archive = ArchiveCounts()
        self.streams = StreamCounts(open=self.streams.open)

    def count(self, path: str, status: str) -> None:
        """One answer (or `closed`: a connection that ended without a whole one)."""
        self._requests.setdefault(path, Counter())[status] += 1

    def listed(self, now_ms: int) -> dict[str, SymbolSpec]:
        """The symbols that the exchange knows at `now_ms`."""
        listings = bisect_right(self._listings, now_ms)
        if self._listed[0] != listings:
            known = {
                name: spec for name, spec in self.symbols.items() if spec.listed_ms <= now_ms and not spec.unlisted
            }
            self._listed = (listings, known)
        return self._listed[1]

    def set_status(self, symbol: str, status: str) -> None:
        """Change the status of a symbol. In BREAK it has no trades and no candles after this minute, for good.

        Raises InvalidInput: there is no such symbol, or it is a recorded one.
        """
        spec = self.symbols.get(symbol)
        if spec is None or self.recordings is not None:
            raise InvalidInput("symbol", f"{symbol[:40]!r} is no seeded symbol of this exchange")
        end_ms = spec.delisted_ms
        if status == "BREAK" and end_ms is None:
            # a minute's candle is made of all of its trades
            end_ms = (self.clock.now_ms() // _WINDOW_MS + 1) * _WINDOW_MS
        self.symbols[symbol] = msgspec.structs.replace(spec, status=status, delisted_ms=end_ms)
        self._listed = (-1, {})

    def book(self, spec: SymbolSpec) -> Book | None:
        """The order book of a symbol; None: there is none."""
        return seeded_book(self.config, spec) if self.recordings is None else self.recordings.books.get(spec.symbol)

    def counts(self) -> dict[str, object]:
        """For `GET /control/stats`."""
        limiter = self.limiter
        return {
            "now_ms": self.clock.now_ms(),
            "requests": self._requests,
            "weight_limit": limiter.limit,
            "max_weight_in_a_minute": limiter.max_used,
            "bans": limiter.bans,
            "refused_while_banned": limiter.refused_while_banned,
            "pauses": limiter.pauses,
            "asked_in_pause": limiter.asked_in_pause,
            "archive": self.archive,
            "streams": self.streams,
            "rows_held": 0 if self.recordings is None else self.recordings.held.count,
        }


def _name(config: ExchangeConfig) -> str:
    if config.replay is None:
        busy = "" if config.trades_a_minute is None else f", {config.trades_a_minute} trades a minute"
        return f"test exchange, seed {config.seed}{busy}"
    return f"test exchange, recordings of {quote(config.replay.resolve().name, safe=' ._-')}"
