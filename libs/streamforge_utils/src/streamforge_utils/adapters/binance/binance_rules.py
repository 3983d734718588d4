"""The rules of Binance Spot as data: limits, statuses and error codes; and what an answer means by them.

When Binance changes one of these, change it here. The paths, parameters and request weights of the endpoints that give
records are elsewhere: in the `Paging` of their kind (`model/kinds/`; for candles `Klines`). Pure, so that every rule
can be tested without a server.
Source: Binance Spot REST documentation (rest-api.md, enums.md, errors.md, faqs/market_data_only.md) as of 2026-07.
`exchangeInfo` is the authority on limits: its numbers replace the defaults here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from streamforge_utils.adapters.binance.exchange_clock import parse_date

DEFAULT_BASE_URL = "https://data-api.binance.vision"
"""Market data only: needs no key and cannot trade."""

WEIGHT_LIMIT = 6000
"""The request weight that one address may use in a minute, until `exchangeInfo` gives another number."""

WINDOW_MS = 60_000
"""Weight is counted in fixed minutes of the exchange's clock."""

ADDRESS_SHARE = 0.8
"""The part of the address's limit at which a client stops, even if other clients of the address have used it."""

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
    """The reaction to an answer.

    retry: back off and ask again. limited: wait for the next window or `Retry-After`, then ask again.
    busy: as retry, with a long wait. switch: ask another base URL. fail: never ask the same again.
    ban, block: ask nothing until the exchange, or its firewall, accepts requests of this address again.
    """

    RETRY = "retry"
    LIMITED = "limited"
    BUSY = "busy"
    SWITCH = "switch"
    FAIL = "fail"
    BAN = "ban"
    BLOCK = "block"


class Meaning(msgspec.Struct, frozen=True):
    """What an error code or an HTTP status means. hint: what a person can do about it."""

    action: Action
    hint: str = ""


_BUG = "the request is malformed: please report it"

UNKNOWN_SYMBOL = -1121

CODES: dict[int, Meaning] = {
    -1000: Meaning(Action.RETRY),
    -1001: Meaning(Action.RETRY),
    -1003: Meaning(Action.LIMITED),
    -1006: Meaning(Action.RETRY),
    -1007: Meaning(Action.RETRY),
    -1008: Meaning(Action.BUSY),
    -1016: Meaning(Action.SWITCH),
    -1034: Meaning(Action.LIMITED),
    **{code: Meaning(Action.FAIL, _BUG) for code in (*range(-1108, -1099), -1128, -1130)},
    -1120: Meaning(Action.FAIL, "choose an interval that the exchange knows, such as 1m, 1h or 1d"),
    UNKNOWN_SYMBOL: Meaning(Action.FAIL, "the exchange does not list this symbol (any more): check its spelling"),
    -1122: Meaning(Action.FAIL, _BUG),
    -1127: Meaning(Action.FAIL, "ask for a shorter time range"),
    -1151: Meaning(Action.FAIL, "name each symbol once"),
    -1220: Meaning(Action.FAIL, "the symbol is not in that status now"),
}
"""The codes that requests for public market data can get; others are judged by the HTTP status alone."""

STATUSES: dict[int, Meaning] = {
    418: Meaning(
        Action.BAN,
        "the exchange has banned this address for asking too often: start no loader before the ban is over",
    ),
    451: Meaning(
        Action.FAIL,
        "for legal reasons the exchange does not serve the location of this address: "
        "use another base URL of the exchange that serves it, or another exchange",
    ),
    403: Meaning(
        Action.BLOCK,
        "the exchange's firewall refuses this address, perhaps for asking too often: "
        "wait some minutes, and check what else asks from here",
    ),
    429: Meaning(Action.LIMITED),
}
"""The HTTP statuses that decide, with any error code."""

OTHER_STATUSES: dict[int, Meaning] = {
    401: Meaning(Action.FAIL, "the API key is refused: correct it or leave it out (market data need none)"),
    404: Meaning(Action.FAIL, "the base URL does not serve this: set a base URL of the exchange's REST interface"),
    408: Meaning(Action.RETRY),
    425: Meaning(Action.RETRY),
}
CLASSES: dict[int, Meaning] = {
    2: Meaning(Action.RETRY, "the answer is not what was asked for"),
    3: Meaning(Action.FAIL, "the base URL sends requests elsewhere: set the base URL that it points to"),
    5: Meaning(Action.RETRY),
}
"""`OTHER_STATUSES`, and `CLASSES` by a status's first digit, decide where there is no known code. Others fail."""

ANSWER_SHOWN = 200
"""Characters of an answer that an error shows, at most."""

_BANNED_UNTIL = re.compile(r"banned until (\d{13})", re.IGNORECASE)
_CURRENT_LIMIT = re.compile(r"current limit is (?:IP )?(\d{1,9}) request weight per 1 ?M", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")
_ACTION_REASONS = {
    Action.RETRY: "the exchange failed",
    Action.BUSY: "the exchange is busy",
    Action.LIMITED: "rate limit of the exchange",
    Action.SWITCH: "this server of the exchange is shutting down",
}


class _ErrorBody(msgspec.Struct):
    code: int
    msg: str = ""


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not the data asked for.

    reason: for a person, with a hint where there is one. retry_after_s: as the exchange named it. banned_until_ms:
    unix milliseconds, weight_limit: the address's limit a minute, each if the text named it.
    """

    action: Action
    reason: str
    code: int | None = None
    retry_after_s: float | None = None
    banned_until_ms: int | None = None
    weight_limit: int | None = None


def judge(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> ErrorAnswer | None:
    """The error in an answer; None for status 200 whose body is no error object.

    headers: looked up as the exchange spells them: pass a case-insensitive mapping. now_ms: for a `Retry-After` date.
    """
    error = _error_body(body)
    if status == 200 and error is None:
        return None
    text, code = ("", None) if error is None else (error.msg, error.code)
    until, limit = _BANNED_UNTIL.search(text), _CURRENT_LIMIT.search(text)
    meaning = STATUSES.get(status if until is None else 418) or CODES.get(code or 0) or OTHER_STATUSES.get(status)
    meaning = meaning or CLASSES.get(status // 100) or Meaning(Action.FAIL)
    return ErrorAnswer(
        action=meaning.action,
        reason=meaning.hint or _ACTION_REASONS.get(meaning.action, "the exchange refuses the request"),
        code=code,
        retry_after_s=parse_retry_after(headers.get("Retry-After"), now_ms),
        banned_until_ms=None if until is None else int(until[1]),
        weight_limit=None if limit is None else int(limit[1]),
    )


def parse_retry_after(text: str | None, now_ms: int) -> float | None:
    """Seconds, from a number or an HTTP date; None if absent or unreadable, never negative."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 12:
        return float(text)
    date_ms = parse_date(text)
    return None if date_ms is None else max(0.0, (date_ms - now_ms) / 1000)


def shown(body: bytes, secret: str | None = None) -> str:
    """The beginning of an answer, fit for a log: cut, without control characters, without the secret."""
    text = body[: 4 * ANSWER_SHOWN].decode("utf-8", "replace")
    if secret:
        text = text.replace(secret, "***")
    text = _UNPRINTABLE.sub(" ", text).strip()
    return text if len(text) <= ANSWER_SHOWN else text[:ANSWER_SHOWN] + "…"


def _error_body(body: bytes) -> _ErrorBody | None:
    if body.lstrip()[:1] != b"{":
        return None
    try:
        return _decode_error(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
