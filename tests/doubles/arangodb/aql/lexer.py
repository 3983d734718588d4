"""Words of a query."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.doubles.arangodb.errors import ArangoError

# fmt: off
KEYWORDS = frozenset((
    "FOR", "LET", "FILTER", "SORT", "LIMIT", "COLLECT", "RETURN", "INSERT", "UPDATE", "REPLACE", "REMOVE", "UPSERT",
    "IN", "INTO", "WITH", "AND", "OR", "NULL", "TRUE", "FALSE", "ASC", "DESC",
))
# fmt: on
_PLACED = frozenset(("OPTIONS", "COUNT"))
"""Words of the language at their place only; elsewhere they may be names, which no query here uses."""

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<number>\d+\.\d+|\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<string>"[^"\\]*"|'[^'\\]*')
    |(?P<bind>@@?[A-Za-z0-9_]+)
    |(?P<operator>\.\.|==|!=|<=|>=|&&|\|\||[-+*/%<>=?:.,()\[\]{}])""",
    re.VERBOSE,
)
_NAMES = {
    "=": "assignment",
    "end": "end of query string",
    "number": "integer",
    "string": "quoted string",
    "name": "identifier",
    "bind": "bind parameter",
}


class Token(NamedTuple):
    """kind: number, name, string, bind, end, or the keyword or operator itself. at: place in the text, from 0."""

    kind: str
    text: str
    at: int


def tokens(text: str) -> list[Token]:
    """All words of a query, with an end; 1501 for what is no word."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise syntax_error(text, Token(text[at], text[at], at))
        kind, word = str(match.lastgroup), match.group()
        if kind == "name" and word.upper() in KEYWORDS | _PLACED:
            kind = word.upper()
        elif kind == "string":
            word = word[1:-1]
        elif kind == "operator":
            kind = word
        if kind != "blank":
            found.append(Token(kind, word, at))
        at = match.end()
    found.append(Token("end", "", len(text)))
    return found


def syntax_error(text: str, token: Token) -> ArangoError:
    """1501, with the place as servers name it: line and column from 1."""
    before = text[: token.at]
    line = before.count("\n") + 1
    column = token.at - (before.rfind("\n") + 1) + 1
    kind = token.kind.lower()
    what = _NAMES.get(kind, kind if kind.isalpha() else token.text)
    if token.kind.isupper():
        what += " declaration" if token.kind in ("FOR", "LET", "FILTER", "RETURN", "COLLECT", "SORT", "LIMIT") else ""
        what = what[:1].upper() + what[1:] if what.endswith("declaration") else what
        what = f"{token.kind} declaration" if what.endswith("declaration") else what
    near = f" near '{text[token.at :]}'" if token.kind != "end" else ""
    return ArangoError(1501, f"syntax error, unexpected {what}{near} at position {line}:{column}")
