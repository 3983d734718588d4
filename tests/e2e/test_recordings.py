"""Recorded data of the real exchange, from its files through all of StreamForge and out again, field by field."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import HOUR_MS, MINUTE_MS, Row

STEPS = {"1m": MINUTE_MS, "1h": HOUR_MS}

FILES: dict[str, tuple[str, str, str]] = {
    "klines-vision-csv/spot_BTCUSDT-1m-2020-01-01.zip": ("BTCUSDT", "1m", "2020-01-01"),
    "klines-vision-csv/spot_ETHUSDT-1m-2022-08-14.zip": ("ETHUSDT", "1m", "2022-08-14"),
    "klines-vision-csv/spot_BTCUSDT-1h-2022-09-07.zip": ("BTCUSDT", "1h", "2022-09-07"),
    "klines-vision-csv/spot_BTCUSDT-1m-2025-07-13_us.csv": ("BTCUSDT", "1m", "2025-07-13"),
    "klines-vision-csv/spot_SOLUSDT-1m-2025-07-13_us.csv": ("SOLUSDT", "1m", "2025-07-13"),
    "klines-vision-csv/spot_BTCUSDT-1h-2021-02.csv": ("BTCUSDT", "1h", "2021-02"),
    "klines-vision-csv/spot_BTCUSDT-1h-2021-03.csv": ("BTCUSDT", "1h", "2021-03"),
    "klines-vision-csv/spot_BTCUSDT-1h-2021-12.csv": ("BTCUSDT", "1h", "2021-12"),
    "klines-vision-csv/spot_ADABTC-1m-2021-11-27_first10rows.csv": ("ADABTC", "1m", "2021-11-27"),
    "klines-rest-json/spot_BTCUSDT-1h_2020-04-30T21_2020-06-11T12_page1.json": (
        "BTCUSDT",
        "1h",
        "2020-04-30T21:00Z:2020-06-11T13:00Z",
    ),
    "klines-rest-json/spot_BTCUSDT-1h_2020-06-11T13_2020-07-01T03_page2_gap.json": (
        "BTCUSDT",
        "1h",
        "2020-06-11T13:00Z:2020-07-01T04:00Z",
    ),
    "klines-rest-json/spot_BTCUSDT-1m_2020-05-06T0442_2020-05-06T0541.json": (
        "BTCUSDT",
        "1m",
        "2020-05-06T04:42Z:2020-05-06T05:42Z",
    ),
    "klines-rest-json/spot_BTCUSDT-1m_2021-10-22_nautilus.json": (
        "BTCUSDT",
        "1m",
        "2021-10-22T23:03Z:2021-10-22T23:13Z",
    ),
}
HOLES = {
    "2021-02": [("2021-02-11T04:00:00Z", "2021-02-11T05:00:00Z")],
    "2021-03": [("2021-03-06T02:00:00Z", "2021-03-06T03:00:00Z")],
    "2020-06-11T13:00Z:2020-07-01T04:00Z": [("2020-06-28T02:00:00Z", "2020-06-28T05:00:00Z")],
    "2021-11-27": [("2021-11-27T00:10:00Z", "2021-11-28T00:00:00Z")],
}
"""What the recordings lack, by time range, as their index says."""


def read(path: Path) -> list[Row]:
    """The rows of a recording, times in milliseconds; written without the code under test."""
    if path.suffix == ".json":
        return [list(row) for row in json.loads(path.read_text())]
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


@pytest.fixture(scope="module")
def replaying(market_data: Path) -> Iterator[rig.Exchange]:
    with rig.exchange("--replay", str(market_data)) as found:
        yield found


@pytest.fixture(scope="module")
def workflows(replaying: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, rig.Json]]:
    """Each file's range loaded, all at once; by file: the workflow with its export and coverage."""
    with rig.manager(tmp_path_factory.mktemp("recordings") / "data", replaying.url) as manager:
        started = {
            name: manager.start_load(symbol, f"api_candles_{interval}", span)["queue_id"]
            for name, (symbol, interval, span) in FILES.items()
        }
        found = {}
        for name, queue_id in started.items():
            workflow = manager.wait(queue_id)
            assert workflow["status"] == "finished", manager.story(queue_id)
            span = FILES[name][2]
            workflow["csv"] = manager.csv(workflow["collection"], span)
            workflow["segments"] = manager.coverage(queue_id)
            found[name] = workflow
        yield found


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_every_row_comes_out_as_it_stands_in_the_file(
    name: str, market_data: Path, workflows: dict[str, rig.Json]
) -> None:
    symbol, interval, _ = FILES[name]
    rows = read(market_data / name)
    assert workflows[name]["csv"] == rig.expected_csv(symbol, interval, rows)


@pytest.mark.parametrize("name", FILES)
def test_the_coverage_names_exactly_the_bars_that_the_exchange_never_had(
    name: str, market_data: Path, workflows: dict[str, rig.Json]
) -> None:
    _, interval, span = FILES[name]
    workflow = workflows[name]
    segments = workflow["segments"]
    holes = [(s["start"], s["end"]) for s in segments if s["verdict"] != "stored"]
    assert holes == HOLES.get(span, [])
    assert {s["verdict"] for s in segments} <= {"stored", "exchange"}
    assert all(before["end_ms"] == after["start_ms"] for before, after in pairwise(segments))
    rows = read(market_data / name)
    opens = {int(row[0]) for row in rows}
    for start, end in holes:
        bars = range(_ms(start), _ms(end), STEPS[interval])
        assert not opens & set(bars)
        assert {bars[0] - STEPS[interval]} <= opens
    assert workflow["failure"] is None
    assert workflow["coverage"]["complete"] is True
    assert workflow["repairs"] == 0
    assert workflow["progress"]["records_stored"] == len(rows)
    assert workflow["progress"]["records_expected"] == len(rows) + sum(
        (_ms(end) - _ms(start)) // STEPS[interval] for start, end in holes
    )


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1000
