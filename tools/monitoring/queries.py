"""What a PromQL expression asks for: the series it names and the labels it expects of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, MatrixSelector, VectorSelector

_VARIABLE = re.compile(r"\$__\w+")
_MADE = {"label_replace", "label_join"}
"""Functions that give a series labels of their own: what is behind them is not looked at by label."""


def plain(expression: str) -> str:
    """The expression of a Grafana panel as Prometheus gets it: a range where Grafana puts one."""
    return _VARIABLE.sub("5m", expression)


def faults(expression: str, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """What is wrong with an expression: it does not parse, names no series, one that nobody reports, or a wrong label.

    known: the labels of each series.
    """
    try:
        parsed = promql_parser.parse(plain(expression))
    except ValueError as error:
        yield f"it does not parse: {error}"
        return
    if not list(selectors(parsed)):
        yield "it asks for no series"
    yield from _faults(parsed, known)


def selectors(node: Expr) -> Iterator[VectorSelector]:
    """Every selector of an expression."""
    found: list[VectorSelector] = []

    def visit(part: Expr) -> bool:
        if isinstance(part, VectorSelector):
            found.append(part)
        elif isinstance(part, MatrixSelector):
            found.append(part.vector_selector)
        return True

    promql_parser.walk(node, visit)
    return iter({id(one): one for one in found}.values())


def _faults(node: Expr, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for selector in selectors(node):
        labels = known.get(selector.name or "")
        if labels is None:
            yield f"nobody reports {selector.name or 'a series without a name'}"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in labels:
                yield f"{selector.name} has no label {matcher.name}"
    yield from _groupings(node, known)


def _groupings(node: Expr, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """The labels by which is grouped or matched are those of every series below."""
    found: list[tuple[Expr, list[str]]] = []

    def visit(part: Expr) -> bool:
        if isinstance(part, AggregateExpr) and part.modifier is not None:
            found.append((part, list(part.modifier.labels)))
        elif isinstance(part, BinaryExpr) and part.modifier is not None and part.modifier.matching is not None:
            found.append((part, list(part.modifier.matching.labels)))
        return not (isinstance(part, Call) and part.func.name in _MADE)

    promql_parser.walk(node, visit)
    for part, labels in found:
        for selector in selectors(part):
            for label in labels:
                if label not in known.get(selector.name or "", {label}):
                    yield f"{selector.name} has no label {label}"
