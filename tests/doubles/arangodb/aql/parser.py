"""From a query's words to its tree: tuples that begin with their kind."""

from __future__ import annotations

from typing import Any

from tests.doubles.arangodb.aql.lexer import Token, syntax_error, tokens
from tests.doubles.arangodb.errors import ArangoError

Node = tuple[Any, ...]

_BINARY = (
    {"||": "||", "OR": "||", "??": "??"},
    {"&&": "&&", "AND": "&&"},
    {"==": "==", "!=": "!=", "=~": "=~", "!~": "!~"},
    {"IN": "IN", "LIKE": "LIKE"},
    {"<": "<", "<=": "<=", ">": ">", ">=": ">="},
    {"..": ".."},
    {"+": "+", "-": "-"},
    {"*": "*", "/": "/", "%": "%"},
)
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "IN")


def parse(text: str) -> list[Node]:
    """The statements of a query; 1502 for no query, 1501 for what is none."""
    if not text:
        raise ArangoError(1502)
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

    def expect(self, kind: str) -> Token:
        if self._token.kind != kind:
            raise syntax_error(self._text, self._token)
        return self._tokens[self._at] if kind == "end" else self._next()

    def _word(self, word: str) -> bool:
        """Accept a name that is a word of the language at this place only (OPTIONS, COUNT, KEEP, PRUNE)."""
        if self._token.kind == "name" and self._token.text.upper() == word:
            self._at += 1
            return True
        return False

    # --- statements

    def statements(self) -> list[Node]:
        found: list[Node] = []
        if self._accept("WITH"):
            names = [self._collection()]
            while self._accept(","):
                names.append(self._collection())
            found.append(("with", names))
        while True:
            token = self._token
            method = _STATEMENTS.get(token.kind)
            if method is None:
                break
            self._at += 1
            found.append(method(self))
        last = found[-1][0] if found else ""
        if last not in ("return", "insert", "update", "replace", "remove", "upsert") and not any(
            node[0] in ("insert", "update", "replace", "remove", "upsert") for node in found
        ):
            raise syntax_error(self._text, self._token)
        return found

    def _for(self) -> Node:
        names = [self.expect("name").text]
        while self._accept(","):
            names.append(self.expect("name").text)
        self.expect("IN")
        if self._token.kind in ("OUTBOUND", "INBOUND", "ANY"):
            return self._traversal(names, ("value", 1), ("value", 1))
        if self._token.kind in ("SHORTEST_PATH", "K_SHORTEST_PATHS", "K_PATHS", "ALL_SHORTEST_PATHS"):
            raise ArangoError(9, "this double finds no shortest paths")
        source = self.expression()
        if self._token.kind in ("OUTBOUND", "INBOUND", "ANY"):
            low, high = (source[2], source[3]) if source[0] == "range" else (source, source)
            return self._traversal(names, low, high)
        if len(names) > 1:
            raise syntax_error(self._text, self._token)
        if self._word("SEARCH"):
            raise ArangoError(9, "this double has no search")
        return ("for", names[0], source, self._options())

    def _traversal(self, names: list[str], low: Node, high: Node) -> Node:
        direction = self._next().kind
        start = self.expression()
        edges: list[Any] = []
        graph = None
        if self._accept("GRAPH"):
            graph = self.expression()
        else:
            edges = [self._edges(direction)]
            while self._accept(","):
                edges.append(self._edges(direction))
        prune = self.expression() if self._word("PRUNE") else None
        return ("traverse", names, low, high, direction, start, graph, edges, prune, self._options())

    def _edges(self, direction: str) -> tuple[str, Node]:
        token = self._accept("OUTBOUND", "INBOUND", "ANY")
        return (token.kind if token else direction, self._collection())

    def _let(self) -> Node:
        pairs = [self._pair()]
        while self._accept(","):
            pairs.append(self._pair())
        return ("let", pairs)

    def _pair(self) -> tuple[str, Node]:
        name = self.expect("name").text
        self.expect("=")
        return name, self.expression()

    def _filter(self) -> Node:
        return ("filter", self.expression())

    def _sort(self) -> Node:
        keys = [self._sort_key()]
        while self._accept(","):
            keys.append(self._sort_key())
        return ("sort", keys)

    def _sort_key(self) -> tuple[Node, Node]:
        by = self.expression()
        token = self._accept("ASC", "DESC")
        if token is None and self._token.kind in ("bind", "string"):
            return by, self._primary()
        return by, ("value", token.kind if token else "ASC")

    def _limit(self) -> Node:
        first = self.expression()
        if self._accept(","):
            return ("limit", first, self.expression())
        return ("limit", ("value", 0), first)

    def _collect(self) -> Node:
        groups: list[tuple[str, Node]] = []
        aggregates: list[tuple[str, Node]] = []
        if self._token.kind == "name":
            groups.append(self._pair())
            while self._accept(","):
                groups.append(self._pair())
        if self._accept("AGGREGATE"):
            aggregates.append(self._pair())
            while self._accept(","):
                aggregates.append(self._pair())
        into: str | None = None
        into_value: Node | None = None
        keep: list[str] | None = None
        count: str | None = None
        if self._accept("WITH"):
            if not self._word("COUNT"):
                raise syntax_error(self._text, self._token)
            self.expect("INTO")
            count = self.expect("name").text
        elif self._accept("INTO"):
            into = self.expect("name").text
            if self._accept("="):
                into_value = self.expression()
            if self._word("KEEP"):
                keep = [self.expect("name").text]
                while self._accept(","):
                    keep.append(self.expect("name").text)
        if not (groups or aggregates or count):
            raise syntax_error(self._text, self._token)
        return ("collect", groups, aggregates, into, into_value, keep, count, self._options())

    def _return(self) -> Node:
        distinct = self._accept("DISTINCT") is not None
        return ("return", self.expression(), distinct)

    def _insert(self) -> Node:
        value = self.expression(no_in=True)
        return ("insert", value, self._into(), self._options())

    def _change(self, kind: str) -> Node:
        value = self.expression(no_in=True)
        new = self.expression(no_in=True) if self._accept("WITH") else None
        return (kind, value, new, self._into(), self._options())

    def _update(self) -> Node:
        return self._change("update")

    def _replace(self) -> Node:
        return self._change("replace")

    def _remove(self) -> Node:
        value = self.expression(no_in=True)
        return ("remove", value, self._into(), self._options())

    def _upsert(self) -> Node:
        if self._accept("FILTER"):
            raise ArangoError(9, "this double knows UPSERT with an example only")
        example = self.expression(no_in=True)
        self.expect("INSERT")
        new = self.expression(no_in=True)
        kind = self._accept("UPDATE", "REPLACE")
        if kind is None:
            raise syntax_error(self._text, self._token)
        changed = self.expression(no_in=True)
        return ("upsert", example, new, kind.kind.lower(), changed, self._into(), self._options())

    def _into(self) -> Node:
        if self._accept("IN", "INTO") is None:
            raise syntax_error(self._text, self._token)
        return self._collection()

    def _collection(self) -> Node:
        token = self._accept("name", "bind", "string")
        if token is None:
            raise syntax_error(self._text, self._token)
        return ("bind", token.text[1:], token.at) if token.kind == "bind" else ("name", token.text)

    def _options(self) -> Node | None:
        return self._primary() if self._word("OPTIONS") else None

    # --- expressions

    def expression(self, *, no_in: bool = False) -> Node:
        condition = self._binary(0, no_in)
        if self._accept("?"):
            if self._accept(":"):
                return ("ternary", condition, None, self.expression(no_in=no_in))
            yes = self.expression()
            self.expect(":")
            return ("ternary", condition, yes, self.expression(no_in=no_in))
        return condition

    def _binary(self, level: int, no_in: bool) -> Node:
        if level == len(_BINARY):
            return self._unary(no_in)
        left = self._binary(level + 1, no_in)
        while True:
            kind = self._token.kind
            negated = False
            quantifier = None
            start = self._at
            if level in (2, 3, 4) and kind in ("ANY", "ALL", "NONE"):
                quantifier = kind
                self._at += 1
                kind = self._token.kind
            if level == 3 and kind == "NOT" and self._tokens[self._at + 1].kind in ("IN", "LIKE"):
                self._at += 1
                kind = self._token.kind
                negated = True
            operator = _BINARY[level].get(kind)
            if operator is None or (operator == "IN" and no_in and quantifier is None and not negated):
                self._at = start
                return left
            self._at += 1
            right = self._binary(level + 1, no_in)
            if quantifier is not None:
                if operator not in _COMPARISONS:
                    raise syntax_error(self._text, self._tokens[start])
                left = ("quantified", quantifier, "NOT IN" if negated else operator, left, right)
            elif operator == "..":
                left = ("range", "..", left, right)
            else:
                left = ("binary", operator, left, right)
                if negated:
                    left = ("not", left)

    def _unary(self, no_in: bool) -> Node:
        if self._accept("!", "NOT"):
            return ("not", self._unary(no_in))
        if self._accept("-"):
            return ("minus", self._unary(no_in))
        if self._accept("+"):
            return ("plus", self._unary(no_in))
        return self._primary()

    def _primary(self) -> Node:
        node = self._atom()
        while True:
            if self._accept("."):
                token = self._next()
                if token.kind == "bind":
                    node = ("index", node, ("bind", token.text[1:], token.at))
                elif token.kind == "name" or token.kind.isupper():
                    node = ("member", node, token.text)
                else:
                    raise syntax_error(self._text, token)
            elif self._token.kind == "[":
                self._at += 1
                node = self._bracket(node)
            else:
                return node

    def _bracket(self, node: Node) -> Node:
        stars = 0
        while self._accept("*"):
            stars += 1
        if not stars:
            index = self.expression()
            self.expect("]")
            return ("index", node, index)
        condition = self.expression() if self._accept("FILTER") else None
        limit = None
        if self._accept("LIMIT"):
            limit = self._limit()
        value = self.expression() if self._accept("RETURN") else None
        self.expect("]")
        tail: Node = ("name", "CURRENT")
        while True:
            if self._accept("."):
                token = self._next()
                tail = ("member", tail, token.text)
            elif self._token.kind == "[" and self._tokens[self._at + 1].kind != "*":
                self._at += 1
                tail = self._bracket(tail)
            else:
                break
        return ("expand", node, stars, condition, limit, value, tail if tail != ("name", "CURRENT") else None)

    def _atom(self) -> Node:
        token = self._next()
        kind = token.kind
        if kind == "number":
            whole = token.text.isdigit()
            return ("value", int(token.text) if whole else float(token.text))
        if kind == "string":
            return ("value", token.text)
        if kind in ("NULL", "TRUE", "FALSE"):
            return ("value", {"NULL": None, "TRUE": True, "FALSE": False}[kind])
        if kind == "bind":
            return ("bind", token.text[1:], token.at)
        if kind == "name" or (kind in ("LIKE",) and self._token.kind == "("):
            if self._token.kind == "(":
                return self._call(token)
            return ("name", token.text)
        if kind == "(":
            if self._token.kind in _STATEMENTS or self._token.kind == "WITH":
                inner = self.statements()
                self.expect(")")
                return ("subquery", inner)
            value = self.expression()
            self.expect(")")
            return value
        if kind == "[":
            return ("array", self._list("]"))
        if kind == "{":
            return self._object()
        raise syntax_error(self._text, token)

    def _call(self, token: Token) -> Node:
        self.expect("(")
        if self._token.kind in _STATEMENTS and self._token.kind != "REMOVE":
            inner = self.statements()
            self.expect(")")
            return ("call", token.text.upper(), [("subquery", inner)], token.at)
        return ("call", token.text.upper(), self._list(")"), token.at)

    def _list(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._accept(end):
            found.append(self.expression())
            if not self._accept(","):
                self.expect(end)
                break
        return found

    def _object(self) -> Node:
        pairs: list[tuple[Node, Node]] = []
        while not self._accept("}"):
            token = self._next()
            if token.kind == "[":
                name = self.expression()
                self.expect("]")
            elif token.kind == "bind":
                name = ("bind", token.text[1:], token.at)
            elif token.kind in ("name", "string") or token.kind.isupper():
                name = ("value", token.text)
            else:
                raise syntax_error(self._text, token)
            if token.kind == "name" and self._token.kind in (",", "}"):
                pairs.append((name, ("name", token.text)))
            else:
                self.expect(":")
                pairs.append((name, self.expression()))
            if not self._accept(","):
                self.expect("}")
                break
        return ("object", pairs)


_STATEMENTS: dict[str, Any] = {
    "FOR": _Parser._for,
    "LET": _Parser._let,
    "FILTER": _Parser._filter,
    "SORT": _Parser._sort,
    "LIMIT": _Parser._limit,
    "COLLECT": _Parser._collect,
    "RETURN": _Parser._return,
    "INSERT": _Parser._insert,
    "UPDATE": _Parser._update,
    "REPLACE": _Parser._replace,
    "REMOVE": _Parser._remove,
    "UPSERT": _Parser._upsert,
}
