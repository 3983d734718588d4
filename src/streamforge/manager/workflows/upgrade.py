"""Documents of workflows as older versions stored them: one document of all fields, of which each form had some."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge.manager.engine.document import FORMAT
from streamforge_utils.model.timeranges import parse_time_range

Document = dict[str, Any]

_HISTORY = (
    "clipped",
    "again",
    "source",
    "verification",
    "supplements",
    "disputed",
    "read",
    "archive_searched",
    "archive_failure",
)
_MADE = ("graph", "model", "scores")


def upgraded(document: Document) -> Document:
    """A document of format 1, 2 or 3 in the present one."""
    document = {**document, "format": FORMAT}
    plan, proof, ledger = (document.pop(name, None) for name in ("plan", "proof", "ledger"))
    topic, history = document.pop("topic_input", None), {n: document.pop(n) for n in _HISTORY if n in document}
    made = {name: found for name in _MADE if (found := document.pop(name, None)) is not None}
    if plan is not None and "load" in plan:  # of format 1, which named ranges alone: all were loaded over REST
        plan["parts"] = [{"span": msgspec.to_builtins(parse_time_range(text))} for text in plan.pop("load")]
    part: Document
    if topic is not None:
        part = {"type": "topics", "input": topic, "planned": plan is not None, "proof": proof}
    elif made:
        ((kind, found),) = made.items()
        moments = None if plan is None else plan.get("bars") or plan.get("expected", 0)
        part = {"type": "analyses", "made": {"makes": kind, **found}, "moments": moments, "proof": proof}
    elif document.get("endless"):
        part = {"type": "live", "plan": plan, "proof": proof, "ledger": ledger}
    else:
        part = {"type": "history", "plan": plan, "proof": proof, **history}
    return {**document, "form": part}
