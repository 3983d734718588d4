"""The meaning of an HTTP answer of the exchange: pure, so that every rule can be tested without a server."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from streamforge_utils.adapters.binance.exchange_clock import parse_date
from streamforge_utils.adapters.binance.weights import CLASSES, CODES, OTHER_STATUSES, STATUSES, Action, Meaning

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
    """The error in an answer; None for a success whose body is not an error in disguise.

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
