"""Which dead letters of a workflow replays of chosen ones have read. Pure."""

from __future__ import annotations

from streamforge.manager.engine.document import StepStatus, Workflow
from streamforge_utils.model.topic_reading import PartitionRange, union


def read_letters(workflow: Workflow) -> tuple[PartitionRange, ...]:
    """Their offsets in its topic of dead letters, sorted; its sinks may have committed less, or more.

    A replay counts once each sink has come to its end: what it did not store has come to the end of the topic again.
    """
    replays = [step for step in workflow.steps if step.replay]
    if not replays or any(step.status is not StepStatus.FINISHED for step in replays):
        return workflow.letters_read
    chosen = [PartitionRange.parse_setting(text) for step in replays for text in step.letters]
    return union((*workflow.letters_read, *chosen), most=None) if chosen else ()  # all was read, and committed
