"""What is recorded of the exchange's candles: every file that lies there, with what its index says of it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tests import places
from tests.e2e.rig import HOUR_MS, MINUTE_MS, Row

STEPS = {"1m": MINUTE_MS, "1h": HOUR_MS}
Hole = tuple[int, int]
"""Half-open, unix ms."""

_NAME = re.compile(r"spot_(?P<symbol>[A-Z0-9]+)-(?P<interval>[0-9]+[a-zA-Z])[-_](?P<day>\d{4}-\d\d(-\d\d)?)")
_TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
_SPAN = re.compile(f"{_TIME} to {_TIME}")
_GAP = re.compile(rf"(\d+) bar\(s\) missing {_TIME} to {_TIME}")


class Recording(NamedTuple):
    """A file of one series. start_ms, end_ms: what is asked for. holes: the bars of it that the file lacks."""

    name: str
    symbol: str
    interval: str
    start_ms: int
    end_ms: int
    rows: int
    holes: list[Hole]

    @property
    def span(self) -> str:
        """What is asked for, as a request writes it."""
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


def indexed() -> dict[str, Recording]:
    """The files of spot candles that the index names."""
    found = {}
    for line in (folder() / "INDEX.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `klines-") and "CHECKSUM" not in cells[1] and "futures" not in cells[0]:
            recording = _recording(cells[0].strip("`"), int(cells[3]), cells[4], cells[5])
            found[recording.name] = recording
    return found


def read(name: str) -> list[Row]:
    """The rows of a recording, read by nobody's code but the standard library's; times in ms."""
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


def _recording(name: str, rows: int, opens: str, gaps: str) -> Recording:
    named = _NAME.search(name)
    times = _SPAN.search(opens)
    assert named, f"{name} is not named spot_SYMBOL-INTERVAL-DATE"
    assert times, f"the index says of {name}: {opens}"
    step = STEPS[named["interval"]]
    start_ms, end_ms = _ms(times[1]), _ms(times[2]) + step
    missing = [(_ms(first), _ms(last) + step, int(bars)) for bars, first, last in _GAP.findall(gaps)]
    assert (gaps == "none") == (not missing), f"the index says of {name}: {gaps}"
    assert all((end - start) // step == bars for start, end, bars in missing), f"the index says of {name}: {gaps}"
    holes = [(start, end) for start, end, _ in missing]
    if "vision" in name:
        # A file of the archive is a day or a month: all of it is asked for, and what the file does not reach is a hole.
        period_start, period_end = _period(named["day"])
        assert period_start <= start_ms < end_ms <= period_end, f"the index says of {name}: {opens}"
        holes = [*([(period_start, start_ms)] if period_start < start_ms else []), *holes]
        holes += [(end_ms, period_end)] if end_ms < period_end else []
        start_ms, end_ms = period_start, period_end
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
