"""The answers with which Binance refuses a request: status, code and text as recorded or documented."""

from __future__ import annotations

import msgspec

_UPDATES = "Please use WebSocket Streams for live updates to avoid"
_TEXTS = {
    -1003: "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
    f"{_UPDATES} polling the API.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1100: "Illegal characters found in parameter '{}'; legal range is '{}'.",
    -1101: "Duplicate values for a parameter detected.",
    -1102: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    -1104: "Not all sent parameters were read; read '{}' parameter(s) but was sent '{}'.",
    -1105: "Parameter '{}' was empty.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1130: "Data sent for parameter '{}' is not valid.",
}


class ApiError(Exception):
    """A refusal. code: that of the body. details: the values that its text names. status: HTTP.

    retry_after: seconds, as the header names them; None: no header. text: instead of the code's usual one.
    """

    def __init__(
        self, code: int, *details: object, status: int = 400, retry_after: int | None = None, text: str = ""
    ) -> None:
        super().__init__(text or _TEXTS[code].format(*details))
        self.code, self.status, self.retry_after = code, status, retry_after

    @property
    def body(self) -> bytes:
        return msgspec.json.encode({"code": self.code, "msg": str(self)})


def banned(until_ms: int, retry_after: int) -> ApiError:
    """The refusal of a client that is banned until then."""
    text = f"Way too much request weight used; IP banned until {until_ms}. {_UPDATES} bans."
    return ApiError(-1003, status=418, retry_after=retry_after, text=text)
