"""Recorded data of the real exchange, from its files through all of StreamForge and out again, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e import recorded, rig
from tests.e2e.recorded import STEPS, Recording

FILES = recorded.files() or ["(no recordings)"]
"""Every file; one that is added is tested without a line here. Without any the fixture names the missing folder."""


@pytest.fixture(scope="module")
def recordings(market_data: Path, request: pytest.FixtureRequest) -> dict[str, Recording]:
    """All of them; only a sample where the tests run once more on another bus or store."""
    assert market_data == recorded.folder()
    return recorded.recordings() if request.module.__name__ == __name__ else recorded.sample()


def is_sampled(item: pytest.Function) -> bool:
    """Whether it is about a file of the sample."""
    return "name" in item.fixturenames and (not recorded.files() or item.callspec.params["name"] in recorded.sample())


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
            workflow = manager.finished(queue_id)
            workflow["csv"] = manager.csv(workflow["collection"], recordings[name].span)
            workflow["segments"] = manager.coverage(queue_id)
            found[name] = workflow
        yield found


def test_the_recordings_are_of_every_sort(recordings: dict[str, Recording]) -> None:
    kinds = {(one.interval, Path(name).suffix) for name, one in recordings.items()}
    assert {("1m", ".zip"), ("1m", ".csv"), ("1h", ".zip"), ("1h", ".csv"), ("1h", ".json")} <= kinds
    assert any(one.holes and one.interval == "1h" for one in recordings.values()), "a month with missing bars"
    assert any(name.endswith("_us.csv") for name in recordings), "a file in microseconds"


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_every_row_comes_out_as_it_stands_in_the_file(
    name: str, recordings: dict[str, Recording], workflows: dict[str, rig.Json]
) -> None:
    one = recordings[name]
    assert workflows[name]["csv"] == rig.expected_csv(one.symbol, one.interval, one.rows)


@pytest.mark.parametrize("name", FILES)
def test_the_coverage_names_exactly_the_bars_that_the_exchange_never_had(
    name: str, recordings: dict[str, Recording], workflows: dict[str, rig.Json]
) -> None:
    one, workflow = recordings[name], workflows[name]
    segments = workflow["segments"]
    assert [(s["start_ms"], s["end_ms"]) for s in segments if s["verdict"] != "stored"] == one.holes
    assert {s["verdict"] for s in segments} <= {"stored", "exchange"}
    assert (segments[0]["start_ms"], segments[-1]["end_ms"]) == (one.start_ms, one.end_ms)
    assert all(before["end_ms"] == after["start_ms"] for before, after in pairwise(segments))
    assert (workflow["failure"], workflow["coverage"]["complete"], workflow["repairs"]) == (None, True, 0)
    assert workflow["progress"]["records_stored"] == len(one.rows)
    assert workflow["progress"]["records_expected"] == (one.end_ms - one.start_ms) // STEPS[one.interval]
