"""What Binance Spot charges, limits and answers, as data. One place to change when the exchange changes.

Source: Binance Spot REST documentation (rest-api.md, enums.md, errors.md, faqs/market_data_only.md) as of 2026-07.
`exchangeInfo` is the authority on limits: what it says replaces the defaults here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

DEFAULT_BASE_URL = "https://data-api.binance.vision"
"""Market data only: needs no key and cannot trade."""

WEIGHT_LIMIT = 6000
"""Request weight a minute and address, until `exchangeInfo` says otherwise."""

WINDOW_MS = 60_000
"""Weight is counted in fixed minutes of the exchange's clock."""

ADDRESS_SHARE = 0.8
"""The part of the address's limit at which a client stops, also if others of the address have used it."""

DEFAULT_BAN_S = 120.0
LONGEST_BAN_S = 3 * 86_400.0
"""Bans last from two minutes to three days."""

FIREWALL_BLOCK_S = 300.0
"""How long to keep away after a 403, which names no time."""

BUSY_S = 60.0
"""How long to keep away after "server busy" (-1008), which the exchange wants retried in minutes."""

LONGEST_WEIGHT_WAIT_S = 600.0
"""How long one request may wait for weight before it is given up."""

USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
API_KEY_HEADER = "X-MBX-APIKEY"
NAME_HEADER = "X-StreamForge-Exchange"
"""The name that a test exchange gives itself. Binance sends none."""


class Endpoint(msgspec.Struct, frozen=True):
    """A path of the REST interface and the request weight of one call."""

    path: str
    weight: int

    @property
    def name(self) -> str:
        """The word for metrics and errors, e.g. `klines`."""
        return self.path.rpartition("/")[2]


TIME = Endpoint("/api/v3/time", 1)
EXCHANGE_INFO = Endpoint("/api/v3/exchangeInfo", 20)


class Action(StrEnum):
    """What to do about an answer.

    retry: back off and ask again. limited: wait for the next window or `Retry-After`, then ask again.
    busy: as retry, with a long wait. switch: ask another base URL. fail: never ask the same again.
    """

    RETRY = "retry"
    LIMITED = "limited"
    BUSY = "busy"
    SWITCH = "switch"
    FAIL = "fail"


class Code(msgspec.Struct, frozen=True):
    """An error code of the exchange. hint: what a person can do about it."""

    action: Action
    hint: str = ""


_BUG = "the request is malformed: please report it"

UNKNOWN_SYMBOL = -1121

CODES: dict[int, Code] = {
    -1000: Code(Action.RETRY),
    -1001: Code(Action.RETRY),
    -1003: Code(Action.LIMITED),
    -1006: Code(Action.RETRY),
    -1007: Code(Action.RETRY),
    -1008: Code(Action.BUSY),
    -1016: Code(Action.SWITCH),
    -1034: Code(Action.LIMITED),
    **{code: Code(Action.FAIL, _BUG) for code in (*range(-1108, -1099), -1128, -1130)},
    -1120: Code(Action.FAIL, "choose an interval that the exchange knows, such as 1m, 1h or 1d"),
    UNKNOWN_SYMBOL: Code(Action.FAIL, "the exchange does not list this symbol (any more): check its spelling"),
    -1122: Code(Action.FAIL, _BUG),
    -1127: Code(Action.FAIL, "ask for a shorter time range"),
    -1151: Code(Action.FAIL, "name each symbol once"),
    -1220: Code(Action.FAIL, "the symbol is not in that status now"),
}
"""The codes that public market data can meet; others are judged by the HTTP status alone."""
