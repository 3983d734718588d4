"""A graph's snapshots as tables: edges, nodes and snapshots, as Parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.selection import UNITS
from streamforge.analytics.graphs.snapshot import Snapshot

_MEASURES = ("degree", "strength", "clustering", "pagerank")
_TIME = pyarrow.timestamp("ms", tz="UTC")
_NAMES = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())


class Table(StrEnum):
    """edges: time, source, target, weight. nodes: time, symbol, the features, and the measures where there are any.
    snapshots: time, sha256 of its content, how many coins and edges, tree_length, turnover."""

    EDGES = "edges"
    NODES = "nodes"
    SNAPSHOTS = "snapshots"


def tables(definition: GraphDefinition, snapshots: Sequence[Snapshot]) -> dict[Table, Any]:
    """The tables of some snapshots, ascending by time, as pyarrow has them."""
    return {
        Table.EDGES: _edges(snapshots),
        Table.NODES: _nodes(definition, snapshots),
        Table.SNAPSHOTS: _snapshots(snapshots),
    }


def parquet(table: Any) -> bytes:
    """The table as one file; the same table gives the same bytes."""
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target, compression="zstd", write_statistics=True)
    return target.getvalue()


def _edges(snapshots: Sequence[Snapshot]) -> Any:
    names, symbols = _vocabulary(snapshots)
    sources = [names[one.time_ms][one.edges.sources] for one in snapshots]
    targets = [names[one.time_ms][one.edges.targets] for one in snapshots]
    weights = [one.edges.weights / UNITS for one in snapshots]
    return pyarrow.table(
        {
            "time": _times(snapshots, [len(one.edges.sources) for one in snapshots]),
            "source": _named(sources, symbols),
            "target": _named(targets, symbols),
            "weight": pyarrow.array(_joined(weights, np.float64)),
        }
    )


def _nodes(definition: GraphDefinition, snapshots: Sequence[Snapshot]) -> Any:
    names, symbols = _vocabulary(snapshots)
    columns: dict[str, Any] = {
        "time": _times(snapshots, [len(one.symbols) for one in snapshots]),
        "symbol": _named([names[one.time_ms] for one in snapshots], symbols),
    }
    for place, name in enumerate(definition.features):
        # What is not known is null in the file, not a number that is none.
        values = _joined([one.features[:, place] for one in snapshots], np.float32)
        columns[name] = pyarrow.array(values, mask=np.isnan(values))
    if definition.measures:
        coins = [one.coins for one in snapshots if one.coins is not None]
        kinds = {"degree": np.int32, "strength": np.float64, "clustering": np.float32, "pagerank": np.float32}
        for name in _MEASURES:
            values = _joined([getattr(one, name) for one in coins], kinds[name])
            columns[name] = pyarrow.array(values / UNITS if name == "strength" else values)
    return pyarrow.table(columns)


def _snapshots(snapshots: Sequence[Snapshot]) -> Any:
    lengths = [None if one.tree_length is None else one.tree_length / UNITS for one in snapshots]
    return pyarrow.table(
        {
            "time": _times(snapshots, [1] * len(snapshots)),
            "sha256": pyarrow.array([one.sha256 for one in snapshots], pyarrow.string()),
            "coins": pyarrow.array([len(one.symbols) for one in snapshots], pyarrow.int32()),
            "edges": pyarrow.array([len(one.edges.sources) for one in snapshots], pyarrow.int32()),
            "tree_length": pyarrow.array(lengths, pyarrow.float64()),
            "turnover": pyarrow.array([one.turnover for one in snapshots], pyarrow.float64()),
        }
    )


def _vocabulary(snapshots: Sequence[Snapshot]) -> tuple[dict[int, np.ndarray[Any, Any]], list[str]]:
    """Of each snapshot the number of each of its coins, and all coins in the order of these numbers."""
    symbols = sorted({symbol for one in snapshots for symbol in one.symbols})
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    found = {one.time_ms: np.array([numbers[name] for name in one.symbols], dtype=np.int32) for one in snapshots}
    return found, symbols


def _named(numbers: Sequence[np.ndarray[Any, Any]], symbols: Sequence[str]) -> Any:
    indices = pyarrow.array(_joined(numbers, np.int32))
    return pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(symbols, pyarrow.string()))


def _times(snapshots: Sequence[Snapshot], counts: Sequence[int]) -> Any:
    moments = np.repeat(np.array([one.time_ms for one in snapshots], dtype=np.int64), counts)
    return pyarrow.array(moments, pyarrow.int64()).cast(_TIME)


def _joined(parts: Sequence[np.ndarray[Any, Any]], kind: type) -> np.ndarray[Any, Any]:
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, dtype=kind)
