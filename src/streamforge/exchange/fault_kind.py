"""A fault that is switched on, what it may strike, and what a kind of fault is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Mapping
from fnmatch import fnmatchcase

import msgspec

from streamforge.exchange.windows import Rows, RowSeries, Window

Value = int | float | str

ANY_PATH = "*"
ARCHIVE_PATHS = ("archive", "checksum", "listing")
STREAM_PATH = "stream"

COMMON: dict[str, Value] = {
    "p": 1.0,
    "count": -1,
    "after": 0,
    "path": ANY_PATH,
    "symbol": "*",
    "stream": "*",
    "day": "*",
    "file": "*",
    "seed": 0,
}
"""The options of every fault."""


class Target(msgspec.Struct, frozen=True):
    """What a fault may strike. path: of the endpoint, `STREAM_PATH`, or one of `ARCHIVE_PATHS`.

    file: a path in the archive. stream: the name of a stream.
    """

    path: str
    symbol: str = ""
    file: str = ""
    stream: str = ""


class FaultKind(msgspec.Struct, frozen=True):
    """A kind of fault. stage: it changes the whole `answer`, the `rows` of a page, the `body` as sent, or the `time`.

    Of the archive: what is in a `file`, the bytes of a `zip` as sent, its `checksum`, or a page of the `listing`.
    Of the streams: an event that is to be sent on a connection (`stream`), one that ends a bar (`bar`), or a request to
    connect (`connect`); `stream_strikes` carries them out. Of order books: a
    `snapshot`, or a `diff` or `ticker` that is to be sent; `book_faults` does that.
    spoil: the rows of a page after the fault, for the stage `rows`.
    """

    stage: str
    summary: str
    options: Mapping[str, Value] = {}
    choices: Mapping[str, tuple[str, ...]] = {}
    spoil: Callable[[Fault, Page], Rows] = lambda _, page: page.rows

    @property
    def of_archive(self) -> bool:
        """Whether it strikes requests to the archive host alone."""
        return self.stage in ("file", "zip", "checksum", "listing")

    @property
    def of_streams(self) -> bool:
        """Whether it strikes streams or order books alone."""
        return self.stage in ("stream", "bar", "connect", "diff", "ticker", "snapshot")


class Fault:
    """A fault that is switched on. struck, seen: how often it struck, and how many requests it could have struck.

    over: it was switched off.
    """

    def __init__(self, name: str, kind: FaultKind, options: Mapping[str, Value], text: str) -> None:
        self.name, self.kind, self.text = name, kind, text
        self.options = {**COMMON, **self.kind.options, **options}
        self.struck = self.seen = 0
        self.over = asyncio.Event()
        self.random = random.Random(f"{name}:{self.options['seed']}")  # noqa: S311 - reproducible, not secret
        self._given: set[object] = set()
        self._files: dict[str, bool] = {}

    def number(self, option: str) -> float:
        value = self.options[option]
        return value if not isinstance(value, str) else float("nan")

    def strikes(self, target: Target) -> bool:
        """Whether it strikes this request; counts it."""
        if not self._concerns(target):
            return False
        self.seen += 1
        if self.seen <= self.number("after") or 0 <= self.number("count") <= self.struck:
            return False
        if self.random.random() >= self.number("p"):
            return False
        self.struck += 1
        return True

    def strikes_file(self, target: Target) -> bool:
        """Whether it is in this file; decided once, so that file, checksum and listing agree."""
        if target.file not in self._files and self._concerns(target):
            self._files[target.file] = self.strikes(target)
        return self._files.get(target.file, False)

    def _concerns(self, target: Target) -> bool:
        options, path = self.options, self.options["path"]
        everywhere = path == ANY_PATH and (target.path not in ARCHIVE_PATHS or self.kind.of_archive)
        return (
            (everywhere or path == target.path)
            and options["symbol"] in ("*", target.symbol)
            and fnmatchcase(target.stream, str(options["stream"]))
            and (options["day"] == "*" or f"-{options['day']}." in target.file)
            and fnmatchcase(target.file, str(options["file"]))
        )

    def spoil(self, page: Page) -> Rows:
        """The rows of `page` after this fault."""
        return self.kind.spoil(self, page) if page.rows or self.name == "open-candle" else page.rows

    def first_time(self, what: object) -> bool:
        """True the first time this fault hits `what`; a repeated request succeeds."""
        if what in self._given:
            return False
        if len(self._given) >= 1_000_000:
            self._given.clear()
        self._given.add(what)
        return True


class Page(msgspec.Struct, frozen=True):
    """A page that is about to be answered. series_id: one for each series of the exchange. rows: ascending."""

    series_id: Hashable
    series: RowSeries
    window: Window
    now_ms: int
    rows: Rows
