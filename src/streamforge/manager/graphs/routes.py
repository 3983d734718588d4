"""The routes of graphs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from streamforge.manager.api.queue_routes import ACCEPTED, IdempotencyKey, Limit, started_reply
from streamforge.manager.api.request_bodies import Labels
from streamforge.manager.api.routing import Context, In, StrictRoute, gives, reply
from streamforge.manager.graphs import answers as graph_answers
from streamforge.manager.graphs.requests import GraphRequest
from streamforge.manager.graphs.store import KnownGraph
from streamforge.manager.presentation import moment
from streamforge_utils.model.timeranges import resolve_instant, resolve_time_range

router = APIRouter(route_class=StrictRoute, tags=["graphs"])

_TEXT = 300
_MANY = 32
_COINS = 2_047
Range = Annotated[str | None, Query(max_length=_TEXT, description="`START[:END]`; without it, all.")]
Name = Annotated[str, Path(description="The graph's name.", examples=["top400"], max_length=_TEXT)]


class MakeGraph(BaseModel):
    """Make a graph of the coins that move together, a snapshot for each step of a time range."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "graph": "top3",
                    "symbols": ["BTCUSDT", "ETHUSDT", "BNBUSDT"],
                    "type": "api_candles_1h",
                    "time_range": "2024-08",
                    "definition": {"window": 168, "step": 24, "top_k": 2, "features": ["return_24"]},
                    "load_missing": True,
                }
            ]
        },
    )

    graph: str = Field(max_length=_TEXT, description="Its name: `a-z`, `0-9`, `-`.")
    symbols: list[str] = Field(
        default=[], max_length=_COINS, description="Symbols and patterns (`*USDT`), as of POST /batches."
    )
    batch: str | None = Field(default=None, max_length=_TEXT, description="In their place: the symbols of this batch.")
    type: str = Field(max_length=_TEXT, description="Of the series: `api_candles_1h`, …")
    time_range: str = Field(max_length=_TEXT, description="Of its snapshots, `START[:END]`.")
    definition: dict[str, Any] = Field(
        default={},
        max_length=_MANY,
        description="How it is made; docs/how-to/graphs.md describes each field. The interval follows from `type`.",
    )
    load_missing: bool = Field(
        default=False,
        description="Load first what is not proven; without it that is waited for, or refused.",
    )
    image: str | None = Field(default=None, max_length=_TEXT, description="As in POST /queues/start.")
    parameters: dict[str, Any] = Field(
        default={}, max_length=_MANY, description="Those of graph-builder that GET /targets describes."
    )
    labels: Labels = Field(default_factory=dict)

    def request(self) -> GraphRequest:
        """What the service is asked."""
        fields = {**dict(self), "batch": (self.batch or "").lower(), "symbols": tuple(self.symbols)}
        return GraphRequest(**fields)


@router.post("/graphs", status_code=202, responses=ACCEPTED, summary="Make a graph of assets")
async def start(body: MakeGraph, to: In, idempotency_key: IdempotencyKey = None) -> Response:
    return await started_reply(to, await to.service.graphs.start(body.request(), idempotency_key=idempotency_key))


@router.get("/graphs", responses=gives(graph_answers.Graphs), summary="List graphs")
async def find(
    to: In,
    cursor: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Limit = 100,
) -> Response:
    found, after = await to.service.graphs.find(cursor=cursor, limit=limit)
    graphs = [graph_answers.GraphSummary(**_summary(one)) for one in found]
    return reply(graph_answers.Graphs(graphs=graphs, cursor=after))


@router.get("/graphs/{graph}", responses=gives(graph_answers.Graph), summary="Show a graph and its files")
async def show(graph: Name, to: In) -> Response:
    known, manifest = await to.service.graphs.get(graph)
    files = [
        graph_answers.GraphFileAnswer(table=table, name=file.name, rows=file.rows, size=file.size, sha256=file.sha256)
        for part in manifest.partitions
        for table, file in part.files.items()
    ]
    return reply(
        graph_answers.Graph(
            **{**_summary(known), "definition": msgspec.to_builtins(manifest.definition)},
            sha256=manifest.sha256,
            data_version=manifest.data_version,
            manifest=known.manifest,
            files=files,
        )
    )


