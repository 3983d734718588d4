"""From a query's text to its tree: tuples that begin with their kind.

What the recordings and our own statements use of AQL is read, and nothing else.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tests.doubles.arangodb.errors import ArangoError

Node = tuple[Any, ...]

WRITES = ("update", "replace", "remove", "upsert")

_BINARY = (
    {"||": "||", "OR": "||"},
    {"&&": "&&", "AND": "&&"},
    {"==": "=="},
    {"IN": "IN"},
    {"<": "<", "<=": "<=", ">": ">", ">=": ">="},
    {"..": ".."},
    {"+": "+"},
    {"/": "/"},
)
_CONSTANTS = {"NULL": None, "TRUE": True, "FALSE": False}

KEYWORDS = frozenset(
    {
        *("FOR", "LET", "FILTER", "SORT", "LIMIT", "COLLECT", "RETURN", "INSERT", "UPDATE", "REPLACE", "REMOVE"),
        *("UPSERT", "IN", "INTO", "WITH", "AND", "OR", "NULL", "TRUE", "FALSE", "ASC", "DESC", "OPTIONS", "COUNT"),
        *("AGGREGATE", "ANY", "INBOUND", "OUTBOUND", "GRAPH"),
    }
)

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<number>\d+\.\d+|\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<string>"[^"\\]*"|'[^'\\]*')
    |(?P<bind>@@?[A-Za-z0-9_]+)
    |(?P<operator>\.\.|==|<=|>=|&&|\|\||[+/<>=?:.,()\[\]{}])""",
    re.VERBOSE,
)


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
        assert match is not None, f"the double knows no such word: {text[at:]}"
        kind, word = str(match.lastgroup), match.group()
        if kind == "name" and word.upper() in KEYWORDS:
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
    return ArangoError(1501, f"syntax error near '{text[token.at :]}'")


