"""What a benchmark hands back, and the little statistics that it needs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Size(StrEnum):
    """How much is measured. full: what the page shows. quick: to see a change. tiny: to see that it runs."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value. at_least, below: its target, if it has one. unit: as it is shown, `%` for shares of 100."""

    what: str
    measured: float
    unit: str
    at_least: float | None = None
    below: float | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.at_least is not None:
            return self.measured >= self.at_least
        return None if self.below is None else self.measured < self.below

    @property
    def target(self) -> str:
        """The target, for a person."""
        if self.at_least is not None:
            return f"≥ {shown(self.at_least, self.unit)}"
        return "" if self.below is None else f"< {shown(self.below, self.unit)}"

    @property
    def value(self) -> str:
        """The measured value, for a person."""
        return shown(self.measured, self.unit)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark found. how: what was compared with what. details: sentences with the numbers behind."""

    title: str
    how: str
    lines: tuple[Line, ...]
    details: tuple[str, ...] = ()


def shown(value: float, unit: str) -> str:
    """A number as precise as it is worth reading."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def per_second(records: int, seconds: float) -> str:
    """A rate, for a person."""
    return f"{records / seconds:,.0f}/s"


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many percent of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much y grows by x, by least squares; 0 if x does not differ."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def in_turn(rounds: int, runs: Mapping[str, Callable[[], T]], say: Callable[[str, T], None]) -> dict[str, list[T]]:
    """Call each of `runs` once a round, in their order (A B A B), so that a drift of the machine meets all of them."""
    found: dict[str, list[T]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        for name, run in runs.items():
            result = run()
            found[name].append(result)
            say(f"{name} {number}/{rounds}", result)
    return found