@router.get(
    "/graphs/{graph}/snapshots",
    responses=gives(graph_answers.GraphSnapshots),
    summary="List the stored snapshots of a graph",
)
async def snapshots(
    graph: Name,
    to: In,
    time_range: Range = None,
    cursor: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Limit = 1000,
) -> Response:
    start_ms, end_ms = _span(time_range, to)
    found, after = await to.service.graphs.snapshots(
        graph, start_ms=start_ms, end_ms=end_ms, cursor=cursor, limit=limit
    )
    told = [graph_answers.GraphSnapshot(**_snapshot(one)) for one in found]
    return reply(graph_answers.GraphSnapshots(graph=graph, snapshots=told, cursor=after))


@router.get(
    "/graphs/{graph}/at/{instant}",
    responses=gives(graph_answers.GraphMoment),
    summary="Show the graph of a moment, with its coins and edges",
)
async def at(
    graph: Name,
    to: In,
    instant: Annotated[str, Path(max_length=_TEXT, description="The latest snapshot of that moment or before.")],
    least: Annotated[float, Query(ge=0, le=1, description="Only edges at least so large, by their size.")] = 0.0,
    limit: Annotated[int, Query(ge=1, le=100_000, description="As many edges at most, the largest.")] = 10_000,
) -> Response:
    found = await to.service.graphs.at(graph, resolve_instant(instant, to.clock.now_ms(), "instant"))
    nodes = [graph_answers.GraphNode(symbol=symbol, values=_values(body)) for symbol, body in found.nodes.items()]
    links = [
        graph_answers.GraphEdge(source=source, target=target, weight=weight)
        for source, target, weight in found.edges
        if abs(weight) >= least
    ]
    told = _snapshot(found.snapshot)
    return reply(graph_answers.GraphMoment(**told, graph=graph, nodes=nodes, links=links[:limit]))


@router.get(
    "/graphs/{graph}/coins/{symbol}",
    responses=gives(graph_answers.CoinPath),
    summary="Show the path of a coin through the snapshots of a graph",
)
async def coin(
    graph: Name,
    symbol: Annotated[str, Path(max_length=_TEXT, description="The coin.", examples=["BTCUSDT"])],
    to: In,
    time_range: Range = None,
    neighbours: Annotated[int, Query(ge=0, le=100, description="At most this many of each moment, the largest.")] = 10,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most this many moments, the oldest.")] = 400,
) -> Response:
    start_ms, end_ms = _span(time_range, to)
    found = await to.service.graphs.path(graph, symbol, start_ms=start_ms, end_ms=end_ms, limit=limit)
    moments = [
        graph_answers.CoinMoment(
            at=moment(one.time_ms),
            time=one.time_ms,
            values=_values(one.body),
            joined=len(one.neighbours),
            neighbours=[
                graph_answers.Neighbour(symbol=name, weight=weight) for name, weight in one.neighbours[:neighbours]
            ],
        )
        for one in found
    ]
    return reply(graph_answers.CoinPath(graph=graph, symbol=symbol, moments=moments))


@router.delete("/graphs/{graph}", responses=gives(graph_answers.RemovedGraph), summary="Remove a graph")
async def remove(graph: Name, to: In) -> Response:
    return reply(graph_answers.RemovedGraph(graph=graph, objects_removed=await to.service.graphs.remove(graph)))


def _summary(known: KnownGraph) -> dict[str, Any]:
    same = ("graph", "graph_id", "queue_id", "type", "symbols", "snapshots", "edges", "definition")
    return {
        **{name: getattr(known, name) for name in same},
        "start": moment(known.start_ms),
        "end": moment(known.end_ms),
        "made_at": moment(known.made_ms),
    }


def _span(time_range: str | None, to: Context) -> tuple[int, int]:
    span = None if time_range is None else resolve_time_range(time_range, to.clock.now_ms())
    return (0, 10**13 - 1) if span is None else (span.start_ms, span.end_ms)


def _values(body: dict[str, Any]) -> dict[str, Any]:
    """Of a node: its features and measures."""
    return {name: value for name, value in body.items() if name not in ("symbol", "time")}


def _snapshot(body: dict[str, Any]) -> dict[str, Any]:
    fields = {name: body[name] for name in ("time", "sha256", "edges", "tree_length", "turnover")}
    return {**fields, "at": moment(body["time"]), "coins": len(body["symbols"])}