def parse(text: str) -> list[Node]:
    """The statements of a query; 1501 for what is none, or what only a server knows."""
    parser = _Parser(text)
    statements = parser.statements()
    parser.expect("end")
    return statements


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _accept(self, *kinds: str) -> Token | None:
        if self._token.kind in kinds:
            return self._next()
        return None

    def expect(self, *kinds: str) -> Token:
        """The next word, which has to be one of these; the end stays where it is."""
        if self._token.kind not in kinds:
            raise syntax_error(self._text, self._token)
        return self._token if self._token.kind == "end" else self._next()

    # --- statements

    def statements(self) -> list[Node]:
        found: list[Node] = []
        while (statement := _STATEMENTS.get(self._token.kind)) is not None:
            self._at += 1
            found.append(statement(self))
        if not any(node[0] in ("return", *WRITES) for node in found):
            raise syntax_error(self._text, self._token)
        return found

    def _for(self) -> Node:
        names = [self.expect("name").text]
        while self._accept(","):
            names.append(self.expect("name").text)
        self.expect("IN")
        source = self.expression()
        if (direction := self._accept("ANY", "INBOUND", "OUTBOUND")) is None:
            if len(names) > 1:
                raise syntax_error(self._text, self._token)
            return ("for", names[0], source, self._options())
        start = self.expression()
        self.expect("GRAPH")
        return ("traverse", names, source, direction.kind, start, self.expression())

    def _let(self) -> Node:
        name = self.expect("name").text
        self.expect("=")
        return ("let", name, self.expression())

    def _sort(self) -> Node:
        keys = [self._sort_key()]
        while self._accept(","):
            keys.append(self._sort_key())
        return ("sort", keys)

    def _sort_key(self) -> tuple[Node, bool]:
        """What to sort by, and whether the greatest comes first."""
        by = self.expression()
        token = self._accept("ASC", "DESC")
        return by, token is not None and token.kind == "DESC"

    def _limit(self) -> Node:
        first = self.expression()
        return ("limit", ("value", 0), first)

    def _collect(self) -> Node:
        groups = self._named() if self._token.kind == "name" else []
        aggregates = []
        if self._accept("AGGREGATE"):
            aggregates = [(name, of[1], of[2][0]) for name, of in self._named()]
        counted = None
        if not aggregates and (not groups or self._token.kind == "WITH"):
            self.expect("WITH")
            self.expect("COUNT")
            self.expect("INTO")
            counted = self.expect("name").text
        return ("collect", groups, aggregates, counted)

    def _named(self) -> list[tuple[str, Node]]:
        """Names with a value each."""
        found = []
        while True:
            name = self.expect("name").text
            self.expect("=")
            found.append((name, self.expression()))
            if not self._accept(","):
                return found

    def change(self, kind: str) -> Node:
        value = self.expression(no_in=True)
        new = self.expression(no_in=True) if self._accept("WITH") else None
        return (kind, value, new, self._into(), self._options())

    def _remove(self) -> Node:
        return ("remove", self.expression(no_in=True), self._into(), self._options())

    def _upsert(self) -> Node:
        example = self.expression(no_in=True)
        self.expect("INSERT")
        new = self.expression(no_in=True)
        self.expect("REPLACE")
        changed = self.expression(no_in=True)
        return ("upsert", example, new, changed, self._into(), self._options())

    def _into(self) -> Node:
        self.expect("IN", "INTO")
        token = self.expect("name", "bind")
        return ("bind", token.text[1:]) if token.kind == "bind" else ("name", token.text)

    def _options(self) -> Node | None:
        return self._primary() if self._accept("OPTIONS") else None

    # --- expressions

    def expression(self, *, no_in: bool = False) -> Node:
        """no_in: `IN` belongs to the statement, not to the expression."""
        condition = self._binary(0, no_in)
        if not self._accept("?"):
            return condition
        yes = self.expression()
        self.expect(":")
        return ("ternary", condition, yes, self.expression(no_in=no_in))

    def _binary(self, level: int, no_in: bool) -> Node:
        if level == len(_BINARY):
            return self._primary()
        left = self._binary(level + 1, no_in)
        while True:
            operator = _BINARY[level].get(self._token.kind)
            if operator is None or (operator == "IN" and no_in):
                return left
            self._at += 1
            left = ("binary", operator, left, self._binary(level + 1, no_in))

    def _primary(self) -> Node:
        node = self._atom()
        while True:
            if self._accept("."):
                node = ("member", node, self.expect("name").text)
            elif self._accept("["):
                node = ("index", node, self.expression())
                self.expect("]")
            else:
                return node

    def _atom(self) -> Node:
        token = self._next()
        kind = token.kind
        if kind == "number":
            return ("value", int(token.text) if token.text.isdigit() else float(token.text))
        if kind == "string":
            return ("value", token.text)
        if kind in _CONSTANTS:
            return ("value", _CONSTANTS[kind])
        if kind == "bind":
            return ("bind", token.text[1:])
        if kind == "name":
            return ("call", token.text.upper(), self._list(")")) if self._accept("(") else ("name", token.text)
        if kind == "(":
            value = self.expression()
            self.expect(")")
            return value
        if kind == "[":
            return ("array", self._list("]"))
        if kind == "{":
            return self._object()
        raise syntax_error(self._text, token)

    def _list(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._accept(end):
            found.append(self.expression())
            if not self._accept(","):
                self.expect(end)
                break
        return found

    def _object(self) -> Node:
        pairs: list[tuple[str, Node]] = []
        while not self._accept("}"):
            name = self.expect("name", "string").text
            self.expect(":")
            pairs.append((name, self.expression()))
            if not self._accept(","):
                self.expect("}")
                break
        return ("object", pairs)


_STATEMENTS: dict[str, Any] = {
    "FOR": _Parser._for,
    "LET": _Parser._let,
    "FILTER": lambda parser: ("filter", parser.expression()),
    "SORT": _Parser._sort,
    "LIMIT": _Parser._limit,
    "COLLECT": _Parser._collect,
    "RETURN": lambda parser: ("return", parser.expression()),
    "UPDATE": lambda parser: parser.change("update"),
    "REPLACE": lambda parser: parser.change("replace"),
    "REMOVE": _Parser._remove,
    "UPSERT": _Parser._upsert,
}
