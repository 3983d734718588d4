"""streamforge.read: the same values from a folder and from a server, in each kind of frame; holes and mistakes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow
import pytest

import streamforge
from streamforge.manager.exports.records import RecordReader
from streamforge.scripting import frames, stored_series
from streamforge_utils import reading
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import InvalidInput
from tests.cleanenv import environment
from tests.cli.support import COLLECTION, HOUR_MS, MINUTE_MS, START_MS, TYPE, expected, manager, oracle

SIX_HOURS = "2024-08-01:2024-08-01T06:00Z"
SERIES = ("BTCUSDT", TYPE, SIX_HOURS)
Place = dict[str, Any]

AS_ROWS: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "polars": lambda frame: frame.to_dicts(),
    "pandas": lambda frame: frame.to_dict("records"),
    "arrow": lambda frame: frame.to_pylist(),
}
DTYPES: dict[str, Callable[[Any], list[str]]] = {
    "polars": lambda frame: [str(one) for one in frame.dtypes],
    "pandas": lambda frame: [str(one) for one in frame.dtypes],
    "arrow": lambda frame: [str(one) for one in frame.schema.types],
}
EXPECTED_DTYPES = {
    "polars": ("String", "Datetime(time_unit='ms', time_zone='UTC')", "Float64", "Int64"),
    "pandas": ("str", "datetime64[ms, UTC]", "float64", "int64"),
    "arrow": ("string", "timestamp[ms, tz=UTC]", "double", "int64"),
}


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, loaded_data: Path) -> Place:
    """The arguments that name a place with six hours."""
    return {"data": loaded_data} if request.param == "folder" else {"server": request.getfixturevalue("server")}


def moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


@pytest.mark.e2e
@pytest.mark.parametrize("frame", frames.FRAMES)
def test_every_record_comes_as_the_exchange_has_it(place: Place, frame: Any, exchange_url: str) -> None:
    series = streamforge.read(*SERIES, frame=frame, **place)
    rows = expected(oracle(exchange_url, START_MS, START_MS + 6 * HOUR_MS))
    assert len(rows) == 360
    for row in rows:
        row["open_time"], row["close_time"] = moment(row["open_time"]), moment(row["close_time"])
    assert AS_ROWS[frame](series.frame) == rows
    assert (series.complete, series.holes) == (True, [])
    assert (series.symbol, series.type, series.start, series.end) == (
        *("BTCUSDT", TYPE),
        *("2024-08-01T00:00:00Z", "2024-08-01T06:00:00Z"),
    )
    text, instant, number, whole = EXPECTED_DTYPES[frame]
    assert DTYPES[frame](series.frame) == [text, text, instant, *[number] * 5, instant, number, whole, number, number]
    assert repr(series) == (
        f"<BTCUSDT {TYPE} from 2024-08-01T00:00:00Z to 2024-08-01T06:00:00Z: 360 records, complete>"
    )


def test_without_a_range_it_is_all_there_is_and_a_symbol_may_be_small(place: Place) -> None:
    assert len(streamforge.read("btcusdt", TYPE, **place).frame) == 360


def test_a_part_is_cut_at_the_millisecond(place: Place) -> None:
    frame = streamforge.read("BTCUSDT", TYPE, "2024-08-01T01:00:00.001Z:2024-08-01T02:00Z", **place).frame
    times = frame["open_time"].to_list()
    assert (times[0], times[-1], len(times)) == (
        moment(START_MS + 61 * MINUTE_MS),
        moment(START_MS + 119 * MINUTE_MS),
        59,
    )


def test_a_range_with_holes_is_refused_unless_it_is_wanted(place: Place, exchange_url: str) -> None:
    at = {**place, **({"exchange": exchange_url} if "data" in place else {})}
    with pytest.raises(streamforge.IncompleteSeries) as caught:
        streamforge.read("BTCUSDT", TYPE, "2024-08-01T05:00Z:2024-08-01T07:00Z", **place)
    assert str(caught.value) == (
        "BTCUSDT api_candles_1m is not complete: 2024-08-01T06:00Z to 2024-08-01T07:00Z (unknown); load the rest with "
        "streamforge.load('BTCUSDT', 'api_candles_1m', '2024-08-01T06:00Z:2024-08-01T07:00Z'"
        f"{''.join(f', {name}={str(value)!r}' for name, value in at.items())}), or read what there is with "
        "allow_incomplete=True"
    )
    series = streamforge.read("BTCUSDT", TYPE, "2024-08-01T05:00Z:2024-08-01T07:00Z", allow_incomplete=True, **place)
    assert len(series.frame) == 60
    assert not series.complete
    (hole,) = series.holes
    assert (hole.start, hole.end, hole.verdict) == ("2024-08-01T06:00:00Z", "2024-08-01T07:00:00Z", "unknown")
    assert caught.value.coverage == series.coverage


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (("BTC USDT", TYPE, "2024"), {}, "symbol"),
        (("BTCUSDT,ETHUSDT", TYPE, "2024"), {}, "symbol 'BTCUSDT,ETHUSDT' is not one symbol: loop over them"),
        ((["BTCUSDT", "ETHUSDT"], TYPE, "2024"), {}, "is not one symbol: loop over them"),
        (("BTCUSDT", TYPE, ("2024-07", "2024-08")), {}, "time_range .* is no text: write START:END as one"),
        (("BTCUSDT", 1, "2024"), {}, "type 1 is no text"),
        (("BTCUSDT", "api_candle_1m", "2024"), {}, "did you mean api_candles_1m"),
        (("BTCUSDT", TYPE, "2024-13"), {}, "time_range"),
        (("BTCUSDT", TYPE, "2024-02:2024-01"), {}, "time_range"),
        (SERIES, {"frame": "excel"}, "frame 'excel' is not known: choose one of polars, pandas, arrow"),
        (SERIES, {"server": "http://127.0.0.1:1"}, "data and server name two places"),
        (SERIES, {"token": "x"}, "a token is for a server"),
        (SERIES, {"data": ""}, "data is empty"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    arguments: tuple[Any, ...], options: Place, told: str, loaded_data: Path
) -> None:
    with pytest.raises(InvalidInput, match=told):
        streamforge.read(*arguments, **{"data": loaded_data, **options})


def test_a_series_of_which_nothing_is_known_is_told(place: Place) -> None:
    for symbol, told in (("ETHUSDT", "nothing is known of ETHUSDT api_candles_1m"), ("BTCUSDC", "BTCUSDT")):
        with pytest.raises(streamforge.StreamForgeError, match=told):
            streamforge.read(symbol, TYPE, **place)


def test_a_folder_without_data_is_told_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("x")
    for name, told in (
        ("none", "there are no data in .*none: load some first with streamforge.load"),
        ("other", "there are no data in .*other"),
        ("file", "cannot be used"),
    ):
        with pytest.raises(streamforge.StreamForgeError, match=told):
            streamforge.read(*SERIES, data=tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "other"]


def test_reading_a_folder_changes_nothing_in_it(loaded_data: Path) -> None:
    before = {path: path.stat().st_size for path in loaded_data.rglob("*") if not path.name.endswith(("-wal", "-shm"))}
    streamforge.read(*SERIES, data=loaded_data)
    after = {path: path.stat().st_size for path in loaded_data.rglob("*") if not path.name.endswith(("-wal", "-shm"))}
    assert after == before


def test_a_server_that_does_not_answer_is_told() -> None:
    with pytest.raises(streamforge.StreamForgeError, match="Connection refused: does queue-manager run there"):
        streamforge.read(*SERIES, server="http://127.0.0.1:1")


def test_the_place_comes_from_the_environment(loaded_data: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFORGE_DATA_DIR", str(loaded_data))
    assert len(streamforge.read(*SERIES).frame) == 360
    monkeypatch.setenv("STREAMFORGE_DATA_DIR", "/nowhere")
    monkeypatch.setenv("STREAMFORGE_URL", server)
    assert len(streamforge.read(*SERIES).frame) == 360


@pytest.mark.parametrize(("frame", "package"), [("polars", "polars"), ("pandas", "pandas"), ("arrow", "pyarrow")])
def test_a_package_that_is_not_installed_is_told(
    frame: Any, package: str, loaded_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(streamforge.StreamForgeError, match=f"needs {package}, which is not installed.* -m pip install"):
        streamforge.read(*SERIES, data=loaded_data, frame=frame)


async def test_it_works_where_a_loop_runs(place: Place) -> None:
    assert len(streamforge.read(*SERIES, **place).frame) == 360


def test_little_is_in_memory_beside_the_frame(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_series, "CHUNK", 100)
    monkeypatch.setattr("streamforge.manager.exports.records.BATCH", 100)
    sizes = []
    append = frames._Polars.append

    def counted(self: frames._Polars, columns: dict[str, list[Any]]) -> None:
        sizes.append(len(columns["open_time"]))
        append(self, columns)

    monkeypatch.setattr(frames._Polars, "append", counted)
    assert len(streamforge.read(*SERIES, **place).frame) == 360
    assert sizes == [100, 100, 100, 60]


async def test_records_that_are_gone_are_noticed(loaded_data: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(loaded_data, tmp_path / "copy")
    store = EmbeddedStore(tmp_path / "copy" / "store")
    first, last = (f"BTCUSDT_1m_{START_MS + minute * MINUTE_MS}" for minute in (100, 121))
    assert await store.delete(COLLECTION, first=first, last=last) == 21
    await store.close()
    with pytest.raises(streamforge.StreamForgeError, match="holds fewer records of BTCUSDT api_candles_1m than"):
        streamforge.read(*SERIES, data=tmp_path / "copy")


@pytest.mark.e2e
@pytest.mark.parametrize("where", ["folder", "server"])
def test_what_a_load_moves_while_it_is_read_is_read_again(
    where: str, tmp_path: Path, exchange_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a segment of records with ids, of which no number is known."""
    from_folder, from_server = RecordReader.read, reading._lines
    trades, part = ("BTCUSDT", "api_agg_trades"), "2024-08-02:2024-08-02T00:01Z"
    with manager(tmp_path / "data", exchange_url) as (_, told):
        place = {"data": tmp_path / "data"} if where == "folder" else {"server": told["url"]}
        at = {"server": told["url"], "progress": False}
        streamforge.load(*trades, "2024-08-02:2024-08-02T00:02Z", **at)
        rows = streamforge.read(*trades, part, frame="arrow", **place).frame.to_pylist()
        moves: list[object] = []

        def move() -> None:
            if not moves:
                moves.append(streamforge.load(*trades, "2024-08-01T23:59Z:2024-08-02T00:02Z", again=True, **at))

        async def read(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
            await asyncio.to_thread(move)
            async for batch in from_folder(*arguments, **named):
                yield batch

        def lines(*arguments: Any) -> Iterator[bytes]:
            move()
            return from_server(*arguments)

        monkeypatch.setattr(RecordReader, "read", read)
        monkeypatch.setattr(reading, "_lines", lines)
        again = streamforge.read(*trades, part, frame="arrow", **place)
    assert (again.frame.to_pylist(), again.complete, len(moves)) == (rows, True, 1)
    assert len(rows) == 30


@pytest.mark.e2e
def test_importing_the_package_imports_nothing_else() -> None:
    script = (
        "import sys, streamforge; heavy = {'aiohttp', 'msgspec', 'pandas', 'polars', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy; assert {'load', 'read'} <= set(dir(streamforge)); "
        "assert 'frame' in streamforge.read.__doc__"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert streamforge.InvalidInput is InvalidInput
    assert issubclass(streamforge.InvalidInput, streamforge.StreamForgeError)
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        streamforge.reed  # noqa: B018


def typed(folder: Path) -> tuple[polars.DataFrame, pandas.DataFrame, pyarrow.Table]:
    """What a type checker sees."""
    return (
        streamforge.read(*SERIES, data=folder).frame,
        streamforge.read(*SERIES, data=folder, frame="pandas").frame,
        streamforge.read(*SERIES, data=folder, frame="arrow").frame,
    )
