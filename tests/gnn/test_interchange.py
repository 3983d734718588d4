"""The graph of a moment in the forms of networkx and of PyTorch Geometric, which are there."""

from __future__ import annotations

import networkx
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv

from streamforge.manager.graphs.answers import GraphEdge, GraphNode
from streamforge.scripting.stored_graph import StoredGraph

AT = "2024-08-20T00:00:00Z"
NODES = [
    GraphNode(symbol="BTC", values={"return_24": 0.5, "degree": 2.0}),
    GraphNode(symbol="ETH", values={"return_24": None, "degree": 1.0}),
    GraphNode(symbol="XRP", values={"degree": 0.0}),
]
LINKS = [GraphEdge(source="ETH", target="BTC", weight=0.75), GraphEdge(source="BTC", target="ETH", weight=-0.5)]


def stored(nodes: list[GraphNode], links: list[GraphEdge]) -> StoredGraph:
    counts = {"coins": len(nodes), "edges": len(links)}
    return StoredGraph(graph="three", at=AT, time=1_724_112_000_000, sha256="ab", nodes=nodes, links=links, **counts)


def test_networkx_has_nodes_with_values_and_weighted_edges() -> None:
    found = stored(NODES, LINKS).to_networkx()
    assert isinstance(found, networkx.DiGraph)
    assert found.graph == {"graph": "three", "at": AT, "sha256": "ab"}
    assert found.nodes["BTC"] == {"return_24": 0.5, "degree": 2.0}
    assert [*found.edges(data="weight")] == [("BTC", "ETH", -0.5), ("ETH", "BTC", 0.75)]
    assert networkx.number_weakly_connected_components(found) == 2


def test_pytorch_geometric_has_them_as_tensors_that_its_layers_take() -> None:
    found = stored(NODES, LINKS).to_pyg()
    assert isinstance(found, Data)
    found.validate(raise_on_error=True)
    assert (found.symbols, found.names) == (["BTC", "ETH", "XRP"], ["degree", "return_24"])
    assert found.x[:, 0].tolist() == [2.0, 1.0, 0.0]
    assert found.x[:, 1].isnan().tolist() == [False, True, True]
    assert found.edge_index.tolist() == [[1, 0], [0, 1]]
    assert found.edge_weight.tolist() == [0.75, -0.5]
    output = GATv2Conv(2, 3, edge_dim=1)(found.x.nan_to_num(), found.edge_index, found.edge_weight)
    assert output.shape == (3, 3)
    assert torch.isfinite(output).all()


def test_a_graph_without_edges_and_one_without_nodes_are_whole() -> None:
    lonely, empty = stored(NODES, []).to_pyg(), stored([], []).to_pyg()
    assert (lonely.num_nodes, lonely.num_edges) == (3, 0)
    assert (lonely.edge_index.shape, lonely.edge_weight.shape) == ((2, 0), (0,))
    assert (empty.num_nodes, empty.num_edges) == (0, 0)
    assert (stored([], []).to_networkx().number_of_nodes(), stored(NODES, []).to_networkx().number_of_edges()) == (0, 0)
