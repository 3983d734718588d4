"""Orders for analysts: what to make, and what is proven of each input; the order for graph-builder."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.graph_manifest import SeriesRun
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.model.kinds.bars import bar_interval
from streamforge_utils.model.kinds.kind import key_symbol
from streamforge_utils.model.kinds.registry import kind_of, series_of, type_of
from streamforge_utils.model.timeranges import TimeRange

FORMAT = 1
"""Of orders; a newer one is refused."""
PROVEN = frozenset({Verdict.STORED, Verdict.EXCHANGE, Verdict.CLOSED, Verdict.LOST})
"""The verdicts of a range of which it is proven what there is, and that all of that is stored."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an analyst is to make. start_ms, end_ms: the half-open range of its moments.

    type: of the inputs. inputs: by symbol the segments of its coverage, which speak of all that is seen.
    """

    format: int = FORMAT
    type: str
    start_ms: int
    end_ms: int
    inputs: dict[str, list[Segment]]

    def runs(self) -> dict[str, list[SeriesRun]]:
        """The verdicts of each input, those that follow each other and are equal as one."""
        found: dict[str, list[SeriesRun]] = {}
        for symbol, segments in self.inputs.items():
            runs = found.setdefault(symbol, [])
            for one in segments:
                if runs and runs[-1].end_ms == one.start_ms and runs[-1].verdict == one.verdict.value:
                    runs[-1] = SeriesRun(runs[-1].start_ms, one.end_ms, one.verdict.value)
                else:
                    runs.append(SeriesRun(one.start_ms, one.end_ms, one.verdict.value))
        return found


AnyOrder = TypeVar("AnyOrder", bound=Order)


class GraphOrder(Order, frozen=True, kw_only=True):
    """A graph that is to be made; its moments are those of snapshots."""

    graph: str
    definition: GraphDefinition

    @property
    def times(self) -> range:
        """The moments of its snapshots."""
        return self.definition.snapshot_times(self.start_ms, self.end_ms)

    @property
    def seen(self) -> TimeRange:
        """The half-open range of the bars that count for any snapshot; it begins on the grid."""
        first_ms = max(0, self.definition.first_seen_ms(self.times[0]))
        return TimeRange(self.definition.grid.ceil(first_ms), self.times[-1])


def check_graph_name(name: str, what: str = "graph") -> str:
    """`name` itself, which also names collections and objects. Raises InvalidInput."""
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            what, f"{what} {name[:60]!r} is no name: 1 to 40 of a-z, 0-9 and `-`, with a letter in front"
        )
    return name


def interval_of(type_name: str) -> str:
    """The interval of the bars of a type. Raises InvalidInput for one that is no history of bars."""
    series = series_of("BTCUSDT", type_name)
    kind = kind_of(series)
    if not kind.quote_volume or kind.is_endless(type_name):
        raise InvalidInput("type", f"type {type_name[:60]!r} is no history of bars: name one such as api_candles_1h")
    return bar_interval(series.interval).text


def check_type(definition: GraphDefinition, type_name: str) -> str:
    """The type of the inputs in its one spelling. Raises InvalidInput for one that has no bars of the interval."""
    if interval_of(type_name) != definition.interval:
        raise InvalidInput(
            "interval", f"the definition is of bars of {definition.interval}, and {type_name} has others: change one"
        )
    return type_of(series_of("BTCUSDT", type_name))


def unsettled(segments: list[Segment], span: TimeRange) -> TimeRange | None:
    """The first range of `span` of which it is not proven what there is; None: all is. segments: sorted, disjoint."""
    at = span.start_ms
    for one in segments:
        if one.end_ms <= at:
            continue
        if one.start_ms > at or at >= span.end_ms:
            break
        if one.verdict not in PROVEN:
            return TimeRange(at, min(one.end_ms, span.end_ms))
        at = one.end_ms
    return TimeRange(at, span.end_ms) if at < span.end_ms else None


def order_name(queue_id: str) -> str:
    """Of the object that says what the workflow is to make."""
    return f"orders/{queue_id}.json"


def made_name(queue_id: str) -> str:
    """Of the object that names the manifest of what the workflow has made."""
    return f"orders/{queue_id}-made.json"


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a workflow has made. manifest: the name of the object. graph_id, run_id: of a graph, of a model.
    documents: how many were stored, of scores."""

    manifest: str = ""
    documents: int = 0
    graph_id: str = ""
    run_id: str = ""


def read_order(text: bytes, name: str, kind: type[AnyOrder]) -> AnyOrder:
    """An order from the object `name`. Raises PermanentError for what is none, or is of a newer format."""
    try:
        found = msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PermanentError(f"the object {name} is no {kind.__name__} ({error}): retry the workflow") from error
    if found.format != FORMAT:
        raise PermanentError(
            f"the object {name} has format {found.format}, and this version knows {FORMAT}: upgrade the image"
        )
    return found


def node_key(symbol: str, time_ms: int) -> str:
    """Of a coin in a snapshot, `BTCUSDT_1704067200000`."""
    return f"{key_symbol(symbol)}_{time_ms:013}"
