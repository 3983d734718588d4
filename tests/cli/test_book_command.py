"""`streamforge book`: the table, JSON, exit codes, and what is said of mistakes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pyarrow.parquet as parquet
import pytest

import streamforge
from streamforge import wiring
from streamforge.manager.coverage.store import CoverageStore
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.runtime.life.settings import DataSettings
from tests.cli.support import Cli
from tests.doubles.stored_books import COLLECTION, SERIES, StoredBooks, at_ms

AT = "2024-08-09T00:00:06Z"


async def _store(data: Path) -> None:
    store = EmbeddedStore(data / "store")
    stored = StoredBooks(store, data / "objects")
    await stored.checkpoint(10)
    await stored.segment(11, 100)
    await stored.entry(1, 100, cause="stopped")
    covered = Segment(start_ms=at_ms(0), end_ms=at_ms(80), verdict=Verdict.STORED, collection=COLLECTION)
    await CoverageStore(store).lay_over(SERIES, [covered])
    await store.close()
    wiring.make_data_directory(DataSettings(data_dir=data)).open()


@pytest.fixture
def recorded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command on a folder with books."""
    cli = Cli(capsys, tmp_path / "data")
    asyncio.run(_store(cli.data))
    return cli


def test_a_book_is_shown_with_what_is_to_be_known_of_it(recorded: Cli) -> None:
    ran = recorded("book", "btcusdt", AT, "--limit", "2").ok()
    lines = ran.out.splitlines()
    assert lines[0].split() == ["bid", "quantity", "bid", "ask", "ask", "quantity"]
    assert len([line for line in lines[2:] if line.strip()]) == 2
    found = recorded("book", "BTCUSDT", AT, "--json", "--all").ok().json
    assert (found["trust"], found["last_update_id"], found["diffs"]) == ("verified", 60, 10)
    assert lines[2].split() == [*reversed(found["bids"][0]), *found["asks"][0]]
    assert ran.err == (
        "BTCUSDT at 2024-08-09T00:00:06Z: verified\n"
        f"its last diff is that of 2024-08-09T00:00:06Z, update 60; 2 of {len(found['bids'])} bids and 2 of "
        f"{len(found['asks'])} asks are shown\n"
        f"rebuilt from the book of 2024-08-09T00:00:01Z in {COLLECTION}, and 10 diffs behind it\n"
    )


def test_mistakes_are_told(recorded: Cli) -> None:
    ran = recorded("book", AT, "BTCUSDT")
    assert (ran.code, "write BTCUSDT 2024-08-09T00:00:06Z" in ran.err) == (2, True)
    ran = recorded("book", "BTCUSDT", "2024-08-09 00:00:06")
    assert "did you mean 2024-08-09T00:00:06Z?" in ran.err
    ran = recorded("book", "BTCUSDT", "2024-08-10")
    assert ran.code == 1
    assert "stopped; there are books of BTCUSDT from 2024-08-09T00:00:01Z to 2024-08-09T00:00:10.001Z" in ran.err
    ran = recorded("book", "BTCUSD", AT)
    assert "no order books of BTCUSD are stored" in ran.err
    assert (ran.out, "Traceback" in ran.err) == ("", False)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_the_diffs_of_segments_are_exported(recorded: Cli, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"diffs.{form}"
    span = "2024-08-09:2024-08-09T00:00:05Z"
    told = recorded("export", "BTCUSDT", "ws_orderbook", span, "--output", str(file), "--json").ok().json
    assert (told["rows"], told["complete"]) == (7, True)
    lines = file.read_text().splitlines()
    if form == "csv":
        assert lines.pop(0) == "symbol,first_update_id,last_update_id,event_time,received_time,connection,bids,asks"
    assert len(lines) == 7
    assert '"last_update_id":15' in lines[0] or ",11,15," in lines[0]


def test_a_script_gets_the_same(recorded: Cli) -> None:
    found = streamforge.book("BTCUSDT", AT, limit=1, data=recorded.data)
    told = recorded("book", "BTCUSDT", AT, "--json", "--limit", "1").ok().json
    assert msgspec.json.decode(msgspec.json.encode(found)) == told
    assert len(streamforge.book("BTCUSDT", AT, limit=None, data=recorded.data).bids) == told["bids_known"]
    with pytest.raises(streamforge.StreamForgeError, match="there are books of BTCUSDT from 2024-08-09T00:00:01Z"):
        streamforge.book("BTCUSDT", "2024-08-01", data=recorded.data)


def test_the_diffs_of_segments_are_exported_to_parquet_and_to_a_data_set(recorded: Cli, tmp_path: Path) -> None:
    lines, file, folder = tmp_path / "book.jsonl", tmp_path / "book.parquet", tmp_path / "set"
    asked = ("export", "BTCUSDT", "ws_orderbook", "2024-08-09T00:00:00Z:2024-08-09T00:00:08Z")
    recorded(*asked, "--output", str(lines)).ok()
    expected = [msgspec.json.decode(line) for line in lines.read_bytes().splitlines()]
    assert len(expected[0]["bids"][0]) == 2
    recorded(*asked, "--output", str(file), "--time", "ms").ok()
    assert parquet.read_table(file).to_pylist() == expected
    recorded(*asked, "--partition", "day", "--output", str(folder), "--time", "ms").ok()
    (part,) = folder.glob("**/*.parquet")
    assert parquet.ParquetFile(part).read().to_pylist() == [
        {name: value for name, value in one.items() if name != "symbol"} for one in expected
    ]
