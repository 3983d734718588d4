"""What a load would take, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge.manager.forecaster import ARANGODB, EMBEDDED
from streamforge.manager.note_codes import Note
from streamforge.manager.plan_answers import warnings_of
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflow_service import WorkflowService
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.candles import KIND, Interval
from streamforge_utils.ports.store import Usage
from streamforge_utils.runtime.life.settings import SampledFiles
from tests.doubles.manualclock import ManualClock
from tests.doubles.memoryarchive import ROW_BYTES, TARGET, MemoryArchive, published, with_files
from tests.doubles.scriptedexchange import ScriptedExchange
from tests.manager.execution.world import SERIES, hold, stored
from tests.manager.support import DAY_MS, DAY_START, LOADER, MINUTE_MS, NOW, SINK, World, replace

OPENS = range(DAY_START, DAY_START + 9 * DAY_MS, MINUTE_MS)
REQUEST = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01:2024-08-10")


@pytest.fixture(autouse=True)
def _files() -> Iterator[None]:
    with with_files(SERIES):
        yield


async def a_world(folder: Path | None = None) -> World:
    world = World(
        clock=ManualClock(NOW),
        exchange=ScriptedExchange(Interval.M1, OPENS, now_ms=NOW),
        archive=MemoryArchive([published(f"2024-08-{day:02}") for day in range(1, 8)]),
        folder=folder,
    )
    await world.start()
    return world


async def test_the_parts_with_their_requests_and_downloads_and_nothing_is_stored(tmp_path: Path) -> None:
    world = await a_world(tmp_path)
    await world.deps.coverage.lay_over(SERIES, [stored(0, 1440)])
    hold(world.store, *OPENS[:1440])
    states = dict(world.store.states)
    told = await world.manager.forecaster.of(REQUEST)
    assert [(part.source, part.records, part.requests, part.weight, part.download_bytes) for part in told.parts] == [
        ("archive", 6 * 1440, 1, 2, 6 * 1440 * ROW_BYTES),
        ("rest", 2 * 1440, 3, 6, 0),
    ]
    assert (told.records_expected, told.records_there) == (8 * 1440, 1440)
    assert (told.requests, told.weight, told.download_bytes) == (4, 8, 6 * 1440 * ROW_BYTES)
    assert sorted(told.targets) == sorted([LOADER, SINK, TARGET])
    assert told.store_bytes == 8 * 1440 * EMBEDDED.record_bytes(KIND)
    assert told.free_bytes is not None
    assert told.licence_left_bytes is None
    assert told.seconds == pytest.approx(2.2, abs=0.05), "four requests at 20 a second, and two seconds to begin"
    assert "4 requests at 20 a second" in told.estimate
    assert told.estimate_codes == [Note("limited-by-requests", {"requests": 4, "rate": 20, "begin_s": 2})]
    assert (world.store.states, world.launcher.started, world.bus.messages("queue-control")) == (states, [], [])
    assert not world.deps.workflows.live
    await world.die()


async def test_requests_that_compare_files_are_counted_once_for_all_parts() -> None:
    world = await a_world()
    await world.deps.coverage.lay_over(SERIES, [stored(3 * 1440, 4 * 1440)])
    hold(world.store, *OPENS[3 * 1440 : 4 * 1440])
    asked = replace(REQUEST, time_range="2024-08-01:2024-08-08", source=SourceChoice.ARCHIVE)
    told = await world.manager.forecaster.of(asked)
    assert [(part.source, part.requests, part.weight) for part in told.parts] == [("archive", 1, 2), ("archive", 0, 0)]
    await world.die()


async def test_requests_that_compare_files_follow_the_setting() -> None:
    world = await a_world()
    week: dict[SampledFiles, int] = {"none": 0, "some": 1, "all": 15}
    for which, requests in week.items():
        service = WorkflowService(replace(world.deps, archive_samples=which), world.reconciler, lambda: "abc123")
        told = await service.forecaster.of(replace(REQUEST, time_range="2024-08-01:2024-08-08"))
        assert ([part.source for part in told.parts], told.requests) == (["archive"], requests)
        assert told.weight == 2 * requests
    await world.die()


async def test_a_load_of_what_is_there_takes_nothing() -> None:
    world = await a_world()
    await world.deps.coverage.lay_over(SERIES, [stored(0, 9 * 1440)])
    told = await world.manager.forecaster.of(replace(REQUEST, time_range="2024-08-01:2024-08-08"))
    assert (told.parts, told.seconds, told.store_bytes, told.records_there) == ([], 0.0, 0, 7 * 1440)
    assert told.estimate_codes == [Note("nothing-to-load")]
    await world.die()


async def test_what_no_source_has_is_named_with_the_cause() -> None:
    world = await a_world()
    told = await world.manager.forecaster.of(replace(REQUEST, source=SourceChoice.ARCHIVE))
    assert told.targets == [SINK, TARGET]
    assert [(gap.start, gap.cause) for gap in told.unknown] == [
        ("2024-08-08T00:00:00Z", "it was wanted from files alone: no file of 2024-08-08 to 2024-08-09 yet")
    ]
    await world.die()


async def test_the_limit_of_a_licence_is_counted_down(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()

    async def usage() -> Usage:
        return Usage(used_bytes=107_374_182_400 - 1_000_000, limit_bytes=107_374_182_400)

    monkeypatch.setattr(world.store, "usage", usage)
    told = await world.manager.forecaster.of(REQUEST)
    assert (told.free_bytes, told.licence_left_bytes) == (None, 1_000_000)
    assert told.store_bytes == 9 * 1440 * ARANGODB.record_bytes(KIND)
    (warning,), (code,) = told.warnings, told.warning_codes
    assert warning.startswith("it does not fit into what the store's licence leaves: ")
    assert (code.code, code.values["left_bytes"]) == ("licence-too-small", 1_000_000)
    await world.die()


@pytest.mark.parametrize(
    ("free", "left", "words", "code", "values"),
    [
        (
            149,
            None,
            "it does not fit: the records take 100 B and the files 50 B, and the disk has 149 B left",
            "disk-too-small",
            {"store_bytes": 100, "download_bytes": 50, "free_bytes": 149},
        ),
        (
            None,
            124,
            "it takes most of what the store's licence leaves: 100 B of 124 B",
            "licence-nearly-full",
            {"store_bytes": 100, "left_bytes": 124},
        ),
        (
            None,
            99,
            "it does not fit into what the store's licence leaves: 100 B of 99 B",
            "licence-too-small",
            {"store_bytes": 100, "left_bytes": 99},
        ),
    ],
)
def test_what_does_not_fit_is_warned_of(
    free: int | None, left: int | None, words: str, code: str, values: dict[str, int | str]
) -> None:
    assert warnings_of(100, 50, free, left) == [(words, Note(code, values))]
    assert warnings_of(100, 50, free and free + 1, left and 125) == []


async def test_what_cannot_be_loaded_is_refused_as_its_start_would_be() -> None:
    world = await a_world()
    with pytest.raises(InvalidInput, match="NOSUCH"):
        await world.manager.forecaster.of(replace(REQUEST, symbol="NOSUCH"))
    assert isinstance(world.exchange, ScriptedExchange)
    world.exchange.failing = RetryableError("no route")
    with pytest.raises(RetryableError, match="no route"):
        await world.manager.forecaster.of(REQUEST)
    await world.die()
