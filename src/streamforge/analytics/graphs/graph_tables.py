"""A graph's snapshots as tables: edges, nodes and snapshots, as Parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from streamforge.analytics.graphs.associations import UNITS
from streamforge.analytics.graphs.definition import GraphDefinition
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
            "weight": _array(_joined(weights, np.float64)),
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
        columns[name] = _array(values, missing=np.isnan(values))
    if definition.measures:
        coins = [one.coins for one in snapshots if one.coins is not None]
        kinds = {"degree": np.int32, "strength": np.float64, "clustering": np.float32, "pagerank": np.float32}
        for name in _MEASURES:
            values = _joined([getattr(one, name) for one in coins], kinds[name])
            columns[name] = _array(values / UNITS if name == "strength" else values)
    return pyarrow.table(columns)


def _snapshots(snapshots: Sequence[Snapshot]) -> Any:
    lengths = np.array([one.tree_length for one in snapshots], dtype=np.float64) / UNITS  # None becomes NaN
    turnovers = np.array([one.turnover for one in snapshots], dtype=np.float64)
    return pyarrow.table(
        {
            "time": _times(snapshots, [1] * len(snapshots)),
            "sha256": _texts([one.sha256 for one in snapshots]),
            "coins": _array(np.array([len(one.symbols) for one in snapshots], dtype=np.int32)),
            "edges": _array(np.array([len(one.edges.sources) for one in snapshots], dtype=np.int32)),
            "tree_length": _array(lengths, missing=np.isnan(lengths)),
            "turnover": _array(turnovers, missing=np.isnan(turnovers)),
        }
    )


def _vocabulary(snapshots: Sequence[Snapshot]) -> tuple[dict[int, np.ndarray[Any, Any]], list[str]]:
    """Of each snapshot the number of each of its coins, and all coins in the order of these numbers."""
    symbols = sorted({symbol for one in snapshots for symbol in one.symbols})
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    found = {one.time_ms: np.array([numbers[name] for name in one.symbols], dtype=np.int32) for one in snapshots}
    return found, symbols


def _named(numbers: Sequence[np.ndarray[Any, Any]], symbols: Sequence[str]) -> Any:
    return pyarrow.DictionaryArray.from_arrays(_array(_joined(numbers, np.int32)), _texts(symbols))


def _times(snapshots: Sequence[Snapshot], counts: Sequence[int]) -> Any:
    moments = np.repeat(np.array([one.time_ms for one in snapshots], dtype=np.int64), counts)
    return _array(moments, kind=_TIME)


def _array(values: np.ndarray[Any, Any], *, kind: Any = None, missing: np.ndarray[Any, Any] | None = None) -> Any:
    """These numbers; null where they are missing.

    `pyarrow.array` would import pandas wherever that is installed: half a second, and 40 MB.
    """
    known = None if missing is None else pyarrow.py_buffer(np.packbits(~missing, bitorder="little"))
    kind = kind or pyarrow.from_numpy_dtype(values.dtype)
    return pyarrow.Array.from_buffers(kind, len(values), [known, pyarrow.py_buffer(np.ascontiguousarray(values))])


def _texts(values: Sequence[str]) -> Any:
    texts = [one.encode() for one in values]
    ends = pyarrow.py_buffer(np.cumsum([0, *map(len, texts)], dtype=np.int32))
    return pyarrow.Array.from_buffers(pyarrow.string(), len(texts), [None, ends, pyarrow.py_buffer(b"".join(texts))])


def _joined(parts: Sequence[np.ndarray[Any, Any]], kind: type) -> np.ndarray[Any, Any]:
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, dtype=kind)
