"""What a graph of assets is made by: data, with an identity."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.bars import bar_interval

CODE_VERSION = 3
"""Of the way in which snapshots are made and written: with another one all parts of a graph are made again."""
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_FEATURE = re.compile(r"(?P<measure>return|volatility|volume)_(?P<bars>[1-9][0-9]{0,4})", re.ASCII)
_WINDOW_AT_MOST = 20_000
_FEATURES_AT_MOST = 32
_COINS_AT_MOST = 2_047


class Method(StrEnum):
    """How strongly two coins are associated: by the returns of the window.

    pearson: correlation. spearman: correlation of ranks. partial: correlation that the other coins do not explain.
    lead_lag: correlation of the returns of one with those of the other `lag` bars later.
    """

    PEARSON = "pearson"
    SPEARMAN = "spearman"
    PARTIAL = "partial"
    LEAD_LAG = "lead_lag"


class Sign(StrEnum):
    """Which associations can become edges: those above zero, those below, or all, by their size."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    ANY = "any"


class Measure(StrEnum):
    """What a feature of a coin tells, over the last bars before the snapshot.

    return: the logarithm of the last close by that before these bars. volatility: the standard deviation of the
    returns. volume: the median of the quote volume of a bar.
    """

    RETURN = "return"
    VOLATILITY = "volatility"
    VOLUME = "volume"


class Feature(msgspec.Struct, frozen=True):
    """A number that each coin of a snapshot has. bars: over how many, the last closed one included."""

    measure: Measure
    bars: int


