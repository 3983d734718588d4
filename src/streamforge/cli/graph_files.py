"""The graph of a moment as a file: GraphML, CSV or Parquet."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from xml.etree import ElementTree

from streamforge.cli.command_errors import CliError
from streamforge.manager.graphs.answers import GraphMoment

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"


def graphml_of(graph: GraphMoment) -> bytes:
    """Nodes with their values and edges with their weights, as networkx, igraph and Gephi read them."""
    root = ElementTree.Element("graphml", xmlns=_NAMESPACE)
    names = sorted({name for node in graph.nodes for name in node.values})
    for name in names:
        ElementTree.SubElement(root, "key", {"id": name, "for": "node", "attr.name": name, "attr.type": "double"})
    ElementTree.SubElement(root, "key", {"id": "weight", "for": "edge", "attr.name": "weight", "attr.type": "double"})
    body = ElementTree.SubElement(root, "graph", id=f"{graph.graph} {graph.at}", edgedefault="directed")
    for node in graph.nodes:
        made = ElementTree.SubElement(body, "node", id=node.symbol)
        for name in names:
            if (value := node.values.get(name)) is not None:
                ElementTree.SubElement(made, "data", key=name).text = repr(value)
    for link in graph.links:
        made = ElementTree.SubElement(body, "edge", source=link.source, target=link.target)
        ElementTree.SubElement(made, "data", key="weight").text = repr(link.weight)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def csv_of(graph: GraphMoment) -> bytes:
    """The edges: time (unix milliseconds), source, target, weight."""
    target = io.StringIO()
    lines = csv.writer(target, lineterminator="\n")
    lines.writerow(["time", "source", "target", "weight"])
    lines.writerows([graph.time, link.source, link.target, repr(link.weight)] for link in graph.links)
    return target.getvalue().encode()


def parquet_of(graph: GraphMoment) -> bytes:
    """The edges, as `csv_of` has them. Raises CliError where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CliError("Parquet needs pyarrow: install streamforge-market-data[parquet], or write .csv") from error
    columns = {
        "time": pyarrow.array([graph.time] * len(graph.links), pyarrow.int64()).cast(pyarrow.timestamp("ms", tz="UTC")),
        "source": pyarrow.array([link.source for link in graph.links], pyarrow.string()),
        "target": pyarrow.array([link.target for link in graph.links], pyarrow.string()),
        "weight": pyarrow.array([link.weight for link in graph.links], pyarrow.float64()),
    }
    target = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), target)
    return target.getvalue()


def written(path: Path, content: bytes) -> None:
    """Write the file whole or not at all. Raises CliError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CliError(f"{path} cannot be written: {error.strerror or error}") from error
