"""The answers with which Binance refuses a request: status, code and text as recorded or documented."""

from __future__ import annotations

import msgspec


class ApiError(Exception):
    """A refusal. status: HTTP. code, text: the members `code` and `msg` of the body."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text

    @property
    def body(self) -> bytes:
        return msgspec.json.encode({"code": self.code, "msg": self.text})


NO_LIMIT_TEXT = "Please use WebSocket Streams for live updates to avoid"


def illegal(name: str, legal: str) -> ApiError:
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def missing(name: str) -> ApiError:
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def empty(name: str) -> ApiError:
    return ApiError(-1105, f"Parameter '{name}' was empty.")


def unread(read: int, sent: int) -> ApiError:
    return ApiError(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def repeated() -> ApiError:
    return ApiError(-1101, "Duplicate values for a parameter detected.")


def invalid_interval() -> ApiError:
    return ApiError(-1120, "Invalid interval.")


def invalid_symbol() -> ApiError:
    return ApiError(-1121, "Invalid symbol.")


def invalid_status() -> ApiError:
    return ApiError(-1122, "Invalid symbolStatus.")


def bad_combination() -> ApiError:
    return ApiError(-1128, "Combination of optional parameters invalid.")


def invalid_value(name: str) -> ApiError:
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def symbol_repeated() -> ApiError:
    return ApiError(-1151, "Symbol is present multiple times in the list.")


def too_much_weight(limit: int) -> ApiError:
    text = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. {NO_LIMIT_TEXT}"
    return ApiError(-1003, f"{text} polling the API.", 429)


def banned(until_ms: int) -> ApiError:
    return ApiError(-1003, f"Way too much request weight used; IP banned until {until_ms}. {NO_LIMIT_TEXT} bans.", 418)


def backend_timeout() -> ApiError:
    text = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
    return ApiError(-1007, text, 504)
