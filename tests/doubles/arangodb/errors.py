"""Error numbers of ArangoDB, with the status and the words a server answers them with."""

from __future__ import annotations

from typing import Any

NUMBERS_OF_STATUS: dict[int, tuple[int, ...]] = {
    400: (
        *(10, 17, 400, 600, 601, 1204, 1208, 1221, 1222, 1227, 1232, 1233, 1237, 1466, 1501, 1502, 1551, 1552, 1562),
        *(1620, 1920, 1928),
    ),
    401: (401,),
    403: (11, 1004, 1230, 1429, 1942),
    404: (404, 1202, 1203, 1212, 1228, 1600, 1655, 1924, 1926, 1930, 1947),
    405: (405,),
    409: (1200, 1207, 1210, 1925),
    410: (21, 1500, 1654),
    412: (412, 21004),
    500: (4, 18, 28, 29, 32, 1457),
    501: (9,),
    503: (30, 38, 503, 1491, 1495, 1496, 21003),
}
STATUS = {number: status for status, numbers in NUMBERS_OF_STATUS.items() for number in numbers}
"""By number: the status; ArangoDB's manual says what each means."""
_WORDS = {
    11: "forbidden",
    1004: "server is in read-only mode",
    1200: "conflict",
    1210: "unique constraint violated",
    1620: "schema validation failed",
}


class ArangoError(Exception):
    """One refused request or element.

    number: ArangoDB's error number. body: more fields of the answer (a conflict names the present revision).
    """

    def __init__(self, number: int, message: str | None = None, *, status: int | None = None, **body: Any) -> None:
        self.number = number
        self.status = status or STATUS[number]
        self.message = _WORDS.get(number, f"error {number}") if message is None else message
        self.body = body
        super().__init__(f"{number}: {self.message}")

    def answer(self) -> dict[str, Any]:
        """The body of a whole answer that is this error."""
        return {
            "code": self.status,
            "error": True,
            "errorMessage": self.message,
            "errorNum": self.number,
            **self.body,
        }

    def element(self) -> dict[str, Any]:
        """This error at its place in the answer to an array."""
        return {"error": True, "errorNum": self.number, "errorMessage": self.message}
