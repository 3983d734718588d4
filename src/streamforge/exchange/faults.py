"""Faults on request: what each switch does, how it is written, and when it strikes.

A switch is `NAME[:key=value,...]`. Every fault knows `p` (probability, 0 to 1, drawn from `seed`), `count` (how often
at most), `after` (how many matching requests are left in peace first) and `path` (the name of an endpoint, such as
`klines`, or `*`); `FAULTS` lists the others with their defaults. Faults strike requests under /api/v3/ that were
neither refused for weight nor for their parameters, in the order in which they were switched on.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from streamforge_utils.model.errors import InvalidInput

Value = int | float | str

ANY_PATH = "*"


class FaultKind(msgspec.Struct, frozen=True):
    """A fault by name. stage: `answer` instead of the real one, `rows` of a page, `body` on the wire, `time`."""

    stage: str
    summary: str
    options: Mapping[str, Value] = {}
    choices: Mapping[str, tuple[str, ...]] = {}


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
    "empty": FaultKind("rows", "[] although there is data; each window once"),
    "missing": FaultKind("rows", "`rows` rows are left out; each row once", {"rows": 1}),
    "duplicate": FaultKind("rows", "`rows` rows come twice", {"rows": 1}),
    "disordered": FaultKind("rows", "the rows come in another order"),
    "shifted": FaultKind(
        "rows", "the page starts `by` rows later (each first row once); by=-1: one before the window", {"by": 1}
    ),
    "open-candle": FaultKind(
        "rows", "the newest row, such as a candle that is not over yet, comes last, even outside the window"
    ),
    "bad-number": FaultKind(
        "rows",
        "one row is spoilt",
        {"kind": "nan"},
        {"kind": ("nan", "infinite", "text", "null", "negative", "columns")},
    ),
    "slow": FaultKind("body", "the answer comes `ms` later", {"ms": 1_000}),
    "drip": FaultKind("body", "the body comes `bytes` at a time, `ms` apart", {"bytes": 1, "ms": 50}),
    "cut": FaultKind("body", "the connection is closed in the middle of the body"),
    "truncated": FaultKind("body", "a whole HTTP answer whose JSON ends in the middle"),
    "skew": FaultKind("time", "`serverTime` and the Date header are wrong by `seconds`", {"seconds": 60}),
}

_COMMON: dict[str, Value] = {"p": 1.0, "count": -1, "after": 0, "path": ANY_PATH, "seed": 0}


class Fault:
    """A fault that is switched on. struck, seen: how often it struck, and how many requests it could have struck."""

    def __init__(self, name: str, options: Mapping[str, Value], text: str) -> None:
        self.name, self.kind, self.text = name, FAULTS[name], text
        self.options = {**_COMMON, **self.kind.options, **options}
        self.struck = self.seen = 0
        self.random = random.Random(f"{name}:{self.options['seed']}")  # noqa: S311 - reproducible, not secret
        self._given: set[object] = set()

    def number(self, option: str) -> float:
        value = self.options[option]
        return value if not isinstance(value, str) else float("nan")

    def strikes(self, endpoint: str) -> bool:
        """Whether it strikes this request; counts it."""
        if self.options["path"] not in (ANY_PATH, endpoint):
            return False
        self.seen += 1
        if self.seen <= self.number("after") or 0 <= self.number("count") <= self.struck:
            return False
        if self.random.random() >= self.number("p"):
            return False
        self.struck += 1
        return True

    def first_time(self, what: object) -> bool:
        """Whether `what` was not yet harmed by this fault: so that asking again helps."""
        if what in self._given:
            return False
        if len(self._given) >= 1_000_000:
            self._given.clear()
        self._given.add(what)
        return True


class Faults:
    """The faults that are switched on. paths: the names of the endpoints that there are."""

    def __init__(self, texts: Iterable[str], paths: Collection[str]) -> None:
        self._paths = paths
        self.active: list[Fault] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Switch on `NAME[:key=value,...]`. Raises InvalidInput naming what is wrong and the choices."""
        self.active.append(parse_fault(text, self._paths))

    def strike(self, stage: str, endpoint: str) -> Iterator[Fault]:
        """The faults of `stage` that strike this request; each is drawn when it is asked for."""
        for fault in self.active:
            if fault.kind.stage == stage and fault.strikes(endpoint):
                yield fault


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
        choices = (ANY_PATH, *paths) if key == "path" else kind.choices.get(key)
        options[key] = _value(text, key, value, defaults[key], choices)
    return Fault(name, options, text)


def _value(text: str, key: str, value: str, default: Value, choices: Collection[str] | None) -> Value:
    if choices is not None:
        if value not in choices:
            raise InvalidInput("fault", f"fault {text[:80]!r}: {key} is one of {', '.join(choices)}, not {value!r}")
        return value
    try:
        number = int(value) if isinstance(default, int) else float(value)
    except ValueError:
        number = float("nan")
    if number != number or abs(number) > 1e12 or (key == "p" and not 0 <= number <= 1):
        raise InvalidInput("fault", f"fault {text[:80]!r}: {value!r} is no value of {key}")
    return number
