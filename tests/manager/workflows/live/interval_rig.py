"""What a loader and a sink of an order book leave in the store: diffs of one update each, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamforge.manager.engine.document import Workflow
from streamforge.manager.workflows.live.interval_comparison import comparison_of
from streamforge.manager.workflows.live.model import Ledger, ledger_of
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.books.records import Depth, interval_record
from streamforge_utils.model.books.segments import CONTENT, MANIFEST, OpenSegment
from streamforge_utils.model.books.trust import BookInterval, BookLedger, Standing, Trust
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.model.messages import Live, Progress
from streamforge_utils.model.series import Series
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Document, Store
from streamforge_utils.runtime.life.worker_definition import Role, Source
from tests.doubles.manualclock import ManualClock
from tests.manager.support import World, changed, decide_running, replace, with_attempt

C = "books"
SERIES = Series("BTCUSDT", "depth")
STREAM = 1_722_556_700_000
VERIFIED = Standing(Trust.VERIFIED, "", 1)
AWAITING = Standing(Trust.UNVERIFIABLE, "awaiting snapshot")
SUSPECTED = Standing(Trust.SUSPECT, "sequence gap")


def at(number: int) -> int:
    """When an update happens, unix milliseconds."""
    return STREAM + 100 * number


class BookRecords:
    """The records of one symbol in a collection, or in one for each day, and in segments in `objects`.

    held: diffs that are on the topic, and not in a segment yet, by id. told: all entries by first id.
    """

    def __init__(self, store: Store, placement: Placement, objects: ObjectStore | None = None) -> None:
        self.store, self.placement, self.objects = store, placement, objects
        self.ledger = BookLedger()
        self.ledger.standing = VERIFIED
        self.held: dict[int, bytes] = {}
        self.told: dict[int, BookInterval] = {}
        self._version = 0
        self._backed = 0

    async def hear(self, *ids: int, told: bool = True, backed: bool = True) -> None:
        """The loader gets diffs, and tells of them; the sink stores what it tells, and holds the diffs."""
        for number in ids:
            self.ledger.add(number, number, at(number))
            self.held[number] = _diff(number)
            goes_on = self.ledger.open()
            if backed and goes_on is not None and not goes_on.doubt and self._backed < goes_on.first_id:
                await self.back(number)
        if told:
            await self.tell()

    async def back(self, number: int) -> None:
        """A whole book and its best levels are stored."""
        self._backed = number
        for name, position in (("depth_checkpoint", number), ("depth_top", at(number))):
            record = kind_named(name).imitation(SERIES, position)
            await self._put(name, msgspec.structs.replace(record, timestamp=at(number)))

    async def tell(self) -> None:
        """The entries of what ended, and of what goes on, are stored."""
        goes_on = self.ledger.open()
        for one in [*self.ledger.take(), *([] if goes_on is None else [goes_on])]:
            self._version += 1
            self.told[one.first_id] = one
            await self._put("depth_interval", interval_record(one, "BTCUSDT", self._version))

    async def end(self, cause: str) -> None:
        """The chain ends, and the loader tells why."""
        self.ledger.begin(cause)
        await self.tell()

    async def restart(self) -> None:
        """The loader is killed, and another one begins, which closes nothing: it finds no topic."""
        self.ledger = BookLedger()
        self.ledger.standing = VERIFIED

    async def keep(self, *lost: int) -> None:
        """What is held becomes a segment, or goes to the collection where there are none, but for some diffs."""
        kept = [one for number, one in self.held.items() if number not in lost]
        self.held = {}
        if self.objects is None:
            for one in kept:
                await self._put("depth", msgspec.json.decode(one, type=Depth))
            return
        segment = OpenSegment("BTCUSDT")
        for one in kept:
            segment.add(one)
        if kept:
            name, content, manifest = segment.close()
            await self.objects.put(name + CONTENT, content)
            await self.objects.put(name + MANIFEST, msgspec.json.encode(manifest))

    async def replay(self, *ids: int) -> None:
        """Dead letters are read again: they go to the collection."""
        for number in ids:
            await self._put("depth", msgspec.json.decode(_diff(number), type=Depth))

    async def _put(self, name: str, record: Any) -> None:
        kind = kind_named(name)
        key, version, body = kind.document(record.key.encode(), msgspec.json.encode(record))
        where = self.placement.ledger if kind.is_ledger else self.placement.at(kind.time_of(body))
        (answer,) = await self.store.upsert(where, [Document(key, version, body)])
        assert answer.outcome in ("stored", "unchanged"), answer


def _diff(number: int) -> bytes:
    return msgspec.json.encode(
        Depth(
            key=f"BTCUSDT_{number:012}",
            version=1,
            symbol="BTCUSDT",
            first_update_id=number,
            last_update_id=number,
            event_time=at(number),
            received_time=at(number) * 1000,
            connection=1,
            bids=[("1.00000000", "2.00000000")],
            asks=[],
        )
    )


def shown(segments: Sequence[Segment]) -> list[tuple[int, int, str, str]]:
    """Coverage by updates: the first one in a range, and the first one behind it."""
    return [
        (-(-(one.start_ms - STREAM) // 100), -(-(one.end_ms - STREAM) // 100), one.verdict.value, one.cause)
        for one in segments
    ]


def counted(segments: Sequence[Segment]) -> int:
    return sum(one.records for one in segments if one.verdict is Verdict.STORED)


class Rig:
    """A live workflow of an order book that began to listen at `STREAM`."""

    def __init__(self, world: World, workflow: Workflow, books: BookRecords) -> None:
        self.world, self.workflow, self.books = world, workflow, books
        self.ledger = ledger_of(workflow) or Ledger(stream_ms=STREAM)

    async def step(self, *, close: bool = False, quiet: bool = False) -> list[tuple[int, int, str, str]]:
        comparison = comparison_of(self.world.deps, self.workflow, self.ledger, close=close)
        if close:
            self.ledger, _ = await comparison.closed()
        else:
            await comparison.step()
            if quiet:
                await comparison.quiet()
            self.ledger = comparison.ledger
        assert await comparison.lacking() == []
        return shown(await self.world.deps.coverage.of(loaded_series(self.workflow)))

    def wait(self, seconds: float) -> None:
        assert isinstance(self.world.clock, ManualClock)
        self.world.clock.advance(seconds)

    def heard(self, last_id: int) -> None:
        """The loader has told that it published so much."""
        told = Progress(live=Live(last_id=last_id, frame_age_s=0.1))
        for one in self.workflow.steps:
            self.workflow = with_attempt(self.workflow, one.target, progress=told)


async def a_rig(folder: Path | None = None, *, daily: bool = False) -> Rig:
    world = World(clock=ManualClock(STREAM + 100_000))
    await world.start()
    objects = None if folder is None else ObjectFolder(folder)
    world.deps = replace(world.deps, objects=objects)
    workflow = decide_running()
    for one in workflow.steps:
        workflow = with_attempt(workflow, one.target, started_ms=0, planned_ms=0)
    steps = tuple(replace(s, source=Source.STREAM) if s.role is Role.LOADER else s for s in workflow.steps)
    ledger = Ledger(stream_ms=STREAM)
    workflow = changed(workflow, type="ws_orderbook", endless=True, ledger=ledger, steps=steps)
    workflow = replace(workflow, collection=C, daily=daily)
    await world.deps.workflows.create(workflow)
    return Rig(world, workflow, BookRecords(world.store, workflow.placement, objects))
