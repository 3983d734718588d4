"""Faults on request: how each is switched on, when it strikes, and how those of the stage `rows` change a page.

`exchange/rest.py` carries out the faults of the stages `answer`, `body` and `time`.

A switch is `NAME[:key=value,...]`. Every fault knows `p` (probability, 0 to 1, drawn from `seed`), `count` (how often
at most), `after` (how many matching requests pass unchanged first), `symbol` (or `*`) and `path`: the name of an
endpoint, such as `klines`, or `*` for all of them; `archive`, `checksum` or `listing` for requests to the archive host,
which `day` (of the file, 2024-08-01, or its month, 2024-08) and `file` (a pattern of its path) narrow down. `FAULTS`
lists the other options with their defaults. Faults strike requests that would be answered with 200, in the order in
which they were switched on. A fault of the stage `file` strikes files instead of requests: `count` and `after` count
files, and what was struck stays so until the fault is switched off.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from streamforge.exchange import windows
from streamforge.exchange.windows import Rows, RowSeries, Window
from streamforge_utils.model.errors import InvalidInput

Value = int | float | str

ANY_PATH = "*"
ARCHIVE_PATHS = ("archive", "checksum", "listing")

_COMMON: dict[str, Value] = {
    "p": 1.0,
    "count": -1,
    "after": 0,
    "path": ANY_PATH,
    "symbol": "*",
    "day": "*",
    "file": "*",
    "seed": 0,
}
_STRIKES_KEPT = 1_000
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class Target(msgspec.Struct, frozen=True):
    """What a fault may strike. path: of the endpoint, or one of `ARCHIVE_PATHS`. file: a path in the archive."""

    path: str
    symbol: str = ""
    file: str = ""


class Fault:
    """A fault that is switched on. struck, seen: how often it struck, and how many requests it could have struck."""

    def __init__(self, name: str, options: Mapping[str, Value], text: str) -> None:
        self.name, self.kind, self.text = name, FAULTS[name], text
        self.options = {**_COMMON, **self.kind.options, **options}
        self.struck = self.seen = 0
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


def _empty(fault: Fault, page: Page) -> Rows:
    return [] if fault.first_time((page.series_id, page.window)) else page.rows


def _missing(fault: Fault, page: Page) -> Rows:
    chosen = fault.random.sample(page.rows, min(int(fault.number("rows")), len(page.rows)))
    gone = {number for number, _ in chosen if fault.first_time((page.series_id, number))}
    return [row for row in page.rows if row[0] not in gone]


def _duplicate(fault: Fault, page: Page) -> Rows:
    twice = set(fault.random.sample(range(len(page.rows)), min(int(fault.number("rows")), len(page.rows))))
    return [row for n, row in enumerate(page.rows) for _ in range(2 if n in twice else 1)]


def _disordered(fault: Fault, page: Page) -> Rows:
    rows = page.rows.copy()
    fault.random.shuffle(rows)
    return rows[::-1] if rows == page.rows else rows


def _shifted(fault: Fault, page: Page) -> Rows:
    by = int(fault.number("by"))
    if by < 0:
        earlier = windows.before(page.series, page.rows[0][0], -by, page.now_ms)
        return [*windows.read(page.series, earlier, page.now_ms), *page.rows][: page.window.limit]
    return [row for n, row in enumerate(page.rows) if n >= by or not fault.first_time((page.series_id, row[0]))]


def _short(fault: Fault, page: Page) -> Rows:
    if not fault.first_time((page.series_id, page.window)):
        return page.rows
    return page.rows[: max(len(page.rows) - int(fault.number("rows")), 1)]


def _reversed(_: Fault, page: Page) -> Rows:
    return page.rows[::-1]


def _floor(fault: Fault, page: Page) -> Rows:
    floor = page.series.by_id(int(fault.number("id")))
    window = page.window
    if window.from_id is None or window.from_id >= floor:
        return [row for row in page.rows if row[0] >= floor]
    above = msgspec.structs.replace(window, from_id=int(fault.number("id")))
    return windows.read(page.series, windows.page(page.series, above, page.now_ms), page.now_ms)


def _open_candle(_: Fault, page: Page) -> Rows:
    latest = windows.read(page.series, windows.page(page.series, Window(limit=1), page.now_ms), page.now_ms)
    return [*page.rows, *(row for row in latest if row not in page.rows[-1:])]


def _bad_number(fault: Fault, page: Page) -> Rows:
    place = fault.random.randrange(len(page.rows))
    number, text = page.rows[place]
    row: Any = msgspec.json.decode(text)
    members = list(row) if isinstance(row, dict) else list(range(len(row)))
    decimals = [name for name in members if isinstance(row[name], str)]
    match fault.options["kind"]:
        case "columns":
            for name in reversed(members[-4:-1]):
                del row[name]
        case kind:
            values = {"nan": "NaN", "infinite": "Infinity", "text": "n/a", "null": None, "negative": "-1.00000000"}
            row[decimals[len(decimals) // 2]] = values[str(kind)]
    return [*page.rows[:place], (number, msgspec.json.encode(row)), *page.rows[place + 1 :]]


class FaultKind(msgspec.Struct, frozen=True):
    """A kind of fault. stage: it changes the whole `answer`, the `rows` of a page, the `body` as sent, or the `time`.

    Of the archive: what is in a `file`, the bytes of a `zip` as sent, its `checksum`, or a page of the `listing`.
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


