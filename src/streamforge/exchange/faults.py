"""Faults on request: which there are, how each is switched on, and when it strikes.

`exchange/rest.py` carries out the faults of the stages `answer`, `body` and `time`, `row_faults.py` those of `rows`,
`archive_faults.py` those of files and checksums, `stream_faults.py` and `book_faults.py` those of streams and books.

A switch is `NAME[:key=value,...]`. Every fault knows `p` (probability, 0 to 1, drawn from `seed`), `count` (how often
at most), `after` (how many matching requests pass unchanged first), `symbol` (or `*`) and `path`: the name of an
endpoint, such as `klines`, or `*` for all of them; `archive`, `checksum` or `listing` for requests to the archive host,
which `day` (of the file, 2024-08-01, or its month, 2024-08) and `file` (a pattern of its path) narrow down. `FAULTS`
lists the other options with their defaults. Faults strike requests that would be answered with 200, in the order in
which they were switched on. A fault of the stage `file` strikes files instead of requests: `count` and `after` count
files, and what was struck stays so until the fault is switched off.

A fault of the streams strikes an event that is about to be sent on a connection; `count` and `after` count events of
all connections. `symbol` and `stream` (a pattern of its name, such as `*@kline_*`) narrow down. With `all=1` it
concerns all connections that are open. Those of order books strike snapshots, diffs and tickers alone; `stream-missing`
and `stream-duplicate` of `stream=*@depth*` drop and repeat diffs, `429`, `418` and `slow` of `path=depth` strike
snapshots too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator

import msgspec

from streamforge.exchange.book_faults import BOOK_FAULTS
from streamforge.exchange.fault_kind import (
    ANY_PATH,
    ARCHIVE_PATHS,
    COMMON,
    STREAM_PATH,
    Fault,
    FaultKind,
    Target,
    Value,
)
from streamforge.exchange.row_faults import ROW_FAULTS
from streamforge.exchange.stream_faults import STREAM_FAULTS
from streamforge_utils.model.errors import InvalidInput

_STRIKES_KEPT = 1_000
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")

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
    **ROW_FAULTS,
    "slow": FaultKind("body", "the answer comes `ms` later", {"ms": 1_000}),
    "held": FaultKind("body", "the answer comes once the fault is switched off"),
    "drip": FaultKind("body", "the body comes `bytes` at a time, `ms` apart", {"bytes": 1, "ms": 50}),
    "cut": FaultKind("body", "the connection is closed in the middle of the body"),
    "truncated": FaultKind("body", "a whole HTTP answer whose JSON ends in the middle"),
    "skew": FaultKind("time", "`serverTime` and the Date header are wrong by `seconds`", {"seconds": 60}),
    "archive-missing": FaultKind("file", "the file is not there; listed=1: but in the listing", {"listed": 0}),
    "archive-rows": FaultKind(
        "file",
        "of the CSV: `rows` rows (0: all) swapped with the next ones, repeated, skipped, with another quantity or one "
        "of zero, a price that is none, a column less or more; all from `at` of the last day on cut off; a header row; "
        "the second half in the other unit of time; the last aggregated trade with a trade of the next file",
        {"kind": "skipped", "rows": 1, "at": "09:29"},
        {
            "kind": (
                *("swapped", "repeated", "skipped", "zero-quantity", "bad-price", "fewer-columns", "more-columns"),
                *("altered", "cut", "header", "mixed-units", "torn"),
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
    **STREAM_FAULTS,
    **BOOK_FAULTS,
}


class Strike(msgspec.Struct, frozen=True):
    """A strike of a fault, for the log. fault: as it was switched on."""

    fault: str
    path: str
    symbol: str
    file: str
    stream: str


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

    def clear(self) -> None:
        """Switch all of them off."""
        for fault in self.active:
            fault.over.set()
        self.active = []

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
        self.strikes.append(Strike(fault.text, target.path, target.symbol, target.file, target.stream))


def parse_fault(text: str, paths: Collection[str] = ()) -> Fault:
    """Read `NAME[:key=value,...]`. paths: what `path` may name beside `*`. Raises InvalidInput."""
    name, _, rest = text.partition(":")
    kind = FAULTS.get(name)
    if kind is None:
        raise InvalidInput("fault", f"fault {name[:40]!r} is not known: choose one of {', '.join(FAULTS)}")
    defaults = {**COMMON, **kind.options}
    options: dict[str, Value] = {}
    for part in filter(None, rest.split(",")):
        key, given, value = part.partition("=")
        if not given or key not in defaults:
            raise InvalidInput("fault", f"fault {text[:80]!r}: {part!r} is no option of it: {', '.join(defaults)}")
        choices = (ANY_PATH, *paths, *ARCHIVE_PATHS, STREAM_PATH) if key == "path" else kind.choices.get(key)
        options[key] = _value(text, key, value, defaults[key], choices)
    return Fault(name, kind, options, text)


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
