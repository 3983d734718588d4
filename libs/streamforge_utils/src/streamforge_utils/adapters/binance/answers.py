"""What an HTTP answer of the exchange means: pure, so that every rule can be tested without a server."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from streamforge_utils.adapters.binance.exchange_clock import parse_date
from streamforge_utils.adapters.binance.weights import CODES, Action

ANSWER_SHOWN = 200
"""Characters of an answer that an error shows, at most."""

_BANNED_UNTIL = re.compile(r"banned until (\d{13})", re.IGNORECASE)
_CURRENT_LIMIT = re.compile(r"current limit is (?:IP )?(\d{1,9}) request weight per 1 ?M", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")
_RETRIED_STATUSES = frozenset({408, 425})
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


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not the data asked for.

    action: what to do. reason: for a person, with a hint where there is one. retry_after_s: as the exchange named it.
    banned, blocked: the whole address is refused (418), or by the firewall (403). banned_until_ms: unix milliseconds,
    if the text named it. weight_limit: the address's limit a minute, if the text named it.
    """

    action: Action
    reason: str
    code: int | None = None
    retry_after_s: float | None = None
    banned: bool = False
    banned_until_ms: int | None = None
    blocked: bool = False
    weight_limit: int | None = None


def judge(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> Trouble | None:
    """What is wrong with an answer; None for a success whose body is not an error in disguise.

    headers: looked up as the exchange spells them: pass a case-insensitive mapping. now_ms: for a `Retry-After` date.
    """
    error = _error_body(body)
    if status == 200 and error is None:
        return None
    retry_after_s = parse_retry_after(headers.get("Retry-After"), now_ms)
    text = error.msg if error is not None else ""
    code = error.code if error is not None else None
    until = _BANNED_UNTIL.search(text)
    if status == 418 or until is not None:
        return Trouble(
            action=Action.FAIL,
            reason="the exchange has banned this address for asking too often: start no loader before the ban is over",
            code=code,
            retry_after_s=retry_after_s,
            banned=True,
            banned_until_ms=int(until[1]) if until is not None else None,
        )
    if status == 451:
        return Trouble(
            action=Action.FAIL,
            reason="for legal reasons the exchange does not serve the location of this address: "
            "use another base URL of the exchange that serves it, or another exchange",
            code=code,
        )
    if status == 403:
        return Trouble(
            action=Action.FAIL,
            reason="the exchange's firewall refuses this address, perhaps for asking too often: "
            "wait some minutes, and check what else asks from here",
            code=code,
            retry_after_s=retry_after_s,
            blocked=True,
        )
    limit = _CURRENT_LIMIT.search(text)
    action, hint = _action(status, code)
    return Trouble(
        action=action,
        reason=hint or _ACTION_REASONS.get(action, "the exchange refuses the request"),
        code=code,
        retry_after_s=retry_after_s,
        weight_limit=int(limit[1]) if limit is not None else None,
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


def _action(status: int, code: int | None) -> tuple[Action, str]:
    if status == 429:
        return Action.LIMITED, ""
    known = CODES.get(code) if code is not None else None
    if known is not None:
        return known.action, known.hint
    if status >= 500 or status in _RETRIED_STATUSES:
        return Action.RETRY, ""
    if 300 <= status < 400:
        return Action.FAIL, "the base URL sends requests elsewhere: set the base URL that it points to"
    if status == 404:
        return Action.FAIL, "the base URL does not serve this: set a base URL of the exchange's REST interface"
    if status == 401:
        return Action.FAIL, "the API key is refused: correct it or leave it out (market data need none)"
    if 200 <= status < 300:
        return Action.RETRY, "the answer is not what was asked for"
    return Action.FAIL, ""


def _error_body(body: bytes) -> _ErrorBody | None:
    if body.lstrip()[:1] != b"{":
        return None
    try:
        return _decode_error(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
