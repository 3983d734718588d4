"""What the replay leaves out, by rule: each rule looks at the request, its setup and where the line comes from.

No rule looks at what the double answers.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.doubles.arangodb.dispatch import FAMILIES
from tests.doubles.arangodb.replay.lines import Pair
from tests.doubles.arangodb.replay.prepare import EXAMPLE_GRAPHS, OPERATIONS

Rule = Callable[[Pair], str | None]


def outside(pair: Pair) -> str | None:
    """Why a line is not replayed; None for one that is."""
    for rule in RULES:
        reason = rule(pair)
        if reason:
            return reason
    return None


def _unreadable(pair: Pair) -> str | None:
    return f"unreadable line: {pair.broken}" if pair.broken else None


def _no_request(pair: Pair) -> str | None:
    if not pair.method or not pair.path or pair.status is None:
        return "no HTTP request and answer in the line (errors seen by a shell)"
    return None


def _unknown_setup(pair: Pair) -> str | None:
    unknown = {str(step.get("op")) for step in pair.setup} - set(OPERATIONS)
    if unknown:
        return f"a setup that the replay cannot make: {', '.join(sorted(unknown))}"
    for step in pair.setup:
        if step.get("op") == "load_example_graph" and step.get("name") not in EXAMPLE_GRAPHS:
            return f"a setup that the replay cannot make: example graph {step.get('name')}"
    return None


_PARTS = {
    "_admin/server": {"availability"},
    "_api/engine": {""},
    "_api/query": {""},
}
"""Of these families only the calls below these names are spoken."""


def _unknown_family(pair: Pair) -> str | None:
    parts = [*pair.route.split("/")[1:], "", ""]
    family = "/".join(parts[:2])
    known = family in FAMILIES and parts[2] in _PARTS.get(family, {parts[2]})
    if not known and family != "_open/auth" and pair.status != 401:
        return f"a family of calls that StreamForge does not use: /{family}"
    if family == "_api/user" and parts[3] == "config":
        return "a family of calls that StreamForge does not use: /_api/user/<user>/config"
    return None


def _vectors(pair: Pair) -> str | None:
    indexes = [str(step.get("index")) for step in pair.setup] + ([pair.body or ""] if pair.method == "POST" else [])
    if any('"vector"' in text or "'vector'" in text for text in indexes) and "index" in pair.group:
        return "a vector index (experimental)"
    return None


def _javascript(pair: Pair) -> str | None:
    reason = "runs JavaScript on the server (removed in 4.0)"
    for step in pair.setup:
        if step.get("op") == "request" and _is_script(str(step.get("path")), step.get("body")):
            return reason
    if pair.method != "POST" or pair.route != "/_api/transaction" or "x-arango-async" in pair.headers:
        return None
    if pair.body is None:
        return reason + "; its action is not recorded"
    made = {step.get("name") for step in pair.setup if step.get("op") == "create_collection"}
    return reason if _is_script(pair.path, pair.body) and made else None


def _is_script(path: str, body: object) -> bool:
    return path.endswith("/_api/transaction") and isinstance(body, str) and '"action"' in body


def _lost_body(pair: Pair) -> str | None:
    if pair.method == "POST" and pair.route == "/_api/index" and not pair.body:
        return "its request body is not in the recording"
    return None


def _cache_contents(pair: Pair) -> str | None:
    if pair.route in ("/_api/query-cache/entries", "/_api/query-plan-cache") and pair.method == "GET":
        return "what a query cache holds: the double caches nothing"
    return None


def _hidden_state(pair: Pair) -> str | None:
    if pair.route.startswith("/_api/token/") and pair.method in ("GET", "DELETE") and not pair.setup:
        return "an access token that no recorded setup makes"
    return None


def _newer_than_released(pair: Pair) -> str | None:
    if not pair.version.startswith("devel"):
        return None
    if "newest devel" in pair.note or (pair.route == "/_api/document" and "collection=" in pair.path):
        return "a test of the version after 3.12, whose answer 3.11 and 3.12 do not give (by its note)"
    return None


def _superseded(pair: Pair) -> str | None:
    if "older snapshot" in pair.note:
        return "asserted by a test that a newer one or a recording supersedes (by its note)"
    return None


RULES: tuple[Rule, ...] = (
    _unreadable,
    _no_request,
    _javascript,
    _unknown_family,
    _vectors,
    _unknown_setup,
    _lost_body,
    _cache_contents,
    _hidden_state,
    _newer_than_released,
    _superseded,
)
