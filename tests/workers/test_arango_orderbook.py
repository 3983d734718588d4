"""The sink of order books: segments whole or not at all, offsets behind them, dead letters."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.workers import arango_orderbook
from streamforge_utils.model.books.records import Depth
from streamforge_utils.model.books.segments import MANIFEST
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.messages import Progress, progress_of
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime.sink import book_sink
from tests.exchange.conftest import NOW
from tests.limits import LIMIT_S
from tests.runtime.rig import DLQ, TOPIC
from tests.workers.test_orderbook import BookRig


def _diff(number: int) -> Message:
    """The diff of the updates 10 n + 1 to 10 n + 10."""
    key = f"BTCUSDT_{10 * number + 10:012}"
    record = Depth(
        key=key,
        version=NOW + number,
        symbol="BTCUSDT",
        first_update_id=10 * number + 1,
        last_update_id=10 * number + 10,
        event_time=NOW + 100 * number,
        received_time=(NOW + 100 * number) * 1000,
        connection=1,
        bids=[(f"{number + 1}.00000000", "1.00000000")],
        asks=[],
    )
    return Message(key.encode(), msgspec.json.encode(record))


class SinkRig(BookRig):
    """A sink alone. put: names of what was put. kill_at: the put at which it is killed, and whether after it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, type("Nowhere", (), {"url": "http://127.0.0.1:9"}))
        self.environment |= {
            "STREAMFORGE_UPSTREAM": "loader-ws-orderbook__abc123:1",
            "STREAMFORGE_SEGMENT_BYTES": "1500",
        }
        self.put: list[str] = []
        self.closed = asyncio.Event()
        self.kill_at: tuple[int, bool] | None = None

    def make_object_store(self, settings: Any, data: Any) -> Any:
        return _Objects(self)

    async def until_position(self, offset: int) -> Progress:
        """What the sink tells once it has stored what lies at the offset."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                told = [one for one in map(progress_of, await self.events()) if one.position == offset]
                if told:
                    return told[-1]
                await asyncio.sleep(0.02)


class _Objects:
    """The folder, until the rig wants the attempt dead."""

    def __init__(self, rig: SinkRig) -> None:
        self._rig = rig
        self._dead = False
        self.delete, self.get, self.list = rig.objects.delete, rig.objects.get, rig.objects.list

    async def put(self, name: str, content: bytes) -> Any:
        rig = self._rig
        dies = rig.kill_at is not None and rig.kill_at[0] == len(rig.put)
        self._dead = self._dead or (dies and rig.kill_at is not None and not rig.kill_at[1])
        if self._dead:
            raise PermanentError("killed")
        found = await rig.objects.put(name, content)
        rig.put.append(name)
        if name.endswith(MANIFEST):
            rig.closed.set()
        if dies:
            self._dead = True
            raise PermanentError("killed")
        return found

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(6))
async def test_a_killed_sink_leaves_no_half_segment_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    monkeypatch.setattr(book_sink, "PART_RECORDS", 3)
    rig = SinkRig(tmp_path)
    await rig.prepare()
    rig.kill_at = (at, after)
    for first in range(0, 20, 4):
        await rig.send(TOPIC, [_diff(number) for number in range(first, first + 4)])
    await rig.close_stream(producer="loader-ws-orderbook__abc123")
    assert await rig.live(arango_orderbook.DEFINITION) == 1
    rig.kill_at = None
    rig.environment["STREAMFORGE_SEGMENT_BYTES"] = "2500"  # the next one closes them elsewhere
    assert await rig.live(arango_orderbook.DEFINITION) == 0
    assert [one.first_id for one in await rig.diffs()] == [10 * number + 1 for number in range(20)]
    await rig.close()


@pytest.mark.e2e
@pytest.mark.parametrize("killed", [False, True])
async def test_a_late_diff_does_not_replace_the_segment_that_begins_with_its_update(
    tmp_path: Path, killed: bool
) -> None:
    rig = SinkRig(tmp_path)
    rig.environment |= {"STREAMFORGE_SEGMENT_BYTES": "100000", "STREAMFORGE_SEGMENT_SECONDS": "0.2"}
    await rig.prepare()
    await rig.send(TOPIC, [_diff(number) for number in range(3, 6)])
    running = asyncio.create_task(rig.live(arango_orderbook.DEFINITION))
    await rig.closed.wait()
    rig.kill_at = (3, True) if killed else None
    late = msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(_diff(3).value, type=Depth), connection=2))
    await rig.send(TOPIC, [Message(_diff(3).key, late)])
    if killed:  # its segment is put and not committed
        assert await running == 1
        rig.kill_at = None
        rig.environment["STREAMFORGE_SEGMENT_SECONDS"] = "1000"
        await rig.send(TOPIC, [_diff(6)])
    await rig.close_stream(producer="loader-ws-orderbook__abc123")
    assert (await rig.live(arango_orderbook.DEFINITION) if killed else await running) == 0
    behind = [31, 61] if killed else [31]
    assert [one.first_id for one in await rig.diffs()] == [31, 41, 51, *behind]
    assert {one.removesuffix(MANIFEST) for one in rig.put if one.endswith(MANIFEST)} == {
        "depth/BTCUSDT/000000000031",
        "depth/BTCUSDT/000000000031_1",
    }
    await rig.close()


async def test_offsets_are_committed_once_the_segment_is_put(tmp_path: Path) -> None:
    rig = SinkRig(tmp_path)
    rig.environment |= {"STREAMFORGE_SEGMENT_BYTES": "100000", "STREAMFORGE_SEGMENT_SECONDS": "1000"}
    await rig.prepare()
    await rig.send(TOPIC, [_diff(number) for number in range(20)])
    group = f"{rig.environment['QUEUE_ID']}-arango-orderbook"
    running = asyncio.create_task(rig.live(arango_orderbook.DEFINITION))
    told = await rig.until_position(19)
    assert told.held == 20
    assert (await rig.seen.lag(TOPIC, group)).records == 20
    assert rig.put == []
    await rig.close_stream(producer="loader-ws-orderbook__abc123")
    assert await running == 0
    assert (await rig.seen.lag(TOPIC, group)).records == 1  # the marker
    assert len(await rig.diffs()) == 20
    assert progress_of((await rig.events())[-1]).held == 0
    await rig.close()


@pytest.mark.e2e
async def test_a_segment_is_closed_by_its_age(tmp_path: Path) -> None:
    rig = SinkRig(tmp_path)
    rig.environment |= {"STREAMFORGE_SEGMENT_BYTES": "100000", "STREAMFORGE_SEGMENT_SECONDS": "0.5"}
    await rig.prepare()
    await rig.send(TOPIC, [_diff(number) for number in range(5)])
    running = asyncio.create_task(rig.live(arango_orderbook.DEFINITION))
    await rig.closed.wait()
    assert len(await rig.diffs()) == 5
    await rig.close_stream(producer="loader-ws-orderbook__abc123")
    assert await running == 0
    await rig.close()


async def test_diffs_are_stored_where_wanted_and_what_is_none_becomes_a_dead_letter(tmp_path: Path) -> None:
    rig = SinkRig(tmp_path)
    rig.environment["STREAMFORGE_STORE_DIFFS"] = "true"
    await rig.prepare()
    wrong = _diff(3).value.replace(b'"4.00000000"', b'"0.00000000"')
    bad = [Message(_diff(3).key, wrong), Message(b"BTCUSDT_interval_000000000001", b"{}"), Message(b"what", b"ever")]
    await rig.send(TOPIC, [_diff(1), *bad, _diff(2)])
    await rig.close_stream(producer="loader-ws-orderbook__abc123")
    assert await rig.live(arango_orderbook.DEFINITION) == 0
    assert [one.last_update_id for one in await rig.documents("depth")] == [20, 30]
    assert [one.last_id for one in await rig.diffs()] == [20, 30]
    assert [one.value for one in await rig.read(DLQ)] == [one.value for one in bad]
    await rig.close()