FAULTS: dict[str, FaultKind] = {
    "429": FaultKind("answer", "too many requests; retry_after=-1 leaves the header out", {"retry_after": 1}),
    "418": FaultKind("answer", "the address is banned for `seconds`: it really is", {"seconds": 2}),
    "500": FaultKind("answer", "internal error, an HTML body"),
    "502": FaultKind("answer", "bad gateway, an HTML body"),
    "503": FaultKind("answer", "unavailable, an HTML body"),
    "504": FaultKind("answer", "gateway time-out, an HTML body"),
    "timeout": FaultKind("answer", "504 with the exchange's own body, code -1007"),
    "waf": FaultKind("answer", "403 of the firewall, an HTML body"),
    "451": FaultKind("answer", "restricted location"),
    "garbage": FaultKind("answer", "200 with an HTML body"),
    "stall": FaultKind("answer", "no answer for `seconds`, then the connection is closed", {"seconds": 30.0}),
    "empty": FaultKind("rows", "[] although there is data; each window once", spoil=_empty),
    "missing": FaultKind("rows", "`rows` rows are left out; each row once", {"rows": 1}, spoil=_missing),
    "duplicate": FaultKind("rows", "`rows` rows come twice", {"rows": 1}, spoil=_duplicate),
    "disordered": FaultKind("rows", "the rows come in another order", spoil=_disordered),
    "shifted": FaultKind(
        "rows",
        "the page starts `by` rows later (each first row once); by=-1: one before the window",
        {"by": 1},
        spoil=_shifted,
    ),
    "short": FaultKind(
        "rows", "the page ends `rows` rows early, but has one; each window once", {"rows": 1}, spoil=_short
    ),
    "reversed": FaultKind("rows", "the newest row comes first", spoil=_reversed),
    "floor": FaultKind(
        "rows", "rows with ids below `id` are forgotten: what they are asked for begins there", {"id": 0}, spoil=_floor
    ),
    "open-candle": FaultKind(
        "rows",
        "the newest row, such as a candle that is not over yet, comes last, even outside the window",
        spoil=_open_candle,
    ),
    "bad-number": FaultKind(
        "rows",
        "one row is spoilt",
        {"kind": "nan"},
        {"kind": ("nan", "infinite", "text", "null", "negative", "columns")},
        _bad_number,
    ),
    "slow": FaultKind("body", "the answer comes `ms` later", {"ms": 1_000}),
    "drip": FaultKind("body", "the body comes `bytes` at a time, `ms` apart", {"bytes": 1, "ms": 50}),
    "cut": FaultKind("body", "the connection is closed in the middle of the body"),
    "truncated": FaultKind("body", "a whole HTTP answer whose JSON ends in the middle"),
    "skew": FaultKind("time", "`serverTime` and the Date header are wrong by `seconds`", {"seconds": 60}),
    "archive-missing": FaultKind("file", "the file is not there; listed=1: but in the listing", {"listed": 0}),
    "archive-rows": FaultKind(
        "file",
        "of the CSV: `rows` rows (0: all) swapped with the next ones, repeated, skipped, with another quantity or one "
        "of zero, a price that is none, a column less or more; all from `at` of the last day on cut off; a header row; "
        "the second half in the other unit of time",
        {"kind": "skipped", "rows": 1, "at": "09:29"},
        {
            "kind": (
                *("swapped", "repeated", "skipped", "zero-quantity", "bad-price", "fewer-columns", "more-columns"),
                *("altered", "cut", "header", "mixed-units"),
            )
        },
    ),
    "archive-zip": FaultKind(
        "file",
        "of the zip: a bomb of `megabytes` that says it is small, a path in the member's name, two members, none, or "
        "one of another name",
        {"kind": "bomb", "megabytes": 4_096},
        {"kind": ("bomb", "path", "two", "none", "name")},
    ),
    "archive-replaced": FaultKind("zip", "after this request the file is another one: entity tag, time and checksum"),
    "archive-corrupt": FaultKind(
        "zip", "a byte of the compressed data is another one; the checksum is the right one's"
    ),
    "archive-checksum": FaultKind(
        "checksum",
        "the checksum is wrong, missing, malformed or names another file; the file is right",
        {"kind": "wrong"},
        {"kind": ("wrong", "missing", "malformed", "name")},
    ),
    "archive-listing": FaultKind(
        "listing",
        "the page ends in its middle as if it were the last, is empty, or names itself as the next",
        {"kind": "cut"},
        {"kind": ("cut", "empty", "loop")},
    ),
}


