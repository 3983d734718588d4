"""The JSON that the API answers about graphs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from streamforge.manager.answers import Moment, example, meaning


class GraphSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A graph as it was last found whole."""

    graph: Annotated[str, example("top400")]
    graph_id: Annotated[str, meaning("Equal ids, equal bytes: a hash of definition, inputs and the way of making.")]
    queue_id: Annotated[str, meaning("The workflow that made it.")]
    type: Annotated[str, meaning("Of its series.", "api_candles_1h")]
    symbols: Annotated[int, meaning("Of how many series it is made.")]
    start: Moment
    end: Annotated[Moment, meaning("Its snapshots lie from `start` to before `end`.")]
    snapshots: int
    edges: Annotated[int, meaning("Of all snapshots.")]
    made_at: Moment
    definition: Annotated[
        dict[str, Any],
        meaning(
            "As POST /graphs takes it, with all that has a default. Empty in a list: the graph was made before it was "
            "kept there; GET /graphs/{graph} has it."
        ),
    ] = {}


class Graphs(msgspec.Struct, frozen=True, kw_only=True):
    """A page of graphs. cursor: gives the next page; none at the end."""

    graphs: list[GraphSummary]
    cursor: str | None = None


class GraphFileAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A file of Parquet in the store of objects."""

    table: Annotated[str, meaning("`edges`, `nodes` or `snapshots`.")]
    name: str
    rows: int
    size: int
    sha256: str


class Graph(GraphSummary, frozen=True, kw_only=True):
    """A graph, and where its files lie."""

    sha256: Annotated[str, meaning("Of all its snapshots.")]
    data_version: Annotated[str, meaning("A hash of what was known of the inputs, and of their bars.")]
    manifest: Annotated[str, meaning("The name of the object that lists all files with their checksums.")]
    files: list[GraphFileAnswer]


class GraphSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot adds up to. It was made of bars that were closed at `at`."""

    at: Moment
    time: Annotated[int, meaning("The same, unix milliseconds.")]
    sha256: str
    coins: int
    edges: int
    tree_length: Annotated[
        float | None,
        meaning("Of the shortest tree that spans the coins that have an association; short when all move together."),
    ] = None
    turnover: Annotated[
        float | None, meaning("The share of edges that are not those of the snapshot a step before, of both.")
    ] = None


class GraphSnapshots(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the stored snapshots of a range, oldest first. cursor: gives the next page; none at the end."""

    graph: str
    snapshots: list[GraphSnapshot]
    cursor: str | None = None


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """A coin in a snapshot. values: its features, and its measures where there are any."""

    symbol: str
    values: dict[str, float | None]


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    """An edge. Of a graph of the largest it leads to the coin whose largest it is; of lead_lag to the follower."""

    source: str
    target: str
    weight: float


class GraphMoment(GraphSnapshot, frozen=True, kw_only=True):
    """The graph of one moment."""

    graph: str
    nodes: list[GraphNode]
    links: Annotated[list[GraphEdge], meaning("The largest first.")]


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A coin that another one is joined to."""

    symbol: str
    weight: float


class CoinMoment(msgspec.Struct, frozen=True, kw_only=True):
    """A coin in a snapshot."""

    at: Moment
    time: Annotated[int, meaning("The same, unix milliseconds.")]
    values: Annotated[dict[str, float | None], meaning("As of a node of the moment.")]
    joined: Annotated[int, meaning("To how many others, in either direction.")]
    neighbours: Annotated[list[Neighbour], meaning("Those with the largest weights, by their size.")]


class CoinPath(msgspec.Struct, frozen=True, kw_only=True):
    """A coin in the stored snapshots of a range that it takes part in, oldest first."""

    graph: str
    symbol: str
    moments: list[CoinMoment]


class RemovedGraph(msgspec.Struct, frozen=True, kw_only=True):
    """That a graph was removed."""

    graph: str
    objects_removed: int
