"""The double answers as real servers were recorded to answer."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.arangodb.replay.examples import EXAMPLE_GRAPHS
from tests.doubles.arangodb.replay.report import replay
from tests.places import ROOT, arango_recordings

OK = {"error": False, "code": 200}
LINE: dict[str, Any] = {
    "id": "made/count",
    "kind": "recorded",
    "group": "collection",
    "version": "3.12.10",
    "deployment": "single",
    "method": "GET",
    "path": "/_api/collection/c/count",
    "request_headers": {},
    "request_body": None,
    "status": 200,
    "response_headers": {},
    "response_body": {"count": 1, "name": "c", **OK},
    "response_body_match": "subset",
    "setup": [
        {"op": "create_collection", "name": "c"},
        {"op": "insert", "collection": "c", "docs": [{"_key": "a"}], "many": False},
    ],
}


ADAPTER = "libs/streamforge_utils/src/streamforge_utils/adapters/arango"
UNUSED = {
    *("_api/edges", "_api/endpoint", "_api/engine", "_api/explain", "_api/job", "_api/key-generators", "_api/query"),
    *("_api/query-cache", "_api/query-plan-cache", "_api/token", "_api/transaction", "_api/user", "_open/auth"),
    *("_admin/deployment", "_admin/server", "_admin/status", "_admin/time"),
}
"""The families of calls that StreamForge does not send: what is recorded of them says nothing about it."""


def test_no_call_of_the_adapter_is_of_a_family_that_is_left_out() -> None:
    source = "".join(path.read_text() for path in (ROOT / ADAPTER).glob("*.py"))
    called = set(re.findall(r"/?(_(?:api|admin|open)/[a-z-]+)", source))
    assert {"_api/cursor", "_api/document"} <= called
    assert not called & UNUSED


def test_every_recorded_pair_of_a_call_in_use_is_answered_as_recorded() -> None:
    report = asyncio.run(replay(arango_recordings()))

    assert [(pair.id, said) for pair, said in report.differing] == []
    assert report.not_replayable == {}
    assert len([pair for pair in report.covered if pair.kind == "recorded"]) >= 245
    assert len(report.covered) >= 343
    families = {reason.rpartition(" use: /")[2] for reason in report.outside if " use: /" in reason}
    assert families <= UNUSED
    others = [pair for reason, pairs in report.outside.items() if " use: /" not in reason for pair in pairs]
    assert [pair.group for pair in others if pair.kind == "recorded"] == ["index"], "one, without its request body"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"status": 404}, "status: recorded 404, answered 200"),
        ({"response_body": {"count": 2, **OK}}, "body.count: recorded 2, answered 1"),
        ({"response_body": {"count": "1", **OK}}, "body.count"),
        ({"response_body": {"count": 1, "more": 1, **OK}}, "without ['more']"),
        ({"response_body_match": "exact"}, "not recorded"),
        ({"response_headers": {"x-arango-error-codes": '{"1200":1}'}}, "header x-arango-error-codes: missing"),
        ({"response_headers": {"location": "/elsewhere"}}, "header location"),
        ({"setup": [{"op": "ensure_index", "collection": "no", "index": {}}]}, "setup: POST /_api/index"),
    ],
)
def test_a_pair_differs_where_it_is_answered_otherwise(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "lines"
    path.write_text(json.dumps(LINE | change))
    report = asyncio.run(replay(path))

    assert [pair.id for pair in report.covered] == ([] if said else ["made/count"])
    differences = [said for _, found in report.differing for said in found]
    assert any(said in difference for difference in differences) == bool(said), differences


def _graph(name: str, collection: str, count: int) -> dict[str, Any]:
    return LINE | {
        "id": name,
        "path": f"/_api/collection/{collection}/count",
        "response_body": {"count": count, "name": collection, **OK},
        "setup": [{"op": "load_example_graph", "name": name}],
    }


def test_every_example_graph_that_arangodb_documents_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    graphs = [
        _graph("knows_graph", "knows", 5),
        _graph("traversalGraph", "circles", 11),
        _graph("kShortestPathsGraph", "connections", 36),
        _graph("mps_graph", "mps_edges", 7),
        _graph("worldCountry", "worldVertices", 87),
        _graph("worldCountryUnManaged", "worldEdges", 86),
        _graph("social", "relation", 4),
        _graph("routeplanner", "internationalHighway", 6),
        _graph("cityGraph", "germanCity", 3),
        _graph("connectedComponentsGraph", "components", 36),
    ]
    path.write_text("\n".join(map(json.dumps, graphs)))
    report = asyncio.run(replay(path))

    assert {pair.id for pair in report.covered} == EXAMPLE_GRAPHS.keys(), report.text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"setup": [{"op": "load_example_graph", "name": "noGraph"}]}, "an unknown example graph: noGraph"),
        ({"setup": [{"op": "create_view", "name": "v"}]}, "an unknown step of a setup: create_view"),
        (
            {"setup": [{"op": "request", "method": "POST", "path": "/_api/view", "body": {}}]},
            "a setup that calls a family which StreamForge does not use: /_api/view",
        ),
        ({"setup": [{"op": "insert"}]}, "an unknown form of recording: KeyError: 'docs'"),
        ({"path": "/_api/collection/c/shape"}, "an unknown call: GET /_api/collection"),
        (
            {"method": "POST", "path": "/_api/cursor", "request_body": {"query": "FOR d IN c SEARCH d.x RETURN d"}},
            "AQL that the double does not know: syntax error near 'SEARCH d.x RETURN d'",
        ),
        ({"status": "ok"}, "no recording: Expected `int | null`, got `str` - at `$.status`"),
    ],
)
def test_what_the_double_does_not_know_makes_one_pair_not_replayable(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "lines"
    path.write_text("\n".join(map(json.dumps, [LINE, LINE | {"id": "made/unknown"} | change, LINE])))
    report = asyncio.run(replay(path))

    assert list(report.not_replayable) == [said]
    assert (len(report.covered), report.differing) == (2, [])
    assert f"not replayable: 1 ({'1 no kind' if 'status' in change else '1 recorded'}): {said}" in report.text()


def test_a_line_that_is_no_json_and_a_route_that_is_not_in_use_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("\n".join(["{", json.dumps(LINE | {"path": "/_api/nowhere"}), "[]", json.dumps(LINE)]))
    report = asyncio.run(replay(path))

    assert [pair.id for pairs in report.not_replayable.values() for pair in pairs] == ["line 1", "line 3"]
    assert list(report.outside) == ["a family of calls that StreamForge does not use: /_api/nowhere"]
    assert len(report.covered) == 1
