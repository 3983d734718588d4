"""loader-producer against each fault of the test exchange's archive: what is right is loaded, the rest is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamforge import wiring
from streamforge.exchange.config import ExchangeConfig
from streamforge.workers import loader_producer
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.life.settings import ExchangeSettings
from tests.exchange.conftest import peer
from tests.runtime.rig import TOPIC, Rig

SPAN = parse_time_range("2024-07-28:2024-07-31")
BAD = "2024-07-29:2024-07-30"
DAY = "day=2024-07-29"

FAULTS: list[tuple[str, str, list[str], str]] = [
    # the fault, what is wanted of it: nothing, unloaded or disputed; the ranges; a part of the reason
    (f"archive-missing:{DAY}", "unloaded", [BAD], "no file"),
    (f"archive-missing:{DAY},listed=1", "unloaded", [BAD], "does not have it"),
    (f"archive-rows:{DAY},kind=swapped", "unloaded", [BAD], "follows"),
    (f"archive-rows:{DAY},kind=repeated", "unloaded", [BAD], "follows"),
    (f"archive-rows:{DAY},kind=skipped,rows=2", "unloaded", ["2024-07-29T12:00Z:2024-07-29T14:00Z"], "lacks it"),
    (f"archive-rows:{DAY},kind=zero-quantity", "unloaded", [BAD], "no volume"),
    (f"archive-rows:{DAY},kind=bad-price", "unloaded", [BAD], "is no decimal number"),
    (f"archive-rows:{DAY},kind=fewer-columns", "unloaded", [BAD], "11 columns"),
    (f"archive-rows:{DAY},kind=more-columns", "unloaded", [BAD], "13 columns"),
    (f"archive-rows:{DAY},kind=cut", "unloaded", ["2024-07-29T10:00Z:2024-07-30"], "lacks it"),
    (f"archive-rows:{DAY},kind=altered,rows=0", "unloaded", [BAD], "archive-differs: 2024-07-29"),
    (f"archive-rows:{DAY},kind=header", "", [], ""),
    (f"archive-rows:{DAY},kind=mixed-units", "", [], ""),
    *((f"archive-zip:{DAY},kind={kind}", "unloaded", [BAD], "") for kind in ("path", "two", "none", "name")),
    (f"archive-zip:{DAY},kind=bomb,megabytes=200", "unloaded", [BAD], ""),
    (f"archive-replaced:{DAY},count=1", "", [], ""),
    (f"archive-corrupt:{DAY},count=1", "", [], ""),
    (f"archive-corrupt:{DAY}", "unloaded", [BAD], "twice"),
    (f"archive-checksum:{DAY},kind=wrong,count=1", "", [], ""),
    *(
        (f"archive-checksum:{DAY},kind={kind}", "disputed", [BAD], "equal the exchange's records")
        for kind in ("wrong", "missing", "malformed", "name")
    ),
    (f"500:path=archive,{DAY},count=2", "", [], ""),
    ("503:path=listing,count=2", "", [], ""),
]


@pytest.mark.parametrize(("fault", "told", "ranges", "reason"), FAULTS, ids=[fault[0] for fault in FAULTS])
async def test_records_are_the_exchanges_and_what_is_not_loaded_is_told(
    tmp_path: Path, fault: str, told: str, ranges: list[str], reason: str
) -> None:
    async with peer(ExchangeConfig(faults=(fault,))) as exchange:
        url = exchange.exchange.url
        rig = Rig(tmp_path)
        rig.environment |= {
            "TYPE": "api_candles_1h",
            "TIME_RANGE": str(SPAN),
            "STREAMFORGE_ARCHIVE_URL": url,
            "STREAMFORGE_EXCHANGE_URL": url,
        }
        rig.other_exchange = wiring.make_exchange(ExchangeSettings(urls=(url,)))
        await rig.prepare()
        assert await rig.live(loader_producer.DEFINITION) == 0
        oracle = {int(row[0]): list(map(str, row[1:11])) for row in await exchange.oracle(SPAN, interval="1h")}
        extra = (await rig.events())[-1].extra or {}
        found = [msgspec.json.decode(m.value) for m in await rig.read(TOPIC) if m.key != EOS_KEY]
        await rig.close()
    assert {name for name in ("unloaded", "disputed") if name in extra} == ({told} if told else set())
    assert [one["range"] for one in extra.get(told, ())] == ranges
    assert all(reason in one["reason"] for one in extra.get(told, ()))
    unloaded = [parse_time_range(one["range"]) for one in extra.get("unloaded", ())]
    right = {time for time in oracle if not any(_holds(span, time) for span in unloaded)}
    assert right <= {one["open_time"] for one in found} <= set(oracle)
    for one in found:
        if one["open_time"] in right:
            assert list(map(str, list(one.values())[5:15])) == oracle[one["open_time"]]


def _holds(span: TimeRange, time_ms: int) -> bool:
    return time_ms in span
