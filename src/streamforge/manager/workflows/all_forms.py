"""The forms of workflow that there are. A new one is a folder beside these, and a line here."""

from __future__ import annotations

from streamforge.manager.engine.registry import register
from streamforge.manager.workflows.analyses.form import AnalysesForm
from streamforge.manager.workflows.history.form import HistoryForm
from streamforge.manager.workflows.live.form import LiveForm
from streamforge.manager.workflows.topics.form import TopicsForm
from streamforge.manager.workflows.upgrade import upgraded


def register_forms() -> None:
    """Let the engine know them; again changes nothing."""
    register((HistoryForm(), LiveForm(), TopicsForm(), AnalysesForm()), upgraded)
