"""Recorded trades of the real exchange, from their files through all of StreamForge and out again, field by field."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.e2e import rig
from tests.e2e.rig import Json
from tests.e2e.test_recordings import folder as recordings_folder

FOLDER, CASSETTES = "trades-and-aggtrades", "http-cassettes"
TRADE = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
AGG_TRADE = ("a", "p", "q", "f", "l", "T", "m", "M")


class Recorded(NamedTuple):
    """A file of trades as its exchange serves it. rows: by id, with the members of the REST API."""

    type: str
    symbol: str
    served_as: str
    content: bytes
    rows: list[Json]

    @property
    def members(self) -> tuple[str, ...]:
        return TRADE if self.type == "api_trades" else AGG_TRADE

    @property
    def lost(self) -> list[int]:
        """The ids that it lacks."""
        ids = [row[self.members[0]] for row in self.rows]
        return sorted(set(range(ids[0], ids[-1] + 1)) - set(ids))

    @property
    def seconds(self) -> tuple[int, int]:
        """The range that holds all of it, in whole seconds, half-open."""
        times = [row["time" if self.type == "api_trades" else "T"] for row in self.rows]
        return min(times) // 1000, max(times) // 1000 + 1

    @property
    def before(self) -> Json:
        """A trade right before the others, at the beginning of the range: without it none knows what was before."""
        first, time_ms = self.rows[0], self.seconds[0] * 1000
        if self.type == "api_trades":
            return {**first, "id": first["id"] - 1, "time": time_ms}
        return {**first, "a": first["a"] - 1, "f": first["f"] - 1, "l": first["f"] - 1, "T": time_ms}


def rest(name: str) -> Recorded:
    """An answer of the REST API, as it was recorded."""
    return _answer(name, (recordings_folder() / FOLDER / name).read_bytes(), name.split("_")[3][:10])


def cassette(name: str) -> Recorded:
    """The answer to the only request of a cassette."""
    text = (recordings_folder() / CASSETTES / name).read_text()
    exchanged: Json = yaml.safe_load(text) if name.endswith(".yml") else json.loads(text)[0]
    return _answer(name, exchanged["response"]["body"].encode(), name.split("_")[4][:10])


def _answer(name: str, content: bytes, day: str) -> Recorded:
    rows = sorted(json.loads(content), key=lambda row: row.get("id", row.get("a")))
    aggregated, symbol = "aggTrades" in name, name.split("_")[2]
    kind = "aggTrades" if aggregated else "trades"
    return Recorded(
        "api_agg_trades" if aggregated else "api_trades", symbol, f"{symbol}-{kind}-{day}.json", content, rows
    )


def vision(name: str) -> Recorded:
    """A file of the archive, as it is."""
    content = (recordings_folder() / FOLDER / name).read_bytes()
    rows = [
        {"a": int(a), "p": p, "q": q, "f": int(f), "l": int(last), "T": int(at), "m": m == "True", "M": best == "True"}
        for a, p, q, f, last, at, m, best in csv.reader(io.StringIO(content.decode()))
    ]
    symbol, day = name.split("_")[2], name.split("_")[3]
    return Recorded("api_agg_trades", symbol, f"{symbol}-aggTrades-{day}.csv", content, rows)


def events(name: str) -> Recorded:
    """Events of the stream in the order of their arrival, as a file of the archive."""
    text = gzip.decompress((recordings_folder() / FOLDER / name).read_bytes()).decode()
    rows: list[Json] = []
    symbol = name.split("_")[2]
    for cells in csv.reader(io.StringIO(text), delimiter=";" if ";" in text[:200] else ","):
        if "event_type" in cells:
            continue
        _, _, _, number, price, quantity, _, _, at, maker = cells[cells.index("trade") :][:10]
        rows.append(
            {
                "id": int(number),
                "price": price,
                "qty": quantity,
                "quoteQty": f"{float(price) * float(quantity):.8f}",
                "time": int(at),
                "isBuyerMaker": maker in ("t", "true"),
                "isBestMatch": True,
            }
        )
    lines = [",".join(str(row[member]) for member in TRADE) for row in rows]
    day = name.split("_")[3][:10]
    rows.sort(key=lambda row: row["id"])
    return Recorded("api_trades", symbol, f"{symbol}-trades-{day}.csv", "\n".join(lines).encode(), rows)


FILES: dict[str, Callable[[str], Recorded]] = {
    "spot_aggTrades_BNBUSDT_200_2019-06-25.yml": cassette,
    "spot_historicalTrades_XRPUSDT_200_2021-04-13.json": cassette,
    "spot_aggTrades-rest_BTCUSDT_2021-10-22.json": rest,
    "spot_aggTrades-vision_FXSUSDT_2023-10-29_5rows.csv": vision,
    "spot_trade-events-csv_WAVESUSDT_2019-05-26.csv.gz": events,
    "spot_trade-events-csv_WAVESUSDT_2019-06-07_outage.csv.gz": events,
    "spot_trade-events-csv_WAVESUSDT_2019-06-08_lost-trades.csv.gz": events,
    "spot_trades-rest_BTCUSDT_2021-10-22.json": rest,
    "spot_trades-rest_ETHBTC_2023-03-20T0245_1000rows.json": rest,
}

ALIKE = ("spot_aggTrades_BNB", "spot_aggTrades-vision", "spot_trade-events-csv_WAVESUSDT_2019-05", "spot_trades-rest")
SOME = [pytest.param(one, marks=pytest.mark.long if one.startswith(ALIKE) else ()) for one in FILES]
"""All of them, of which the long run alone has what is much like others."""


class Loaded(NamedTuple):
    file: Recorded
    workflow: Json
    segments: list[Json]
    records: list[Json]


@pytest.fixture(scope="module", params=SOME)
def loaded(
    market_data: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loaded]:
    """A recording loaded from an exchange that serves it alone: what lies beyond its ends is not known there."""
    file = FILES[request.param](request.param)
    folder = tmp_path_factory.mktemp("trades")
    (folder / "replay").mkdir()
    (folder / "replay" / file.served_as).write_bytes(file.content)
    beside = folder / "replay" / f"{Path(file.served_as).stem}-before.csv"
    beside.write_text(",".join(str(file.before[member]) for member in file.members))
    with ExitStack() as stack:
        exchange = stack.enter_context(rig.exchange("--replay", str(folder / "replay")))
        manager = stack.enter_context(rig.manager(folder / "data", exchange.url))
        workflow = manager.loaded(file.symbol, file.type, _span(*file.seconds))
        records = manager.records(workflow["collection"])
        yield Loaded(file, workflow, manager.coverage(workflow["queue_id"]), records)


def test_every_file_is_tested() -> None:
    kept = recordings_folder()
    found = sorted(path.name for path in (*(kept / FOLDER).glob("*"), *(kept / CASSETTES).glob("*rades_*_200_*")))
    assert not found or found == sorted(FILES)


def test_every_field_of_every_trade_comes_out_as_it_stands_in_the_file(loaded: Loaded) -> None:
    names = {
        "api_trades": ("trade_id", "price", "quantity", None, "timestamp", "is_buyer_maker", None),
        "api_agg_trades": (
            *("trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "timestamp"),
            *("is_buyer_maker", None),
        ),
    }[loaded.file.type]
    expected = [
        {"symbol": loaded.file.symbol}
        | {
            name: float(row[member]) if name in ("price", "quantity") else row[member]
            for name, member in zip(names, loaded.file.members, strict=True)
            if name is not None
        }
        for row in [loaded.file.before, *loaded.file.rows]
    ]
    assert loaded.records == expected


def test_ids_alone_tell_a_hole_from_silence(loaded: Loaded) -> None:
    holes = [segment for segment in loaded.segments if segment["verdict"] != "stored"]
    lost = loaded.file.lost
    assert [(hole["verdict"], hole["first_id"], hole["last_id"]) for hole in holes] == (
        [("exchange", lost[0], lost[-1])] if lost else []
    )
    progress = loaded.workflow["progress"]
    assert progress["records_stored"] == 1 + len(loaded.file.rows)
    assert progress["records_expected"] == 1 + len(loaded.file.rows) + len(lost)
    assert (loaded.workflow["coverage"]["complete"], loaded.workflow["repairs"]) == (True, 0)


@pytest.mark.long
def test_what_lies_below_the_floor_is_unknown_and_the_reason_names_the_first_id(
    market_data: Path, tmp_path: Path
) -> None:
    file = rest("spot_trades-rest_ETHBTC_2023-03-20T0245_1000rows.json")
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay" / file.served_as).write_bytes(file.content)
    start_s, end_s = file.seconds
    with (
        rig.exchange("--replay", str(tmp_path / "replay")) as exchange,
        rig.manager(tmp_path / "data", exchange.url) as manager,
    ):
        workflow = manager.load(file.symbol, file.type, _span(start_s - 60, end_s))
        assert (workflow["status"], workflow["coverage"]["complete"]) == ("error", False)
        assert f"the exchange gives no record before id {file.rows[0]['id']}" in workflow["failure"]["reason"]
        assert workflow["failure"]["next_step"] == "ask for a range that the exchange still gives"
        segments = manager.coverage(workflow["queue_id"])
        assert [(one["verdict"], one["end_ms"]) for one in segments] == [
            ("unknown", file.rows[0]["time"]),
            ("stored", end_s * 1000),
        ]
        assert segments[1]["records"] == len(file.rows)


@pytest.mark.long
def test_a_plan_asks_for_no_trade_where_its_id_is_enough(quiet: rig.Exchange, manager: rig.Manager) -> None:
    body = {"symbol": "BTCUSDT", "type": "api_trades", "time_range": "2024-08-01:2024-08-02", "source": "rest"}
    assert manager.api.post("/plans", json=body).raise_for_status().json()["records_expected"] > 0
    asked = {path: quiet.requests(path) for path in ("historicalTrades", "aggTrades")}
    # The first trade of all, and each end of the range with the trade before it: 25 weight each; 4 for each id by time.
    assert asked == {"historicalTrades": 3, "aggTrades": 3}


@pytest.mark.long
def test_a_loader_that_begins_again_asks_for_no_trade_that_it_had(tmp_path: Path) -> None:
    with (
        rig.exchange("--trades", "1667", "--no-limits") as exchange,
        rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE="100000") as manager,
    ):
        exchange.switch_on("slow:ms=200,path=historicalTrades")
        ranged = "2024-08-01T10:00:00Z:2024-08-01T10:20:00Z"
        more = {"source": "rest", "parameters": {"loader-api-trades": {"concurrency": 1}}}
        queue_id = manager.start_load("BTCUSDT", "api_trades", ranged, **more)["queue_id"]
        manager.until(queue_id, "some is stored", lambda found: found["progress"]["records_stored"] > 0)
        exchange.switch_on("500:path=historicalTrades,count=3")
        workflow = manager.finished(queue_id)
        attempts = rig.step(workflow, "loader-api-trades")["attempts"]
        assert [attempt["status"] for attempt in attempts] == ["error", "finished"], "all of its requests failed once"
        assert min(attempt["progress"]["records"] for attempt in attempts) > 1000
        assert workflow["progress"]["records_stored"] > 10_000
        assert rig.step(workflow, "arango-trades")["progress"]["unchanged"] == 0, "no record came twice"


def _span(start_s: int, end_s: int) -> str:
    return ":".join(f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}" for second in (start_s, end_s))
