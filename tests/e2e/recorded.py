"""The recorded candles of the exchange: every file, with its range and the bars that it lacks."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests import places
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
def recordings() -> dict[str, Recording]:
    """Each file with its rows."""
    return {name: _recording(name) for name in files()}


def sample() -> dict[str, Recording]:
    """Of each interval the largest file without holes and the largest with some."""
    chosen: dict[tuple[str, bool], Recording] = {}
    for one in recordings().values():
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
