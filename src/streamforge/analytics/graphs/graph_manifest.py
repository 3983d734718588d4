"""The manifest of a graph: what it was made of, and each of its files with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from streamforge.analytics.graphs.definition import CODE_VERSION, GraphDefinition
from streamforge_utils.model.errors import PermanentError

HASH_DIGITS = 16
_ID_LENGTH = 16
FORMAT = 1
"""Of manifests; a newer one is refused."""


class GraphFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of Parquet. name: of the object. sha256: of its content."""

    name: str
    rows: int
    size: int
    sha256: str


class PartitionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A part as it was made. id: a hash of what it was made of. sha256: of the contents of its snapshots, in order.

    first_ms, last_ms: of its snapshots. hashes: the first digits of the SHA-256 of each, in order. files: by table.
    """

    name: str
    id: str
    first_ms: int
    last_ms: int
    snapshots: int
    edges: int
    sha256: str
    hashes: list[str]
    files: dict[str, GraphFile]


class SeriesRun(msgspec.Struct, frozen=True):
    """A half-open range of an input with one verdict."""

    start_ms: int
    end_ms: int
    verdict: str


class GraphIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies a graph. graph_id, data_version: as of a `GraphManifest`. start_ms, end_ms: the
    half-open range of its snapshots."""

    graph_id: str
    data_version: str
    start_ms: int
    end_ms: int


class GraphManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A graph as it was made. inputs: by symbol what was known of its series in the range that was seen.

    graph_id: a hash of the definition, the inputs and the way of making: equal ids, equal bytes. sha256: of all its
    snapshots. start_ms, end_ms: the half-open range of the snapshots.
    """

    format: int = FORMAT
    graph: str
    graph_id: str
    definition: GraphDefinition
    code_version: int = CODE_VERSION
    data_version: str
    sha256: str
    type: str
    start_ms: int
    end_ms: int
    inputs: dict[str, list[SeriesRun]]
    partitions: list[PartitionEntry]

    @property
    def snapshots(self) -> int:
        return sum(one.snapshots for one in self.partitions)

    @property
    def edges(self) -> int:
        return sum(one.edges for one in self.partitions)

    @property
    def file_names(self) -> set[str]:
        return {file.name for one in self.partitions for file in one.files.values()}

    @property
    def object_names(self) -> set[str]:
        """Of all objects that belong to it: its files, the entries of its parts, and itself."""
        entries = {f"{part_place(self.graph, one.name, one.id)}.json" for one in self.partitions}
        return self.file_names | entries | {manifest_name(self.graph, self.graph_id)}


def manifest_name(graph: str, graph_id: str) -> str:
    """Of the object that holds the manifest."""
    return f"graphs/{graph}/{graph_id}/manifest.json"


def part_place(graph: str, name: str, id: str) -> str:
    """What the names of all objects of a part begin with. name, id: of the part."""
    return f"graphs/{graph}/parts/{name}-{id[:_ID_LENGTH]}"


def identity(
    definition: GraphDefinition,
    type_name: str,
    span: tuple[int, int],
    inputs: Mapping[str, Sequence[SeriesRun]],
    parts: Iterable[str],
) -> GraphIdentity:
    """Of the graph whose parts have these ids. span: the half-open range of its snapshots."""
    data = hashlib.sha256(
        msgspec.json.encode([type_name, span, {symbol: [*inputs[symbol]] for symbol in sorted(inputs)}])
    )
    for one in parts:
        data.update(one.encode())
    found = hashlib.sha256(definition.canonical())
    found.update(f"{data.hexdigest()} {CODE_VERSION}".encode())
    return GraphIdentity(graph_id=found.hexdigest(), data_version=data.hexdigest(), start_ms=span[0], end_ms=span[1])


def made(
    graph: str,
    definition: GraphDefinition,
    type_name: str,
    span: tuple[int, int],
    inputs: Mapping[str, Sequence[SeriesRun]],
    partitions: Sequence[PartitionEntry],
) -> GraphManifest:
    """The manifest of a graph whose parts are made. span: the half-open range of its snapshots."""
    found = identity(definition, type_name, span, inputs, [one.id for one in partitions])
    content = hashlib.sha256()
    for one in partitions:
        content.update(one.sha256.encode())
    return GraphManifest(
        graph=graph,
        graph_id=found.graph_id,
        definition=definition,
        data_version=found.data_version,
        sha256=content.hexdigest(),
        type=type_name,
        start_ms=span[0],
        end_ms=span[1],
        inputs={symbol: [*inputs[symbol]] for symbol in sorted(inputs)},
        partitions=[*partitions],
    )


def encoded(document: GraphManifest | PartitionEntry) -> bytes:
    """Its text; equal documents have equal ones."""
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1) + b"\n"


def read_manifest(text: bytes, name: str) -> GraphManifest:
    """A manifest from the object `name`. Raises PermanentError for what is none, or is of a newer format."""
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format == FORMAT:
            return msgspec.json.decode(text, type=GraphManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PermanentError(f"the object {name} is no manifest of a graph: {error}; build the graph again") from error
    raise PermanentError(
        f"the object {name} is a manifest of format {head.format}, and this version knows {FORMAT}: "
        "take a newer StreamForge"
    )


class _Head(msgspec.Struct):
    format: int
