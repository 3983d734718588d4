"""Graphs for a notebook or a script: that of a moment, and what all of them add up to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from streamforge.cli.client import path_part
from streamforge.cli.session import Mode, session
from streamforge.manager.graphs.answers import GraphMoment, GraphSnapshot
from streamforge.scripting.background import Background
from streamforge.scripting.series_places import SeriesPlace, series_place
from streamforge_utils.model.errors import ConfigError, InvalidInput

_MOST = 100_000


class StoredGraph(GraphMoment, frozen=True, kw_only=True):
    """The graph of one moment: `nodes` with their values, `links` with their weights, the largest first."""

    def to_networkx(self) -> Any:
        """A networkx.DiGraph: nodes with their values, edges with `weight`. Raises ConfigError without networkx."""
        networkx = _package("networkx")
        found = networkx.DiGraph(graph=self.graph, at=self.at, sha256=self.sha256)
        found.add_nodes_from((node.symbol, node.values) for node in self.nodes)
        found.add_weighted_edges_from((link.source, link.target, link.weight) for link in self.links)
        return found

    def to_pyg(self) -> Any:
        """A torch_geometric Data: `x` a row for each coin, a column for each of `names`; `edge_index`, `edge_weight`.

        What is not known is NaN. Raises ConfigError without torch and torch_geometric.
        """
        torch, data = _package("torch"), _package("torch_geometric.data")
        places = {node.symbol: place for place, node in enumerate(self.nodes)}
        names = sorted({name for node in self.nodes for name in node.values})
        rows = [[_number(node.values.get(name)) for name in names] for node in self.nodes]
        ends = [[places[one] for one in side] for side in zip(*((x.source, x.target) for x in self.links), strict=True)]
        return data.Data(
            x=torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(names)),
            edge_index=torch.tensor(ends or [[], []], dtype=torch.long),
            edge_weight=torch.tensor([link.weight for link in self.links], dtype=torch.float32),
            symbols=[*places],
            names=names,
        )


def graph(
    name: str,
    at: str = "now",
    *,
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
) -> StoredGraph:
    """The latest stored snapshot of a graph at a moment or before, made of bars that were closed by then.

        streamforge.graph("top400", "2024-08-20").to_networkx()

    at: an instant in UTC, or relative to now. data, server, token: as `streamforge.read` takes them.

    Raises StreamForgeError with the reason where there is no such graph or snapshot, or the place does not answer.
    """
    for argument, given in (("name", name), ("at", at)):
        if not isinstance(given, str):
            raise InvalidInput(argument, f"{argument} {given!r:.80} is no text")
    asking = Background(lambda _: _asked(series_place(data, server, token), name, at), f"graph {name}")
    try:
        return asking.wait()
    finally:
        asking.cancel()


def graph_history(
    name: str,
    time_range: str | None = None,
    *,
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
) -> list[GraphSnapshot]:
    """What the stored snapshots of a graph add up to, oldest first: coins, edges, length of the tree, turnover.

    time_range: `START[:END]`, UTC; without it, all. data, server, token: as `streamforge.read` takes them.

    Raises StreamForgeError with the reason where there is no such graph, or the place does not answer.
    """
    for argument, given in (("name", name), ("time_range", time_range)):
        if not isinstance(given, str) and not (argument == "time_range" and given is None):
            raise InvalidInput(argument, f"{argument} {given!r:.80} is no text")
    asking = Background(lambda _: _read(series_place(data, server, token), name, time_range), f"graph {name}")
    try:
        return asking.wait()
    finally:
        asking.cancel()


async def _read(place: SeriesPlace, name: str, time_range: str | None) -> list[GraphSnapshot]:
    query = {} if time_range is None else {"time_range": time_range}
    async with session(place, Mode.READ) as found:
        raw, _ = await found.api.pages(f"/graphs/{path_part(name)}/snapshots", "snapshots", query, _MOST)
        return [msgspec.json.decode(one, type=GraphSnapshot) for one in raw]


async def _asked(place: SeriesPlace, name: str, at: str) -> StoredGraph:
    async with session(place, Mode.READ) as found:
        answer = await found.api.call("GET", f"/graphs/{path_part(name)}/at/{path_part(at)}", query={"limit": _MOST})
        return found.api.read(answer, StoredGraph)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _package(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ConfigError(f"{package} is not installed: install it to have the graph in its form") from error
