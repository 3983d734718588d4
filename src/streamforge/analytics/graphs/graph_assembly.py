"""Makes a graph part by part: what was made of the same bars before is taken over, by whichever process it was made."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from streamforge.analytics.graphs import graph_manifest, graph_tables
from streamforge.analytics.graphs.definition import GraphDefinition
from streamforge.analytics.graphs.graph_manifest import GraphFile, GraphManifest, PartitionEntry, SeriesRun
from streamforge.analytics.graphs.panel import Panel
from streamforge.analytics.graphs.partitions import Partition, partition_id, partitions
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from streamforge.analytics.manifest_files import are_intact
from streamforge_utils.ports.object_store import DamagedObject, NoObject

Keep = Callable[[Sequence[Snapshot]], Awaitable[None]]
"""Stores the snapshots of a part; doing it twice leaves the same as once."""
Holds = Callable[[Sequence[int], Sequence[str]], Awaitable[bool]]
"""Whether the snapshots of these moments are stored as they are, by the first digits of their SHA-256."""


class Objects(Protocol):
    """What is needed of an ObjectStore."""

    async def put(self, name: str, content: bytes, /) -> Any: ...

    def get(self, name: str, /) -> AsyncIterator[bytes]: ...


class GraphBuilder:
    """Makes one graph. Its files lie in the objects below `graphs/NAME/`."""

    def __init__(self, name: str, definition: GraphDefinition, objects: Objects, keep: Keep, holds: Holds) -> None:
        self._name = name
        self._definition = definition
        self._objects = objects
        self._keep = keep
        self._holds = holds
        self._snapshots = SnapshotBuilder(definition)

    async def build(
        self,
        panel: Panel,
        type_name: str,
        span: tuple[int, int],
        inputs: Mapping[str, Sequence[SeriesRun]],
        progress: Callable[[PartitionEntry], Awaitable[None]],
    ) -> GraphManifest:
        """Make the snapshots of the half-open range, and the manifest that names them; it is stored last.

        panel: bars from the first that counts for the first snapshot. inputs: by symbol its verdicts. progress: is told
        of each part. Raises what the store of objects and `keep` raise; begun again it goes on where it was.
        """
        entries = []
        for partition in partitions(self._definition, *span):
            entry = await self._partition(partition, panel)
            entries.append(entry)
            await progress(entry)
        found = graph_manifest.made(self._name, self._definition, type_name, span, inputs, entries)
        await self._objects.put(graph_manifest.manifest_name(self._name, found.graph_id), graph_manifest.encoded(found))
        return found

    async def _partition(self, partition: Partition, panel: Panel) -> PartitionEntry:
        own_id = await asyncio.to_thread(partition_id, self._definition, partition, panel)
        place = graph_manifest.part_place(self._name, partition.name, own_id)
        known = await self._known(f"{place}.json")
        if known is not None and known.id == own_id and await are_intact(self._objects, known.files.values()):
            # Its files are as they were; documents may be gone, or of other bars that were there in between.
            if not await self._holds(partition.times, known.hashes):
                await self._keep(await asyncio.to_thread(self._again, partition, panel))
            return known
        snapshots, files = await asyncio.to_thread(self._made, partition, panel)
        for table, (_, content) in files.items():
            await self._objects.put(f"{place}-{table}.parquet", content)
        await self._keep(snapshots)
        entry = PartitionEntry(
            name=partition.name,
            id=own_id,
            first_ms=partition.times[0],
            last_ms=partition.times[-1],
            snapshots=len(snapshots),
            edges=sum(len(one.edges.sources) for one in snapshots),
            sha256=hashlib.sha256(b"".join(one.content() for one in snapshots)).hexdigest(),
            hashes=[one.sha256[: graph_manifest.HASH_DIGITS] for one in snapshots],
            files={
                str(table): GraphFile(
                    name=f"{place}-{table}.parquet",
                    rows=rows,
                    size=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                )
                for table, (rows, content) in files.items()
            },
        )
        # Last: where it is, all that it names is there.
        await self._objects.put(f"{place}.json", graph_manifest.encoded(entry))
        return entry

    def _again(self, partition: Partition, panel: Panel) -> list[Snapshot]:
        return [*self._snapshots.series(panel, partition.times)]

    def _made(
        self, partition: Partition, panel: Panel
    ) -> tuple[list[Snapshot], dict[graph_tables.Table, tuple[int, bytes]]]:
        snapshots = [*self._snapshots.series(panel, partition.times)]
        made = graph_tables.tables(self._definition, snapshots)
        return snapshots, {name: (table.num_rows, graph_tables.parquet(table)) for name, table in made.items()}

    async def _known(self, name: str) -> PartitionEntry | None:
        """The part as it was made before; None: it was not, or it cannot be read, and is made again."""
        try:
            text = b"".join([block async for block in self._objects.get(name)])
            return msgspec.json.decode(text, type=PartitionEntry)
        except (NoObject, DamagedObject, msgspec.MsgspecError, UnicodeDecodeError):
            return None
