"""Series read from a running queue-manager: every candle once, holes with verdicts. Errors: tests/test_reading.py."""

from __future__ import annotations

import pytest

from streamforge_utils import reading
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.reading import read_series
from tests.cli.support import MINUTE_MS, START_MS, TYPE
from tests.delivery.jupyterhub.serving import Served

DAY = "2024-08-01"


def test_a_day_is_read_as_the_exchange_has_it(served: Served) -> None:
    found = read_series("btcusdt", TYPE, DAY, url=served.url)
    assert (found.symbol, found.type, found.complete, found.holes) == ("BTCUSDT", TYPE, True, [])
    assert [candle.open_time for candle in found.candles] == [START_MS + n * MINUTE_MS for n in range(1440)]
    rows = served.oracle(START_MS, START_MS + 1440 * MINUTE_MS)
    columns = found.columns()
    assert list(columns) == list(KIND.columns)
    for place, name in enumerate(("open_time", "open", "high", "low", "close", "volume", "close_time")):
        assert columns[name] == [type(columns[name][0])(row[place]) for row in rows], name


def test_a_part_of_it_and_what_is_not_there(served: Served) -> None:
    found = read_series("BTCUSDT", TYPE, "2024-08-01T23:00Z:2024-08-02T01:00Z", url=served.url)
    assert len(found.candles) == 60
    (hole,) = found.holes
    assert (hole.start, hole.verdict) == ("2024-08-02T00:00:00Z", "unknown")
    assert not found.complete


def test_without_a_range_it_is_all_there_is(served: Served) -> None:
    assert len(read_series("BTCUSDT", TYPE, url=served.url).candles) == 1440


def test_the_url_comes_from_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.URL, served.url + "/")
    assert len(read_series("BTCUSDT", TYPE, DAY).candles) == 1440