_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class UniverseRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the coins take part in a snapshot, told from bars that were closed by then.

    A coin takes part while it is traded: it has the last bar that any coin has. min_quote_volume: the least median of
    its quote volume of a day, over `volume_days`. min_volatility: the least standard deviation of its returns over the
    window, for an hour (0.001 leaves stablecoins out). largest: as many as are traded most; 0: all.
    """

    min_quote_volume: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    volume_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30
    min_volatility: Annotated[float, msgspec.Meta(ge=0)] = 0.001
    largest: Annotated[int, msgspec.Meta(ge=0, le=_COINS_AT_MOST)] = 0


class GraphDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a graph is made; two that are equal make the same graph of the same bars.

    interval: of the bars. window: how many returns a snapshot sees. step: bars from one snapshot to the next; they lie
    on a grid of time that does not depend on the range. lag: of `lead_lag`, bars by which the follower is later.
    One of these says which associations become edges. threshold: those at least so large. top_k: of each coin the
    largest, as edges to it. mst: the tree that spans all coins with the largest in all. tmfg: the planar graph of
    triangles (TMFG). min_overlap: the share of the window's returns that both of a pair must have.
    measures: tell also of each snapshot how long its tree is, and of each coin degree, clustering and pagerank.
    features: of each coin, such as `return_24`, `volatility_168`, `volume_24`; the number is of bars.
    """

    interval: str
    method: Method = Method.PEARSON
    window: Annotated[int, msgspec.Meta(ge=8, le=_WINDOW_AT_MOST)] = 168
    step: _AtLeastOne = 24
    lag: Annotated[int, msgspec.Meta(ge=0, le=_WINDOW_AT_MOST)] = 0
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1, le=_COINS_AT_MOST)] | None = None
    mst: bool = False
    tmfg: bool = False
    sign: Sign = Sign.POSITIVE
    min_overlap: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.9
    measures: bool = True
    features: Annotated[tuple[str, ...], msgspec.Meta(max_length=_FEATURES_AT_MOST)] = ()
    universe: UniverseRules = UniverseRules()

    @property
    def grid(self) -> Grid:
        """Of the bars."""
        return bar_interval(self.interval).grid

    @property
    def bar_ms(self) -> int:
        return self.grid.length_ms or 0

    @property
    def step_ms(self) -> int:
        return self.step * self.bar_ms

    @property
    def lookback(self) -> int:
        """How many bars a snapshot sees, the last closed one included."""
        longest = max((feature.bars + 1 for feature in self.read_features()), default=0)
        rules = self.universe
        by_volume = rules.min_quote_volume or rules.largest
        days = rules.volume_days * max(1, _DAY_MS // self.bar_ms) if by_volume else 0
        return max(self.window + 1 + self.lag, longest, days)

    @property
    def hours_a_bar(self) -> float:
        return self.bar_ms / _HOUR_MS

    def read_features(self) -> list[Feature]:
        found = []
        for name in self.features:
            match = _FEATURE.fullmatch(name)
            if match is None:
                raise InvalidInput(
                    "features", f"feature {name[:40]!r} is not known: write return_N, volatility_N or volume_N (N bars)"
                )
            found.append(Feature(Measure(match["measure"]), int(match["bars"])))
        return found

    @property
    def id(self) -> str:
        """The SHA-256 of its canonical JSON."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """Its JSON in the one spelling: all fields, in order of their names."""
        return msgspec.json.encode(self, order="sorted")

    def bar_number(self, time_ms: int) -> int:
        """Of the first bar that is not closed at this moment, counted from the grid's beginning."""
        return (time_ms - (self.grid.offset_ms or 0)) // self.bar_ms

    def first_seen_ms(self, time_ms: int) -> int:
        """When the first bar opens that counts for a snapshot at this moment, its turnover included."""
        return time_ms - self.step_ms - self.lookback * self.bar_ms

    def snapshot_times(self, start_ms: int, end_ms: int) -> range:
        """The moments of its snapshots in the half-open range, on the grid of its steps."""
        offset_ms = self.grid.offset_ms or 0
        first = start_ms + -(start_ms - offset_ms) % self.step_ms
        return range(first, max(first, end_ms), self.step_ms)


def check_definition(definition: GraphDefinition) -> GraphDefinition:
    """The definition with its interval in the one spelling. Raises InvalidInput for what makes no graph."""
    interval = bar_interval(definition.interval)
    if interval.grid.length_ms is None:
        raise InvalidInput(
            "interval", f"interval {interval.text}: bars of a graph are all of one length: choose 1w or less"
        )
    found = msgspec.structs.replace(definition, interval=interval.text)
    chosen = [name for name in ("threshold", "top_k") if getattr(found, name) is not None]
    chosen += [name for name in ("mst", "tmfg") if getattr(found, name)]
    if len(chosen) != 1:
        said = " and ".join(chosen) or "none"
        raise InvalidInput(
            "top_k", f"one of threshold, top_k, mst and tmfg says which pairs become edges, and {said} is given"
        )
    if (found.method is Method.LEAD_LAG) != (found.lag > 0):
        raise InvalidInput(
            "lag",
            f"lag is {found.lag} and the method {found.method}: lead_lag needs 1 or more, the others have none",
        )
    if found.method is Method.LEAD_LAG and (found.mst or found.tmfg):
        raise InvalidInput("method", f"{chosen[0]} is of pairs without a direction, lead_lag has one: choose top_k")
    if found.step_ms > 366 * _DAY_MS:
        raise InvalidInput("step", f"step {found.step} of {found.interval} is longer than a year: choose a shorter one")
    names = [*found.features]
    if len({*names}) != len(names):
        raise InvalidInput("features", "a feature is named twice: name each once")
    if any(feature.measure is Measure.VOLATILITY and feature.bars < 2 for feature in found.read_features()):
        raise InvalidInput("features", "volatility_1 is of one return: name 2 bars or more")
    if found.lookback > 2 * _WINDOW_AT_MOST:
        raise InvalidInput("features", f"a snapshot would see {found.lookback} bars; {2 * _WINDOW_AT_MOST} is the most")
    return found


def read_definition(document: Any) -> GraphDefinition:
    """A definition from decoded JSON. Raises InvalidInput that names the field."""
    try:
        found = msgspec.convert(document, GraphDefinition)
    except msgspec.ValidationError as error:
        text = str(error)
        path = re.search(r"`\$\.([a-z_.]+)", text)
        field = path[1] if path else "graph"
        if "unknown field" in text:
            known = UniverseRules if field == "universe" else GraphDefinition
            text += f"; the fields are {', '.join(known.__struct_fields__)}"
        raise InvalidInput(field, f"definition of a graph: {text}") from error
    return check_definition(found)
