"""Codes of problems, failures and findings: each that the source can give is listed with its meaning."""

from __future__ import annotations

import ast
import http
import re
from collections.abc import Iterator
from pathlib import Path

from streamforge.manager.api.error_answers import _KINDS_OF_ERRORS
from streamforge.manager.api.problems import kind_of
from streamforge.manager.dead_letters.model import MEANINGS as LETTERS
from streamforge.manager.dead_letters.model import LetterCode
from streamforge.manager.failure_codes import MEANINGS as FAILURES
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.health.findings import MEANINGS as FINDINGS
from streamforge.manager.health.findings import FindingCode
from streamforge.manager.note_codes import MEANINGS as NOTES
from streamforge.manager.note_codes import NoteCode
from streamforge.manager.problem_codes import MEANINGS as PROBLEMS
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.workflows.series.part_codes import MEANINGS as PARTS
from streamforge.manager.workflows.series.part_codes import PartCode
from tests.places import ROOT
from tools.reference.codes_page import codes_page

SOURCES = [path for path in sorted((ROOT / "src" / "streamforge").rglob("*.py")) if not path.name.endswith("_codes.py")]


def calls(path: Path, *names: str) -> Iterator[ast.Call]:
    """The calls of what is called so."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def given() -> Iterator[str]:
    """The kinds and codes that problems are made with, as the source writes them."""
    for path in SOURCES:
        for call in calls(path, "ProblemError"):
            wanted = [*call.args[1:2], *(one.value for one in call.keywords if one.arg in ("kind", "code"))]
            yield from (one.value for one in wanted if isinstance(one, ast.Constant) and isinstance(one.value, str))
    yield from (kind for _, _, kind, _ in _KINDS_OF_ERRORS)


def test_each_code_of_a_problem_that_the_source_gives_is_known_and_each_known_one_is_given() -> None:
    known = {code.value for code in ProblemCode}
    literals = set(given())
    assert literals <= known
    named = {ProblemCode[name].value for path in SOURCES for name in _members(path, "ProblemCode")}
    statuses = {kind_of(404), kind_of(405)}  # what the framework refuses by itself
    assert known == literals | named | statuses


def test_every_http_status_has_a_code() -> None:
    assert {kind_of(status.value) for status in http.HTTPStatus if status >= 400} <= set(ProblemCode)
    assert (kind_of(404), kind_of(499), kind_of(599)) == ("not-found", "bad-request", "internal-error")


def test_each_failure_is_made_with_a_code_and_each_code_is_of_some_failure() -> None:
    made = [(path, call) for path in SOURCES for call in calls(path, "Failure")]
    assert len(made) >= 8
    without = [f"{path}:{call.lineno}" for path, call in made if "code" not in {one.arg for one in call.keywords}]
    assert without == []
    assert {name for path in SOURCES for name in _members(path, "FailureCode")} == set(FailureCode.__members__)


def test_each_code_of_a_finding_is_of_some_finding_and_each_of_a_part_of_some_part() -> None:
    assert {name for path in SOURCES for name in _members(path, "FindingCode")} == set(FindingCode.__members__)
    assert {name for path in SOURCES for name in _members(path, "PartCode")} == set(PartCode.__members__)
    assert {name for path in SOURCES for name in _members(path, "NoteCode")} == set(NoteCode.__members__)


def test_the_page_lists_each_code_with_its_meaning() -> None:
    assert set(PROBLEMS) == set(ProblemCode)
    assert set(FAILURES) == set(FailureCode)
    assert set(FINDINGS) == set(FindingCode)
    assert set(LETTERS) == set(LetterCode)
    assert set(PARTS) == set(PartCode)
    assert set(NOTES) == set(NoteCode)
    page = codes_page()
    for code, text in (one for all_ in (PROBLEMS, FAILURES, FINDINGS, LETTERS, PARTS, NOTES) for one in all_.items()):
        assert f"| `{code.value}` | {text} |" in page
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code.value)


def _members(path: Path, of: str) -> Iterator[str]:
    """The members of an enumeration that the source names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == of:
            yield node.attr
