"""The page of codes: of problems that the API answers, of failures, findings, letters, parts of plans and notes."""

from __future__ import annotations

from collections.abc import Mapping

from streamforge.manager import failure_codes, note_codes, problem_codes
from streamforge.manager.dead_letters import model as letter_codes
from streamforge.manager.dead_letters.model import LetterCode
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.health import findings
from streamforge.manager.health.findings import FindingCode
from streamforge.manager.note_codes import NoteCode
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.workflows.series import part_codes
from streamforge.manager.workflows.series.part_codes import PartCode

_ABOUT = (
    "# Codes\n\n"
    "Words for programs, beside the texts for people: a code is never given another meaning, nor taken away. A newer "
    "version may know more of\nthem; who reads one that it does not know goes by the HTTP status, or by `status`.\n\n"
    "## Problems\n\n"
    "`code` in a problem document, every answer of 400 or more. `type` is `urn:streamforge:problem:` with a code, "
    "too: it says what sort of\nproblem it is, and stayed as it was when codes came. Where a closer word is known, "
    "`code` is that one: of a name that is not there `type`\nends in `not-found`, and `code` is `workflow-unknown`; "
    "of a symbol that the exchange does not have, `invalid-input` and `symbol-unknown`.\n\n"
)
_FAILURES = (
    "\n## Failures\n\n"
    "`failure.code` of a workflow and of its steps, and `code` of the member of a batch. It is empty where an older "
    "version stored the failure.\n\n"
)
_FINDINGS = (
    "\n## Findings\n\n"
    "`code` of a finding of `GET /health`. `streamforge doctor --json` has it, too, where it looks at the same; else "
    "it is empty there.\n\n"
)


_LETTERS = "\n## Dead letters\n\n`code` of a dead letter, beside the `reason` why it could not be stored.\n\n"
_PARTS = (
    "\n## Parts of a plan\n\n"
    "`codes` of a part, beside the `reason` why it is loaded from its source; none in an older plan.\n\n"
)
_NOTES = (
    "\n## Notes\n\n"
    "`code` of what is noted of a plan or a workflow, with the `values` of its text: in `estimate_codes`, "
    "`warning_codes` and `note_codes` of\na plan and `remark_codes` of a workflow, which are in the order of the "
    "texts.\n\n"
)


def codes_page() -> str:
    """The page as Markdown."""
    failures = _FAILURES + _table(failure_codes.MEANINGS)
    of_workflows = _ABOUT + _table(problem_codes.MEANINGS) + failures
    of_records = _LETTERS + _table(letter_codes.MEANINGS) + _PARTS + _table(part_codes.MEANINGS)
    of_plans = _NOTES + _table(note_codes.MEANINGS)
    return of_workflows + _FINDINGS + _table(findings.MEANINGS) + of_records + of_plans


def _table(
    meanings: Mapping[ProblemCode, str]
    | Mapping[FailureCode, str]
    | Mapping[FindingCode, str]
    | Mapping[LetterCode, str]
    | Mapping[PartCode, str]
    | Mapping[NoteCode, str],
) -> str:
    rows = [f"| `{code}` | {text} |" for code, text in meanings.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"
