"""What went otherwise than a workflow's plan said, and what is in doubt."""

from __future__ import annotations

from streamforge.manager.note_codes import NoteCode, Noted, noted
from streamforge.manager.workflows.history.model import History
from streamforge_utils.model.coverage import DISPUTED


def remarks_of(mine: History) -> list[Noted]:
    """A remark for each range, in their order."""
    parts = () if mine.plan is None else mine.plan.parts
    told = [(part.span, part.reason, NoteCode.REQUESTS_INSTEAD, part.reason) for part in parts if part.instead]
    told += [(one.span, f"{DISPUTED}: {one.reason}", NoteCode.CHECKSUM_DISPUTED, one.reason) for one in mine.disputed]
    return [
        noted(f"{span}: {text}", code, start_ms=span.start_ms, end_ms=span.end_ms, detail=detail)
        for span, text, code, detail in sorted(told)
    ]