class Strike(msgspec.Struct, frozen=True):
    """A strike of a fault, for the log. fault: as it was switched on."""

    fault: str
    path: str
    symbol: str
    file: str


class Faults:
    """The faults that are switched on. paths: the names of the endpoints that there are. strikes: the last ones."""

    def __init__(self, texts: Iterable[str], paths: Collection[str]) -> None:
        self._paths = paths
        self.strikes: deque[Strike] = deque(maxlen=_STRIKES_KEPT)
        self.active: list[Fault] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Switch on `NAME[:key=value,...]`. Raises InvalidInput naming what is wrong and the choices."""
        self.active.append(parse_fault(text, self._paths))

    def strike(self, stage: str, target: Target) -> Iterator[Fault]:
        """The faults of `stage` that strike this request; each is drawn when it is asked for."""
        for fault in self.active:
            if fault.kind.stage == stage and fault.strikes(target):
                self._note(fault, target)
                yield fault

    def in_file(self, target: Target) -> list[Fault]:
        """The faults of the stage `file` that are in a file."""
        found = []
        for fault in self.active:
            struck = fault.struck
            if fault.kind.stage == "file" and fault.strikes_file(target):
                found.append(fault)
                if fault.struck > struck:
                    self._note(fault, target)
        return found

    def _note(self, fault: Fault, target: Target) -> None:
        self.strikes.append(Strike(fault.text, target.path, target.symbol, target.file))


def parse_fault(text: str, paths: Collection[str] = ()) -> Fault:
    """Read `NAME[:key=value,...]`. paths: what `path` may name beside `*`. Raises InvalidInput."""
    name, _, rest = text.partition(":")
    kind = FAULTS.get(name)
    if kind is None:
        raise InvalidInput("fault", f"fault {name[:40]!r} is not known: choose one of {', '.join(FAULTS)}")
    defaults = {**_COMMON, **kind.options}
    options: dict[str, Value] = {}
    for part in filter(None, rest.split(",")):
        key, given, value = part.partition("=")
        if not given or key not in defaults:
            raise InvalidInput("fault", f"fault {text[:80]!r}: {part!r} is no option of it: {', '.join(defaults)}")
        choices = (ANY_PATH, *paths, *ARCHIVE_PATHS) if key == "path" else kind.choices.get(key)
        options[key] = _value(text, key, value, defaults[key], choices)
    return Fault(name, options, text)


def _value(text: str, key: str, value: str, default: Value, choices: Collection[str] | None) -> Value:
    if choices is not None:
        if value not in choices:
            raise InvalidInput("fault", f"fault {text[:80]!r}: {key} is one of {', '.join(choices)}, not {value!r}")
        return value
    if isinstance(default, str):
        if key == "at" and _CLOCK.fullmatch(value) is None:
            raise InvalidInput("fault", f"fault {text[:80]!r}: {value!r} is no time of day, e.g. 09:29")
        return value
    try:
        number = int(value) if isinstance(default, int) else float(value)
    except ValueError:
        number = float("nan")
    if number != number or abs(number) > 1e12 or (key == "p" and not 0 <= number <= 1):
        raise InvalidInput("fault", f"fault {text[:80]!r}: {value!r} is no value of {key}")
    return number
