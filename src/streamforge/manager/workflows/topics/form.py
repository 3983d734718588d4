"""The form of workflows that store a topic of another producer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Attempt, Failure, Step, Workflow
from streamforge.manager.engine.form import Form, Shown
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.findings import Finding, Proven
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.topics.answers import topic_answer
from streamforge.manager.workflows.topics.jobs import environment_of
from streamforge.manager.workflows.topics.model import TopicInput, TopicProof, Topics
from streamforge.manager.workflows.topics.proof import plan_topic, prove_topic
from streamforge.manager.workflows.topics.removal import remove_topic_documents
from streamforge.manager.workflows.topics.rounds import conclude_topic, fold_told, lost
from streamforge_utils.model.messages import Event

_replace = msgspec.structs.replace


class TopicsForm(Form[Topics, Dependencies]):
    """Planned by the offsets of the topic, read by one sink, proven by looking for each of its messages."""

    part = Topics

    async def prepare(self, manager: Dependencies, workflow: Workflow) -> Finding:
        return await plan_topic(manager, workflow, self.part_of(workflow).input)

    def awaited(self, workflow: Workflow, conditions: Conditions) -> str:
        return f"the offsets of topic {self.topic(workflow)}"

    def learn(self, workflow: Workflow, found: msgspec.Struct) -> Workflow:
        match found:
            case TopicInput():
                return workflow.with_form(input=found, planned=True)
            case TopicProof():
                return workflow.with_form(proof=found)
        raise TypeError(f"a workflow that stores a topic cannot learn {found!r}")

    def has_work(self, workflow: Workflow) -> bool:
        return self.part_of(workflow).input.expected != 0

    def topic(self, workflow: Workflow) -> str:
        return self.part_of(workflow).input.topic

    def environment(self, workflow: Workflow, step: Step, attempt: Attempt) -> Mapping[str, str]:
        return {} if attempt.replay else environment_of(workflow, self.part_of(workflow).input, step)

    def hear(self, workflow: Workflow, event: Event) -> Workflow:
        # Of any attempt: an older one that still lives commits for the group of all.
        topic = self.part_of(workflow).input
        told = fold_told(topic, event.extra or {})
        return workflow if told is topic else workflow.with_form(input=told)

    async def check(self, manager: Dependencies, workflow: Workflow, *, ask: bool, stopping: int) -> Finding | None:
        return Proven(proof=await prove_topic(manager, workflow, self.part_of(workflow).input), asked=ask)

    def settle(self, workflow: Workflow, now_ms: int, policy: Policy) -> Workflow:
        mine = self.part_of(workflow)
        return workflow if mine.proof is None else conclude_topic(workflow, mine.input, mine.proof, now_ms, policy)

    def loss(self, workflow: Workflow) -> Failure | None:
        return lost(workflow, self.part_of(workflow).input)

    def reopened(self, workflow: Workflow, *, prepared: bool) -> Topics:
        mine = self.part_of(workflow)
        return _replace(mine, proof=None, planned=prepared and mine.planned)

    async def forget(self, manager: Dependencies, workflow: Workflow, *, data: bool) -> int:
        return await remove_topic_documents(manager, workflow, self.part_of(workflow).input) if data else 0

    def present(self, workflow: Workflow, at_ms: int | None) -> Shown:
        mine = self.part_of(workflow)
        # Nothing of it is a range of time.
        return Shown(span=None, expected=mine.input.expected, fields={"topic_input": topic_answer(mine)})

    def requested(self, workflow: Workflow) -> Mapping[str, Any]:
        raise NotNow(f"{workflow.queue_id} stores a topic, not a series: send the request for that topic again")
