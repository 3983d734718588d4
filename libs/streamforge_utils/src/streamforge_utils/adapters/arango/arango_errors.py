"""What the server's error numbers mean to us: whether to try again, whom to tell, or what is wrong with the data."""

from __future__ import annotations

from typing import Final

import msgspec

from streamforge_utils.adapters.arango.connection import Connection
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError

FORBIDDEN: Final = 11
PARSE: Final = 600
READ_ONLY: Final = 1004
CONFLICT: Final = 1200
NO_DOCUMENT: Final = 1202
NO_COLLECTION: Final = 1203
DUPLICATE_NAME: Final = 1207
UNIQUE: Final = 1210
MALFORMED_REVISION: Final = 1216
NO_DATABASE: Final = 1228
GRAPH_MISSING: Final = 1924
GRAPH_DUPLICATE: Final = 1925
EDGE_COLLECTION_USED: Final = 1920
NO_CURSOR: Final = 1600
IN_GRAPH: Final = 1942

RETRIED: Final = frozenset(
    {
        18,  # lock timeout
        21,  # the request was cancelled
        28,  # locked
        29,  # deadlock
        30,  # shutting down
        38,  # not available (start)
        503,  # maintenance
        CONFLICT,
        1429,  # the write concern is not fulfilled
        1457,  # cluster: time-out
        1500,  # the query was killed: by hand, by a limit of the server, or as its leader moved
        1654,  # its transaction was aborted
        1655,  # or is gone
        1491,  # cluster: the leader resigned
        1495,  # cluster: leadership is being taken over
        1496,  # cluster: not the leader (any more)
        21003,  # queue full
        21004,  # queue time violated
    }
)
"""Of a request or of a document in it: what the server says while it is busy, moves or is just being restarted."""

NOTHING_DONE: Final = frozenset({21003, 21004})
"""Of RETRIED: the request never left the server's queue."""

DATA: Final = frozenset(
    {
        *(PARSE, 1208, UNIQUE, MALFORMED_REVISION, 1221, 1226, 1233, 1469, 1504, 1505, 1524, 1542, 1543),
        *(1561, 1562, 1563, 1569, 1572, 1578, 1593, 1594, 1620, 4001, 4003, 4010),
    }
)
"""The document is at fault: the same again would be refused again. As ArangoDB's own sink for Kafka has it, but for
OF_COLLECTION."""

OF_COLLECTION: Final = frozenset({1222, 1466})
"""No document is at fault: the collection takes no keys but its own (`allowUserKeys`), or is sharded by another."""

ASKING_VERSION: Final = "ask for its version"
"""What the first request of all does."""

_RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SHOWN: Final = 300


class Refusal(msgspec.Struct, kw_only=True):
    """The body of an error, or the answer for one element of an array."""

    error: bool = False
    number: int = msgspec.field(name="errorNum", default=0)
    message: str = msgspec.field(name="errorMessage", default="")

    def __str__(self) -> str:
        return f"{self.number}: {self.message[:_SHOWN]}"

    @property
    def told(self) -> str:
        """The end of a sentence about what was refused."""
        return f"is refused by ArangoDB (error {self.number}): {self.message[:_SHOWN]}"

    @property
    def is_race(self) -> bool:
        """Whether the key itself is taken, which a call that replaces meets only while somebody else inserts it."""
        return self.number == UNIQUE and "of type primary" in self.message


_decode = msgspec.json.Decoder(Refusal).decode


class Refused(PermanentError):
    """The server refused a request for a reason that lies in its content. of_data: it may lie in a part alone."""

    def __init__(self, message: str, refusal: Refusal, *, of_data: bool) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.of_data = of_data


class TooLarge(Refused):
    """An answer is larger than is ever read; what was asked for has been done, and less at once does better."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Refusal(), of_data=True)


def refusal_of(body: bytes) -> Refusal:
    """What an answer that is an error says; number 0 if it is none of ArangoDB's."""
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return Refusal(message=body[:_SHOWN].decode(errors="replace").strip())


def is_retried(status: int, number: int) -> bool:
    """Whether the same request may succeed soon."""
    if number == CONFLICT:
        return status != 412  # which says that a revision is another: an answer
    return number in RETRIED or (number not in DATA and status in _RETRIED_STATUSES)


def translated(connection: Connection, what: str, status: int, refusal: Refusal) -> StreamForgeError:
    """The error to raise for an answer that is not worth another try."""
    number, said = refusal.number, refusal.message[:_SHOWN]
    where = f"ArangoDB at {connection.shown}"
    if status == 401:
        return ConfigError(
            f"{where}: user {connection.user or 'nobody'} is not let in ({said or 'not authorized'}): "
            "check ARANGO_USER and ARANGO_PASSWORD, and that this user may use the database "
            f"{connection.database!r} (ARANGO_DB)"
        )
    if number == NO_DATABASE:
        return ConfigError(
            f"{where}: there is no database {connection.database!r}: name another in ARANGO_DB, or have it made"
        )
    if number == READ_ONLY:
        return RetryableError(
            f"{where}: {what}: it is read-only ({said}): has the licence's limit of data been reached? "
            "`streamforge doctor` tells; nothing is lost, the write is tried again",
            retry_after=5.0,
        )
    if number in OF_COLLECTION:
        return ConfigError(
            f"{where}: {what}: that collection, as somebody has made it, takes no keys of documents ({said}; "
            f"error {number}): choose another name (COLLECTION_NAME, or `collection_name` of the request), or drop it"
        )
    if status == 403:
        return ConfigError(
            f"{where}: {what}: user {connection.user or 'nobody'} may not do that ({said}): "
            f"give ARANGO_USER the right to write in the database {connection.database!r} (ARANGO_DB)"
        )
    if status == 404 and number in (0, 404) and what == ASKING_VERSION:
        return ConfigError(
            f"{where}: what answers there (HTTP 404: {said}) is no ArangoDB, or not at this path: check host, port and "
            "path in ARANGO_URL; the database belongs into ARANGO_DB"
        )
    if number == 0 and status in (301, 302, 307, 308, 404, 405):
        return ConfigError(
            f"{where}: {what}: what answers there (HTTP {status}) is no ArangoDB: check host and port in ARANGO_URL"
        )
    if status == 413:
        said = (
            "the request is larger than the server, or a proxy before it, lets through: "
            f"raise that limit (nginx: client_max_body_size), or make the document smaller ({said[:60]})"
        )
    words = f"{where}: {what}: it was refused (HTTP {status}, error {number}): {said}"
    return Refused(words, refusal, of_data=number in DATA or status == 413)


def check_for_all(connection: Connection, what: str, refusal: Refusal) -> None:
    """Raise what one element of an array is refused for, if it holds for every other element too."""
    if refusal.number in (FORBIDDEN, READ_ONLY, *OF_COLLECTION):
        raise translated(connection, what, 403, refusal)
