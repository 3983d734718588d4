"""What an answer of the exchange means, without a server: its codes, and the time that it names."""

from __future__ import annotations

import msgspec
import pytest

from streamforge_utils.adapters.binance.error_answers import ErrorAnswer, judge, parse_retry_after
from streamforge_utils.adapters.binance.weights import CODES, Action
from tests.adapters.binance.scripted import NOW, OPENS, always, bench, error, listed, opens

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
