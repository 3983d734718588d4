"""The meaning of an answer of the exchange, and answers that Binance really gave (INDEX.md beside the recordings)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from multidict import CIMultiDict

from streamforge_utils.adapters.binance.binance_rules import CODES, Action, ErrorAnswer, judge, parse_retry_after
from streamforge_utils.model.errors import BannedError, PermanentError
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.kinds.candles.klines_answer import read_rows
from streamforge_utils.model.kinds.paging import ByTime, SentRequest
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.adapters.binance.scripted import NOW, OPENS, SYMBOL, always, answer, bench, error, listed, opens
from tests.doubles.candles import candles_of
from tests.places import market_data

HOUR = 3_600_000
FIELDS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_asset_volume", "number_of_trades"),
    *("taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"),
)
FIRST, SECOND = 1_588_280_400_000, 1_591_880_400_000

LATER = "Thu, 01 Aug 2024 12:00:50 GMT"
"""Twenty seconds after NOW."""

ACTIONS = {
    Action.RETRY: (-1000, -1001, -1006, -1007),
    Action.LIMITED: (-1003, -1034),
    Action.BUSY: (-1008,),
    Action.SWITCH: (-1016,),
    Action.FAIL: (
        *(-1100, -1101, -1102, -1103, -1104, -1105, -1106, -1107, -1108),
        *(-1120, -1121, -1122, -1127, -1128, -1130, -1151, -1220),
    ),
}
"""Source: Binance Spot REST documentation, errors.md, as of 2026-07."""


def judged(status: int, code: int | None = None, text: str = "", **headers: str) -> ErrorAnswer:
    body = b"" if code is None else msgspec.json.encode({"code": code, "msg": text})
    found = judge(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, NOW)
    assert found is not None
    return found


@pytest.mark.parametrize(("action", "code"), [(action, code) for action, codes in ACTIONS.items() for code in codes])
def test_a_code_says_what_to_do_whatever_the_status(action: Action, code: int) -> None:
    assert [judged(status, code).action for status in (200, 400, 500)] == [action] * 3


def test_no_code_is_left_out() -> None:
    assert sorted(CODES) == sorted(code for codes in ACTIONS.values() for code in codes)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        ("20", 20.0),
        (" 1.5 ", 1.5),
        ("1.5.5", None),
        ("٢٠", None),
        ("999999999999", 999_999_999_999.0),
        ("9999999999999", None),
        (LATER, 20.0),
        ("Thu, 01 Aug 2024 12:00:30 GMT", 0.0),
        ("Thu, 01 Aug 2024 11:00:00 GMT", 0.0),
        ("Thu, 32 Aug 2024 12:00:50 GMT", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


async def test_a_date_is_waited_for_as_its_seconds_would_be() -> None:
    async with bench(NOW) as made:
        listed(made)
        await made.client.server_time()
        made.server.expect("klines", always(lambda: error(429, -1003, "Too many.", Retry_After=LATER)))
        assert await opens(made) == OPENS
        assert made.clock.monotonic() == 20.5, "the jitter of the bench is half a second"


async def test_too_many_orders_are_waited_for_until_the_next_minute() -> None:
    async with bench(NOW) as made:
        listed(made)
        made.server.expect("klines", always(lambda: error(400, -1034, "Too many.")))
        assert await opens(made) == OPENS
        assert 30 <= made.clock.monotonic() < 32
        assert made.clock.now_ms() % 60_000 < 2_000


@pytest.mark.parametrize(
    ("name", "interval", "span"),
    [
        ("BTCUSDT-1h_2020-04-30T21_2020-06-11T12_page1", Interval.H1, TimeRange(FIRST, SECOND)),
        # with a hole of the exchange
        ("BTCUSDT-1h_2020-06-11T13_2020-07-01T03_page2_gap", Interval.H1, TimeRange(SECOND, 1_593_572_400_001)),
        # asked for with bounds off the grid
        ("BTCUSDT-1m_2020-05-06T0442_2020-05-06T0541", Interval.M1, TimeRange(1_588_740_088_000, 1_588_743_688_001)),
        # with white space
        ("BTCUSDT-1m_2021-10-22_nautilus", Interval.M1, TimeRange(1_634_943_780_000, 1_634_944_380_000)),
    ],
)
def test_a_recorded_page_is_read_field_by_field(name: str, interval: Interval, span: TimeRange) -> None:
    body = market_data(f"klines-rest-json/spot_{name}.json").read_bytes()
    series, asked = Series(SYMBOL, "candles", interval.value), ByTime(span)
    page = read_rows(
        body, SentRequest(series=series, question=asked, sent=asked, limit=1000, observed_ms=NOW, local_ms=NOW)
    )
    assert page.dropped == {}
    found = [[getattr(c, name) for name in FIELDS] for c in page.candles]
    assert found == [row[:11] for row in msgspec.json.decode(body)]
    assert [c.key for c in page.candles] == [f"BTCUSDT_{interval}_{c.open_time}" for c in page.candles]


def cassette(name: str) -> tuple[int, dict[str, str], bytes]:
    text = market_data(f"http-cassettes/{name}").read_text()
    if name.endswith(".yml"):
        response: dict[str, Any] = yaml.safe_load(text)["response"]
        return response["status"], {}, response["body"].encode()
    response = msgspec.json.decode(text)[0]["response"]
    return response["status_code"], response["headers"], response["body"].encode()


async def test_a_recorded_page_with_its_headers() -> None:
    status, headers, body = cassette("spot_klines-1h_LTCBTC_200_2021-03-24.json")
    assert judge(status, CIMultiDict(headers), body, NOW) is None
    kept = {name: text for name, text in headers.items() if name in ("Date", "x-mbx-used-weight-1m")}
    recorded_at = 1_616_593_124_000  # its Date
    async with bench(recorded_at) as made:
        made.server.expect("klines", always(lambda: answer(body, status, **kept)))
        candles = await candles_of(made.client, "LTCBTC", Interval.H1, TimeRange(1_616_025_600_000, 1_616_032_800_000))
    assert [(c.open_time, c.close, c.version) for c in candles] == [
        (1_616_025_600_000, "0.00349500", recorded_at),
        (1_616_029_200_000, "0.00347900", recorded_at),
    ]


@pytest.mark.parametrize(
    ("name", "code", "hint"),
    [
        ("spot_klines_400_code-1120-invalid-interval_2021-04-07.json", -1120, "choose an interval"),
        ("spot_klines_400_code-1121-invalid-symbol.yml", -1121, "does not list this symbol"),
        ("spot_depth_400_code-1121-invalid-symbol_2018-03-23.json", -1121, "does not list this symbol"),
    ],
)
async def test_recorded_refusals_are_permanent(name: str, code: int, hint: str) -> None:
    status, headers, body = cassette(name)
    judgement = judge(status, CIMultiDict(headers), body, NOW)
    assert judgement is not None
    assert (judgement.action, judgement.code) == (Action.FAIL, code)
    async with bench(NOW) as made:
        made.server.expect("klines", always(lambda: answer(body, status)))
        with pytest.raises(PermanentError, match=f"HTTP 400, code {code}: .*{hint}"):
            await candles_of(made.client, SYMBOL, Interval.H1, TimeRange(FIRST, SECOND))


async def test_a_recorded_time() -> None:
    status, _, body = cassette("spot_time_200_2021-03-24.json")
    told = msgspec.json.decode(body)["serverTime"]
    async with bench(told) as made:
        made.server.expect("time", always(lambda: answer(body, status)))
        assert await made.client.server_time() == told


async def test_quoted_bans_limits_and_blocks() -> None:
    lines = market_data("http-errors-quoted/rate-limit-and-block-errors_quoted.jsonl").read_bytes().splitlines()
    quoted = [msgspec.json.decode(line) for line in lines]
    assert [case["http_status"] for case in quoted] == [418, 429, 451, 418]
    before_ban = 1_516_363_000_000
    async with bench(before_ban) as made:
        made.server.expect("time", always(lambda: answer((quoted[0]["body"]).encode(), 418)))
        with pytest.raises(BannedError, match=r"2018-01-19T11:58:36\.074Z") as banned:
            await made.client.server_time()
        assert banned.value.until_ms == 1_516_363_116_074
        assert banned.value.retry_after == pytest.approx(116.074)
    async with bench(NOW) as made:
        made.server.expect("time", always(lambda: answer(quoted[1]["body"].encode(), 429)))
        assert await made.client.server_time() >= NOW + 30_000  # the next minute was waited for
        made.server.expect("klines", always(lambda: answer(quoted[2]["body"].encode(), 451)))
        with pytest.raises(PermanentError, match=r"HTTP 451.*for legal reasons.*Service unavailable from a restricted"):
            await candles_of(made.client, SYMBOL, Interval.H1, TimeRange(FIRST, SECOND))
    async with bench(NOW) as made:
        made.server.expect("time", always(lambda: answer(b"", 418, Retry_After=str(quoted[3]["retry_after_s"]))))
        with pytest.raises(BannedError) as banned:
            await made.client.server_time()
        assert banned.value.until_ms == NOW + 720_000
