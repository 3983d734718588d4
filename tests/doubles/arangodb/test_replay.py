"""The double answers as real servers were recorded to answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.arangodb.replay.lines import read
from tests.doubles.arangodb.replay.report import Report, replay
from tests.doubles.arangodb.replay.scope import outside
from tests.limits import LIMIT_S
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


def replayed(path: Path, *lines: Any) -> Report:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return asyncio.run(replay(path))


def test_every_recorded_pair_in_scope_is_answered_as_recorded() -> None:
    report = asyncio.run(replay(arango_recordings()))

    assert [(pair.id, said) for pair, said in report.differing] == []
    recorded = [pair for pair in report.covered if pair.kind == "recorded"]
    assert len(recorded) >= 375
    assert sum(len(pairs) for pairs in report.outside.values()) <= 70


def test_what_is_outside_the_scope_has_a_reason_that_no_answer_decides() -> None:
    pairs = read(arango_recordings())

    left_out = [pair for pair in pairs if pair.kind == "recorded" and outside(pair)]

    assert len(left_out) <= 18
    families = {pair.group for pair in left_out}
    assert families <= {"transaction", "job", "user", "index", "aql"}


def test_a_pair_that_is_answered_as_recorded_is_covered(tmp_path: Path) -> None:
    report = replayed(tmp_path / "lines", LINE)

    assert [pair.id for pair in report.covered] == ["made/count"]
    assert report.differing == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
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
def test_a_pair_that_is_answered_otherwise_differs(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    report = replayed(tmp_path / "lines", LINE | change)

    assert report.covered == []
    [(pair, differences)] = report.differing
    assert pair.id == "made/count"
    assert any(said in difference for difference in differences), differences


def test_a_listing_that_answers_nothing_where_something_was_recorded_differs(tmp_path: Path) -> None:
    listing = LINE | {"id": "made/jobs", "path": "/_api/job/done", "setup": [], "response_body_match": "exact"}
    report = replayed(tmp_path / "lines", listing | {"response_body": ["1"]}, listing | {"response_body": []})

    said = [difference for _, differences in report.differing for difference in differences if "body" in difference]
    assert said == ["body: recorded elements, answered none"]


def test_lines_that_are_no_pairs_are_reported_and_end_nothing(tmp_path: Path) -> None:
    report = replayed(
        tmp_path / "lines",
        "no JSON",
        "[1]",
        {},
        {"id": "shell", "kind": "recorded-shell", "response_body": {"errorNum": 1200}},
        LINE | {"id": "family", "path": "/_api/view"},
        LINE | {"id": "setup", "setup": [{"op": "unheard_of"}]},
        LINE | {"id": "kind", "kind": "of another kind"},
        LINE | {"id": "form", "request_headers": None, "response_headers": None, "setup": None, "status": "200"},
    )

    assert [pair.id for pair in report.covered] == ["kind"]
    assert report.differing == []
    assert sum(len(pairs) for pairs in report.outside.values()) == 7
    assert "unreadable line" in report.text(verbose=True)


@pytest.mark.parametrize("name", sorted(LINE))
@pytest.mark.parametrize("odd", [None, 7, True, "x\x00é", [], {}, [1], {"op": 1}, ["x", {"op": "insert"}]])
def test_whatever_a_line_holds_the_next_is_replayed(tmp_path: Path, name: str, odd: Any) -> None:
    report = replayed(tmp_path / "lines", LINE | {"id": "odd", name: odd}, LINE)

    assert report.covered[-1].id == "made/count"
    assert len(report.covered) + len(report.differing) + sum(map(len, report.outside.values())) == 2
    assert report.text(verbose=True)


def test_the_command_says_by_its_exit_code_whether_something_differs(tmp_path: Path) -> None:
    def run(*lines: dict[str, Any]) -> tuple[int, str]:
        path = tmp_path / "lines"
        path.write_text("\n".join(map(json.dumps, lines)))
        command = [sys.executable, "-m", "tests.doubles.arangodb.replay", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        return done.returncode, done.stdout

    assert run(LINE)[0] == 0
    code, said = run(LINE, LINE | {"id": "made/other", "status": 201})
    assert code == 1
    assert "differing: 1\n  made/other: GET /_api/collection/c/count" in said
