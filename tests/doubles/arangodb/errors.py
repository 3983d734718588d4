"""Error numbers of ArangoDB, with the status and the words a server answers them with."""

from __future__ import annotations

from typing import Any

WORDS: dict[int, tuple[int, str]] = {
    4: (500, "internal error"),
    9: (501, "not implemented"),
    10: (400, "bad parameter"),
    11: (403, "forbidden"),
    18: (500, "lock timeout"),
    21: (410, "canceled request"),
    28: (500, "locked"),
    30: (503, "shutdown in progress"),
    32: (500, "resource limit exceeded"),
    400: (400, "bad parameter"),
    401: (401, "not authorized"),
    404: (404, "not found"),
    405: (405, "method not supported"),
    412: (412, "precondition failed"),
    501: (501, "not implemented"),
    503: (503, "service unavailable due to startup or maintenance mode"),
    600: (400, "VPackError error: Expecting digit"),
    1004: (403, "server is in read-only mode"),
    1200: (409, "conflict"),
    1202: (404, "document not found"),
    1203: (404, "collection or view not found"),
    1204: (400, "parameter 'collection' not found"),
    1205: (400, "illegal document identifier"),
    1207: (409, "duplicate name"),
    1208: (400, "illegal name"),
    1210: (409, "unique constraint violated"),
    1212: (404, "index not found"),
    1217: (400, "cannot remove or drop primary or edge index"),
    1218: (400, "document handle bad"),
    1221: (400, "illegal document key"),
    1222: (400, "unexpected document key"),
    1226: (400, "illegal number of documents"),
    1227: (400, "invalid document type"),
    1228: (404, "database not found"),
    1229: (400, "database name invalid"),
    1230: (403, "operation only allowed in system database"),
    1232: (400, "invalid key generator"),
    1233: (
        400,
        "expecting both `_from` and `_to` attributes in the document to be of type string and valid document ids",
    ),
    1235: (400, "index creation failed"),
    1237: (400, "collection type mismatch"),
    1429: (403, "write concern not fulfilled"),
    1457: (500, "cluster timeout"),
    1466: (400, "shard key must not be specified: own values of _key are refused by this collection"),
    1469: (400, "must not change the value of a shard key"),
    1477: (421, "not a leader"),
    1495: (503, "not a leader"),
    1496: (503, "not a leader"),
    1500: (410, "query killed"),
    1501: (400, "syntax error"),
    1502: (400, "query is empty"),
    1504: (400, "number out of range"),
    1510: (400, "variable name has an invalid format"),
    1511: (400, "variable is assigned multiple times"),
    1540: (400, "usage of unknown function"),
    1541: (400, "invalid number of arguments for function"),
    1542: (400, "invalid argument type in call to function"),
    1543: (400, "invalid regex value"),
    1550: (400, "invalid structure of bind parameters"),
    1551: (400, "no value specified for declared bind parameter"),
    1552: (400, "bind parameter was not declared in the query"),
    1553: (400, "bind parameter has an invalid value or type"),
    1562: (400, "division by zero"),
    1563: (400, "array expected"),
    1569: (400, "FAIL called"),
    1579: (400, "access after data-modification"),
    1600: (404, "cursor not found"),
    1601: (409, "cursor is busy"),
    1620: (400, "schema validation failed"),
    1621: (400, "schema validation bad parameter"),
    1650: (500, "internal transaction error"),
    1651: (400, "nested transactions detected"),
    1652: (400, "unregistered collection used in transaction"),
    1653: (400, "disallowed operation inside transaction"),
    1654: (410, "transaction aborted"),
    1655: (404, "transaction not found"),
    1700: (400, "invalid user name"),
    1702: (409, "duplicate user"),
    1703: (404, "user not found"),
    1906: (400, "invalid edge"),
    1920: (400, "multi use of edge collection in edge def"),
    1921: (400, "edge collection already used in edge def"),
    1922: (400, "missing graph name"),
    1923: (400, "malformed edge definition"),
    1924: (404, "graph not found"),
    1925: (409, "graph already exists"),
    1926: (404, "vertex collection does not exist or is not part of the graph"),
    1927: (400, "collection not a vertex collection"),
    1928: (400, "collection is not in list of orphan collections"),
    1929: (400, "collection already used in edge def"),
    1930: (404, "edge collection not used in graph"),
    1938: (400, "collection used in orphans"),
    1942: (403, "must not drop collection while part of graph"),
    1943: (400, "malformed orphan list"),
    1944: (400, "edge definition collection is a document collection"),
    1947: (404, "referenced vertex collection is not part of the graph"),
    21003: (503, "queue full"),
    21004: (412, "queue time violated"),
}
"""By number: the status and the message. A number that is absent answers as 500 "internal error"."""


class ArangoError(Exception):
    """One refused request or element.

    number: ArangoDB's error number. body: more fields of the answer (a conflict names the present revision).
    """

    def __init__(self, number: int, message: str | None = None, *, status: int | None = None, **body: Any) -> None:
        usual, words = WORDS.get(number, (500, "internal error"))
        self.number = number
        self.status = status or usual
        self.message = words if message is None else message
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
