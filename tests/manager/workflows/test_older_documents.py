"""Documents of workflows as the version before stored them, one of each form in each status, with what it answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.manager.engine.document import FORMAT, Status
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.presentation import workflow_answer
from streamforge_utils.model.errors import ConfigError

FORMS = {"history", "live", "topics", "graph", "model", "scores"}
NOW = 1_723_000_000_000
STORED: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "stored" / "format_3.jsonl").read_text("utf-8").splitlines()
]


def test_there_is_one_of_each_form_in_each_status() -> None:
    assert {(one["form"], one["status"]) for one in STORED} == {(form, status) for form in FORMS for status in Status}


@pytest.mark.parametrize("stored", STORED, ids=lambda one: f"{one['form']}-{one['status']}")
def test_a_document_of_the_version_before_is_answered_as_it_was(stored: dict[str, Any]) -> None:
    workflow = decode_workflow(json.dumps(stored["document"]).encode())
    assert json.loads(msgspec.json.encode(workflow_answer(workflow, at_ms=NOW))) == stored["answer"]
    assert workflow.format == FORMAT
    assert decode_workflow(encode_workflow(workflow)) == workflow


def test_a_document_of_a_newer_version_is_refused_by_name() -> None:
    newer = {**STORED[0]["document"], "format": FORMAT + 1}
    with pytest.raises(ConfigError, match=rf"format {FORMAT + 1}; this version knows up to {FORMAT}: upgrade"):
        decode_workflow(json.dumps(newer).encode())


def test_a_document_of_a_form_that_nobody_knows_is_damaged() -> None:
    workflow = decode_workflow(json.dumps(STORED[0]["document"]).encode())
    document = {**json.loads(encode_workflow(workflow)), "form": {"type": "unheard-of"}}
    with pytest.raises(msgspec.ValidationError, match=r"Invalid value 'unheard-of'"):
        decode_workflow(json.dumps(document).encode())
