"""What went otherwise than a workflow's plan said, and what is in doubt."""

from __future__ import annotations

from streamforge.manager.engine.document import Workflow
from streamforge.manager.note_codes import NoteCode, Noted, noted
from streamforge_utils.model.coverage import DISPUTED


def remarks_of(found: Workflow) -> list[Noted]:
    """A remark for each range, in their order, or one on what was made."""
    if (graph := found.graph) is not None and graph.graph_id and not graph.edges:
        text = (
            f"no snapshot of graph {graph.graph} has an edge: prices stand still, holes are many, or no association is "
            "so large; name other coins, or lower threshold, min_overlap or min_volatility"
        )
        return [noted(text, NoteCode.NO_EDGES, graph=graph.graph)]
    parts = () if found.plan is None else found.plan.parts
    told = [(part.span, part.reason, NoteCode.REQUESTS_INSTEAD, part.reason) for part in parts if part.instead]
    told += [(one.span, f"{DISPUTED}: {one.reason}", NoteCode.CHECKSUM_DISPUTED, one.reason) for one in found.disputed]
    return [
        noted(f"{span}: {text}", code, start_ms=span.start_ms, end_ms=span.end_ms, detail=detail)
        for span, text, code, detail in sorted(told)
    ]
