"""What the benchmarks of live workers make of their measurements."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.common.stream_server import Sent
from benchmarks.live import latency
from benchmarks.live.confirmations import stored_ids
from benchmarks.live.latency import Ways
from benchmarks.live.memory import BOOKS, CANDLES, TRADES, Case, check_struck, faults_of, thirds
from streamforge import wiring
from streamforge.exchange.faults import FAULTS, parse_fault
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.life.settings import DataSettings

MS = 1_000_000
ANSWERS = {"429", "500", "502", "503", "504", "timeout", "garbage", "stall", "slow", "drip", "cut", "truncated"}
"""Faults of answers to requests that pass."""


@pytest.mark.parametrize(
    ("case", "others"),
    [(TRADES, {"bar", "diff", "ticker", "snapshot"}), (CANDLES, {"diff", "ticker", "snapshot"}), (BOOKS, {"bar"})],
)
def test_a_day_has_all_faults_that_concern_the_type(case: Case, others: set[str]) -> None:
    often, single = ([parse_fault(text) for text in texts] for texts in faults_of(case))
    assert {one.name for one in (*often, *single)} == {
        name for name, kind in FAULTS.items() if kind.of_streams and kind.stage not in others
    } | ANSWERS
    kinds = {one.options["kind"] for one in single if one.name == "stream-frame"}
    assert kinds == set(FAULTS["stream-frame"].choices["kind"])
    assert {one.number("count") for one in single} == {1, 3}
    # What is asked for comes before what makes workers connect anew, and so ask; an answer fails before each of them.
    assert [one.number("count") for one in single] == sorted((one.number("count") for one in single), reverse=True)
    once = [one.name in ANSWERS for one in single if one.number("count") == 1]
    assert once == [*([True, False] * len(ANSWERS)), *([False] * (len(once) - 2 * len(ANSWERS)))]
    assert {one.number("p") for one in often} <= {0.02, 0.002}


def test_a_fault_that_never_struck_is_no_day_of_all_faults() -> None:
    struck = dict.fromkeys([*faults_of(TRADES)[0], *faults_of(TRADES)[1]], 1)
    check_struck(struck, TRADES)
    with pytest.raises(RuntimeError, match=r"not all went wrong that should: stream-reset:count=1$"):
        check_struck(struck | {"stream-reset:count=1": 0}, TRADES)
    del struck["stream-slow:count=1"]
    with pytest.raises(RuntimeError, match="stream-slow"):
        check_struck(struck, TRADES)


def test_the_last_third_is_compared_with_the_first_behind_the_warm_up() -> None:
    assert thirds([1000.0] * 3 + [1.0, 2.0, 3.0] * 3) == (2.0, 2.0)
    assert thirds([1000.0] * 3 + [1.0] * 3 + [5.0] * 3 + [9.0] * 3) == (1.0, 9.0)


def test_the_lag_of_a_burst_is_gone_with_the_first_event_in_usual_time() -> None:
    sent = [n * MS for n in range(6)]
    late = [one + 2 * latency.CALM_NS for one in sent]
    ways = Ways(sent, sent, [*late[:4], sent[4] + latency.CALM_NS, late[5]])
    assert ways.calm_s(2) == pytest.approx(0.103)
    assert Ways(sent, sent, late).calm_s(2) == pytest.approx(0.204)
    assert ways.to_stored_ms(4) == [100.0, 200.0]


def test_each_record_has_the_time_of_its_batch() -> None:
    found = Sent([10, 20, 30], [1, 1, 3])
    assert latency._spread(found, 3) == [10, 30, 30]
    with pytest.raises(RuntimeError, match="3 trades were sent, published or stored, not 4"):
        latency._spread(found, 4)


def test_what_a_store_has_is_read_back_by_its_ids(tmp_path: Path) -> None:
    async def store() -> None:
        made = wiring.make_store(DataSettings(data_dir=tmp_path))
        await made.connect()
        for day in ("a", "b"):  # a trade that is in two collections is there twice
            await made.upsert(day, [Document(f"k{n}", 1, b'{"_key":"k%d","trade_id":%d}' % (n, n)) for n in (7, 8)])
        await made.close()

    asyncio.run(store())
    assert sorted(stored_ids(tmp_path)) == [7, 7, 8, 8]
