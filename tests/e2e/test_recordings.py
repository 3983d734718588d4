"""Recorded data of the real exchange, from its files through all of StreamForge and out again, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e import recorded, rig
from tests.e2e.recorded import STEPS, Recording

FILES = recorded.files() or ["(no recordings)"]
"""Every file that lies there; a file that is added is tested without a line here. Without any the fixture speaks."""


@pytest.fixture(scope="module")
def recordings(market_data: Path) -> dict[str, Recording]:
    assert market_data == recorded.folder()
    return recorded.indexed()


@pytest.fixture(scope="module")
def replaying(market_data: Path) -> Iterator[rig.Exchange]:
    with rig.exchange("--replay", str(market_data)) as found:
        yield found


@pytest.fixture(scope="module")
def workflows(
    replaying: rig.Exchange, recordings: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, rig.Json]]:
    """Each file's range loaded, all at once; by file: the workflow with its export and coverage."""
    with rig.manager(tmp_path_factory.mktemp("recordings") / "data", replaying.url) as manager:
        started = {
            name: manager.start_load(one.symbol, f"api_candles_{one.interval}", one.span)["queue_id"]
            for name, one in recordings.items()
        }
        found = {}
        for name, queue_id in started.items():
            workflow = manager.wait(queue_id)
            assert workflow["status"] == "finished", manager.story(queue_id)
            workflow["csv"] = manager.csv(workflow["collection"], recordings[name].span)
            workflow["segments"] = manager.coverage(queue_id)
            found[name] = workflow
        yield found


def test_every_file_is_in_the_index_and_the_other_way_round(recordings: dict[str, Recording]) -> None:
    assert sorted(recordings) == FILES
    kinds = {(one.interval, Path(name).suffix) for name, one in recordings.items()}
    assert {("1m", ".zip"), ("1m", ".csv"), ("1h", ".zip"), ("1h", ".csv"), ("1h", ".json")} <= kinds
    assert any(one.holes and one.interval == "1h" for one in recordings.values()), "a month with missing bars"
    assert any(name.endswith("_us.csv") for name in recordings), "a file in microseconds"


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_every_row_comes_out_as_it_stands_in_the_file(
    name: str, recordings: dict[str, Recording], workflows: dict[str, rig.Json]
) -> None:
    one = recordings[name]
    rows = recorded.read(name)
    assert len(rows) == one.rows
    assert workflows[name]["csv"] == rig.expected_csv(one.symbol, one.interval, rows)


@pytest.mark.parametrize("name", FILES)
def test_the_coverage_names_exactly_the_bars_that_the_exchange_never_had(
    name: str, recordings: dict[str, Recording], workflows: dict[str, rig.Json]
) -> None:
    one, workflow = recordings[name], workflows[name]
    segments, step = workflow["segments"], STEPS[one.interval]
    assert [(s["start_ms"], s["end_ms"]) for s in segments if s["verdict"] != "stored"] == one.holes
    assert {s["verdict"] for s in segments} <= {"stored", "exchange"}
    assert (segments[0]["start_ms"], segments[-1]["end_ms"]) == (one.start_ms, one.end_ms)
    assert all(before["end_ms"] == after["start_ms"] for before, after in pairwise(segments))
    # The index is not believed either: the file has none of these bars, and all the others.
    missing = {bar for start, end in one.holes for bar in range(start, end, step)}
    assert {int(row[0]) for row in recorded.read(name)} == set(range(one.start_ms, one.end_ms, step)) - missing
    assert workflow["failure"] is None
    assert workflow["coverage"]["complete"] is True
    assert workflow["repairs"] == 0
    assert workflow["progress"]["records_stored"] == one.rows
    assert workflow["progress"]["records_expected"] == (one.end_ms - one.start_ms) // step
