"""Recorded data of the real exchange, from its files through all of StreamForge and out again, field by field."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import places
from tests.e2e import rig
from tests.e2e.rig import HOUR_MS, MINUTE_MS, Row

STEPS = {"1m": MINUTE_MS, "1h": HOUR_MS}
Hole = tuple[int, int]
"""Half-open, unix ms."""

_NAME = re.compile(r"spot_(?P<symbol>[A-Z0-9]+)-(?P<interval>[0-9]+[a-zA-Z])[-_](?P<day>\d{4}-\d\d(-\d\d)?)")


class Recording(NamedTuple):
    """A file of one series. start_ms, end_ms: the range asked for. holes: the bars of it that the file lacks."""

    name: str
    symbol: str
    interval: str
    start_ms: int
    end_ms: int
    rows: list[Row]
    holes: list[Hole]

    @property
    def span(self) -> str:
        """The range asked for, as a request writes it."""
        return ":".join(
            f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%MZ}" for ms in (self.start_ms, self.end_ms)
        )


def folder() -> Path:
    """Where the recordings are, present or not."""
    return Path(os.environ.get("STREAMFORGE_MARKET_DATA") or places.SHARED / "market-data")


def files() -> list[str]:
    """The files of spot candles that lie there, by their names below the folder; none where it is absent."""
    return sorted(
        str(path.relative_to(folder()))
        for path in folder().glob("klines-*/*")
        if path.suffix != ".CHECKSUM" and "futures" not in path.name
    )


@cache
def all_recordings() -> dict[str, Recording]:
    """Each file with its rows."""
    return {name: _recording(name) for name in files()}


def sample() -> dict[str, Recording]:
    """Of each interval the largest file without holes and the largest with some."""
    chosen: dict[tuple[str, bool], Recording] = {}
    for one in all_recordings().values():
        kind = (one.interval, bool(one.holes))
        if kind not in chosen or len(one.rows) > len(chosen[kind].rows):
            chosen[kind] = one
    return {one.name: one for one in chosen.values()}


def _read(name: str) -> list[Row]:
    """The rows of a recording, read by the standard library alone; times in ms."""
    path = folder() / name
    if path.suffix == ".json":
        found: list[Row] = json.loads(path.read_text())
        return found
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode()
    else:
        text = path.read_text()
    rows: list[Row] = []
    for cells in csv.reader(io.StringIO(text)):
        row: Row = list(cells)
        for place in (0, 6):
            row[place] = int(cells[place]) // (1000 if len(cells[place]) == 16 else 1)
        rows.append(row)
    return rows


def _recording(name: str) -> Recording:
    named = _NAME.search(name)
    assert named, f"{name} is not named spot_SYMBOL-INTERVAL-DATE"
    step, rows = STEPS[named["interval"]], _read(name)
    opens = [int(row[0]) for row in rows]
    start_ms, end_ms = opens[0], opens[-1] + step
    if "vision" in name:
        # A file of the archive is a day or a month: all of it is asked for, and what the file does not reach is a hole.
        start_ms, end_ms = _period(named["day"])
        assert start_ms <= opens[0] < opens[-1] < end_ms, f"{name} goes beyond its date"
    holes, due_ms = [], start_ms
    for opened in (*opens, end_ms):
        if opened > due_ms:
            holes.append((due_ms, opened))
        due_ms = opened + step
    return Recording(name, named["symbol"], named["interval"], start_ms, end_ms, rows, holes)


def _period(day: str) -> tuple[int, int]:
    if len(day) == len("2021-02-01"):
        start = datetime.fromisoformat(day)
        end = start + timedelta(days=1)
    else:
        start = datetime.fromisoformat(f"{day}-01")
        end = (start + timedelta(days=31)).replace(day=1)
    return _ms(str(start)), _ms(str(end))


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


FILES = files() or ["(no recordings)"]
"""Every file; one that is added is tested without a line here. Without any the fixture names the missing folder."""


@pytest.fixture(scope="module")
def recordings(market_data: Path, request: pytest.FixtureRequest) -> dict[str, Recording]:
    """All of them; only a sample where the tests run once more on another bus or store."""
    assert market_data == folder()
    return all_recordings() if request.module.__name__ == __name__ else sample()


def is_sampled(item: pytest.Function) -> bool:
    """Whether it is about a file of the sample."""
    return "name" in item.fixturenames and (not files() or item.callspec.params["name"] in sample())


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
