"""Recorded messages of streams, through loaders, bus, sinks and store into an export, field by field."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from streamforge.exchange.config import instant_ms
from tests.e2e import rig
from tests.e2e.rig import Json
from tests.e2e.test_recorded_archive import AMOUNTS, CANDLE, LOST, OUTAGE, Cells, exact, exported
from tests.limits import LIMIT_S

TRADE = {"trade_id": "t", "price": "p", "quantity": "q", "timestamp": "T", "is_buyer_maker": "m"}
AGG_TRADE = {**TRADE, "trade_id": "a", "first_trade_id": "f", "last_trade_id": "l"}
BAR = {"interval": "i"} | dict(zip(CANDLE, ("t", *"ohlcv", "T", *"qnVQ"), strict=True))
TYPES = {"trade": ("ws_trades", TRADE), "aggTrade": ("ws_agg_trades", AGG_TRADE), "kline_1m": ("ws_candles_1m", BAR)}
"""Of each sort of stream the type, and the members of its messages by the columns of the export."""
ID = {"trade": "t", "aggTrade": "a", "kline_1m": "t"}
FULL_SPEED, REAL_SPEED = {"paced": True}, {"speed": 1}
MINUTE_MS, WHOLE_MS = 92_000, 660_000
"""How long the recordings are, at real speed."""

FIRST, THEN, APRIL, OCTOBER = (
    f"ws-recordings-raw/spot_{name}"
    for name in (
        "BTCUSDT_depth+trade+bookTicker_2024-08-08T2354_2024-08-09T0000.gz",
        "BTCUSDT_depth+trade+bookTicker_2024-08-09T0000_2024-08-09T0005.gz",
        "BTCUSDT+ETHUSDT+DOTUSDT_depth+kline1m+aggTrade+snapshots_2021-04-04T2003_2021-04-04T2004.txt",
        "NKNUSDT+BLZETH+LRCBTC+RUNEEUR_depth+kline1m+aggTrade+bookTicker_2021-10-12T0028_2021-10-12T0029.txt",
    )
)
APART = tuple(
    f"{folder}/spot_BTCUSDT+ETHUSDT+DOTUSDT_{name}_2021-04-04T2003_2021-04-04T2004.jsonl"
    for folder, name in (("ws-aggtrade", "aggTrade"), ("ws-kline", "kline-1m"))
)
MAY = "spot_trade-events-csv_WAVESUSDT_2019-05-26.csv.gz"
TRADES = "ws-trade/spot_BTCUSDT_trade_2024-08-08T2354_2024-08-09T0000.jsonl"


def message_of(line: bytes) -> Json | None:
    """The message of a line, also of one of CSV; None: it has none."""
    if (begin := line.find(b'{"stream":')) >= 0:
        found: Json = json.loads(line[begin:])
        return found
    event = re.search(rb"\btrade\W(\d{13}\W.*)", line)
    if event is None:
        return None
    told, symbol, number, price, quantity, _, _, traded, maker = re.split("[;,]", event[1].decode())[:9]
    times = {"E": int(told), "T": int(traded)}
    data = {"s": symbol, "t": int(number), "p": price, "q": quantity, "m": maker[0] == "t", **times}
    return {"stream": f"{symbol.lower()}@trade", "data": data}


def messages(folder: Path, words: Sequence[str], after_ms: int) -> dict[str, list[Json]]:
    """What each stream of `words` gives behind `after_ms`, each once; of bars those that are over."""
    found: dict[str, dict[int, Json]] = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        for line in (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines():
            if (message := message_of(line)) is None:
                continue
            stream, data = message["stream"], message["data"]
            record = data.get("k", data)
            if (word := stream.partition("@")[2]) in words and data["E"] > after_ms and record.get("x", True):
                found.setdefault(stream, {})[record[ID[word]]] = record
    return {stream: [one for _, one in sorted(records.items())] for stream, records in found.items()}


def expected(records: Sequence[Json], columns: dict[str, str]) -> list[Cells]:
    return [
        {"symbol": exact(one["s"])}
        | {
            name: exact(repr(float(one[member])) if name in AMOUNTS else one[member])
            for name, member in columns.items()
        }
        for one in records
    ]


def listens(workflow: Json) -> bool:
    """Whether its subscription is acknowledged: what the exchange sends from now on comes."""
    return (workflow["live"] or {}).get("frame_age_seconds") is not None


def is_loaded(workflow: Json, word: str, until: int) -> bool:
    """Whether the record of that id is published, or the bar of that time is proven: its end is over for all."""
    live = workflow["live"] or {}
    if word == "kline_1m":
        return (live.get("proven_through_ms") or 0) > until
    return (live.get("last_id") or 0) >= until


@pytest.mark.parametrize(
    ("files", "words", "now", "real_ms"),
    [
        pytest.param((FIRST, THEN, TRADES), ("trade",), "2024-08-08T23:54:00Z", 0, marks=pytest.mark.long),
        ((OCTOBER,), ("aggTrade",), "2021-10-12T00:28:00Z", 0),
        pytest.param(APART, ("aggTrade",), "2021-04-04T20:03:00Z", 0, marks=pytest.mark.long),
        (APART, ("kline_1m",), "2021-04-04T20:03:58Z", 0),
        pytest.param((APRIL,), ("aggTrade", "kline_1m"), "2021-04-04T20:03:11Z", MINUTE_MS, marks=pytest.mark.long),
        pytest.param((OCTOBER,), ("aggTrade", "kline_1m"), "2021-10-12T00:28:00Z", MINUTE_MS, marks=pytest.mark.long),
        pytest.param((FIRST, THEN, TRADES), ("trade",), "2024-08-08T23:54:10Z", WHOLE_MS, marks=pytest.mark.long),
    ],
    ids=[
        "trades over midnight",
        "of four symbols",
        "of three symbols",
        "candles",
        "at real speed",
        "of four symbols at real speed",
        "11 minutes of trades",
    ],
)
def test_what_was_recorded_is_exported(
    files: Sequence[str], words: Sequence[str], now: str, real_ms: int, market_data: Path, tmp_path: Path
) -> None:
    """real_ms: at real speed, so much of it; 0: all of it at full speed."""
    (folder := tmp_path / "replay").mkdir()
    for name in files:
        shutil.copy(market_data / name, folder)
    now_ms = instant_ms(now)
    recorded = messages(folder, words, now_ms)
    with (
        rig.exchange("--replay", str(folder), "--now", now, "--speed", "0", "--no-limits") as exchange,
        rig.manager(
            tmp_path / "data", exchange.url, STREAMFORGE_COMPARE_SECONDS="0.2", STREAMFORGE_BASKET_SIZE="1"
        ) as manager,
    ):
        started = {}
        for stream in recorded:
            symbol, _, word = stream.partition("@")
            body = {"symbol": symbol, "type": TYPES[word][0]}
            answer = manager.api.post("/queues/start", json=body)
            assert answer.status_code == 202, answer.text
            started[stream] = answer.json()["queue_id"]
        for queue_id in started.values():
            manager.until(queue_id, "its loader listens", listens)
        exchange.set_pace(**(REAL_SPEED if real_ms else FULL_SPEED))
        for stream, queue_id in started.items():
            word, records = stream.partition("@")[2], recorded[stream]
            if real_ms and word != "kline_1m":
                records = records[: bisect_right(records, now_ms + real_ms, key=lambda one: one["T"])]
            until = records[-1][ID[word]]
            is_there = partial(is_loaded, word=word, until=until)
            manager.until(queue_id, f"{stream} is loaded", is_there, limit_s=LIMIT_S + real_ms / 1000)
        for stream, queue_id in started.items():
            manager.post(f"/queues/{queue_id}/stop")
            workflow, word = manager.finished(queue_id), stream.partition("@")[2]
            rows, wanted = exported(manager, queue_id, tmp_path), expected(recorded[stream], TYPES[word][1])
            if real_ms:
                # A workflow begins a moment before its stream does, by requests; this one ends before the recording.
                whole = expected(messages(folder, (word,), 0)[stream], TYPES[word][1])
                begin = whole.index(rows[0])
                assert begin <= whole.index(wanted[0])
                wanted = whole[begin : begin + len(rows)]
            assert rows == wanted, stream
            assert {one["verdict"] for one in manager.coverage(queue_id)} == {"stored"}
            assert workflow["progress"]["records_stored"] == len(rows)


@pytest.mark.parametrize(
    ("name", "now", "lost"),
    [
        pytest.param(OUTAGE, "2019-06-07T00:00:07Z", [], marks=pytest.mark.long),
        (LOST, "2019-06-08T00:00:00Z", [(975547, "exchange", 975551)]),
        (MAY, "2019-05-26T00:00:10Z", []),
    ],
    ids=["a halt", "lost trades", "a whole day"],
)
def test_a_day_of_trades_is_exported_and_only_what_the_exchange_lacks_is_a_hole(
    name: str, now: str, lost: Sequence[tuple[int, str, int]], market_data: Path, tmp_path: Path
) -> None:
    """A halt of two hours is no hole; what no answer has is one, as a supplement finds. lost: the ids around it."""
    (folder := tmp_path / "replay").mkdir()
    shutil.copy(market_data / "trades-and-aggtrades" / name, folder)
    recorded = messages(folder, ("trade",), 0)["wavesusdt@trade"]
    whole, last = expected(recorded, TRADE), recorded[-1]
    settings = {"STREAMFORGE_COMPARE_SECONDS": "0.2", "STREAMFORGE_HOLE_SECONDS": "1"}
    with (
        rig.exchange("--replay", str(folder), "--now", now, "--speed", "0", "--no-limits") as exchange,
        rig.manager(tmp_path / "data", exchange.url, **settings) as manager,
    ):
        answer = manager.api.post("/queues/start", json={"symbol": "WAVESUSDT", "type": "ws_trades"})
        queue_id = answer.raise_for_status().json()["queue_id"]
        manager.until(queue_id, "its loader listens", listens)
        exchange.set_pace(**FULL_SPEED)
        manager.until(queue_id, "all is loaded", partial(is_loaded, word="trade", until=last["t"]))
        manager.stop()
        manager.start()  # in a day that took a moment it has not measured the exchange's clock again
        until = max(one["t"] for one in recorded if one["T"] < last["T"])
        manager.until(queue_id, "all is proven", lambda found: (found["live"]["proven_id"] or 0) >= until)
        workflow = manager.stopped(queue_id)
        rows, segments = exported(manager, queue_id, tmp_path), manager.coverage(queue_id)
    assert (begin := whole.index(rows[0])) < 100  # it begins with what came first
    assert rows == whole[begin:]
    around = zip(segments, segments[1:], segments[2:], strict=False)
    holes = [(a["last_id"], one["verdict"], b["first_id"]) for a, one, b in around if one["verdict"] != "stored"]
    assert (holes, segments[0]["verdict"], segments[-1]["verdict"]) == (lost, "stored", "stored")
    assert workflow["progress"]["records_stored"] == len(rows)
