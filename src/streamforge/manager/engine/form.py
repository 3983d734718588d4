"""What a form of workflow is to the engine: one object that answers a few questions about the workflows of its form.

The engine drives them all alike. What is different for a form is asked here, and found by `registry.form_of` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from streamforge.manager.engine.document import Attempt, Failure, FormPart, Proof, Step, Workflow
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.findings import Finding
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.policy import Policy
from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.messages import Event
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Source

M = TypeVar("M")
"""The manager's services: the engine uses some of them itself, and hands all of them on."""

P = TypeVar("P", bound=FormPart)


class Form(ABC, Generic[P, M]):
    """A form of workflow. `part` is the struct that it keeps in its workflows' documents.

    continuous: its workflows go on for months. Attempts are tried again without a limit, loaders are handed over
    without a gap, and what is stored is compared again and again while they run.

    Only `prepare`, `check`, `compare` and `forget` do something; all else is pure. Where a method is not abstract, its
    answer here is right for a form that has nothing of the kind.
    """

    part: type[P]
    continuous: bool = False

    def part_of(self, workflow: Workflow) -> P:
        """The form's own part of the document of one of its workflows."""
        return workflow.part(self.part)

    # Prepare: what has to be known before the first step.

    @abstractmethod
    async def prepare(self, manager: M, workflow: Workflow) -> Finding:
        """Find out what has to be known first. Raises ExchangeFailed, RetryableError or PermanentError."""

    def awaited(self, workflow: Workflow, conditions: Conditions) -> str:
        """What is waited for meanwhile, for a person."""
        return workflow.waiting_for or "what it begins with"

    def asks_exchange(self, workflow: Workflow) -> bool:
        """Whether what comes next, `prepare` or `check`, asks the exchange: then the end of a ban is waited for."""
        return False

    @abstractmethod
    def learn(self, workflow: Workflow, found: msgspec.Struct) -> Workflow:
        """The workflow with what one of its actions has found, by the type of `found`. The epoch stays."""

    # Steps: what they do in this round, and what their jobs are told.

    @abstractmethod
    def has_work(self, workflow: Workflow) -> bool:
        """Whether there is anything for the steps to do in the first round."""

    def ranges(self, workflow: Workflow) -> Mapping[Source, tuple[str, ...]]:
        """What loaders load in the first round, by their source, as texts."""
        return {}

    def span(self, workflow: Workflow) -> TimeRange:
        """The range that workers are told."""
        return workflow.span

    def topic(self, workflow: Workflow) -> str:
        """The topic that its sinks read."""
        return workflow.topic

    def environment(self, workflow: Workflow, step: Step, attempt: Attempt) -> Mapping[str, str]:
        """What the job of an attempt is told beside what every job is."""
        return {}

    def hear(self, workflow: Workflow, event: Event) -> Workflow:
        """The workflow after an event of any attempt, what all forms make of events apart."""
        return workflow

    def count(self, workflow: Workflow, attempt: Attempt) -> Workflow:
        """The workflow after an attempt that has ended, what all forms make of it apart."""
        return workflow

    # Check: what has to be verified once the steps have ended.

    @abstractmethod
    async def check(self, manager: M, workflow: Workflow, *, ask: bool, stopping: int) -> Finding | None:
        """Look at what is stored, and tell it as a proof.

        ask: False asks nobody, and says what is there: the workflow ends with holes. stopping: how many continuous
        workflows end at the same time. Raises OutOfDate, ExchangeFailed, RetryableError or PermanentError.
        """

    def leaves_something(self, workflow: Workflow) -> bool:
        """Whether a workflow that ends early may have stored something, which is then looked at."""
        return True

    def is_comparison_due(self, workflow: Workflow, now_ms: int, policy: Policy, continuous: int) -> bool:
        """Whether what it has stored is to be compared now. continuous: how many workflows of such forms there are."""
        return False

    async def compare(self, manager: M, workflow: Workflow, *, ask: bool) -> Finding | None:
        """Compare what a continuous workflow has newly stored. ask: the exchange may be asked."""
        return None

    def ends_in_time(self, workflow: Workflow) -> bool:
        """Whether its end has a limit of time once somebody has asked it to stop."""
        return False

    # Settle: what follows from the proof.

    @abstractmethod
    def settle(self, workflow: Workflow, now_ms: int, policy: Policy) -> Workflow:
        """The workflow after its proof of this round: finished, in another round, or failed."""

    def rerouted(self, workflow: Workflow) -> Workflow | None:
        """The workflow in another round before its proof, as its steps have left something out; None: they have not."""
        return None

    def recovered(self, workflow: Workflow) -> Workflow | None:
        """The workflow beginning again without the step that failed; None: it cannot do without."""
        return None

    def loss(self, workflow: Workflow) -> Failure | None:
        """Why one that was to go on until it is stopped has not stored all that came by then; None: it has."""
        return None

    def is_whole(self, workflow: Workflow) -> bool:
        """Whether one that was to go on until it is stopped has finished by that."""
        proof = workflow.form.proof
        return proof is not None and proof.is_whole

    def reopened(self, workflow: Workflow, *, prepared: bool) -> P:
        """Its part as an ended workflow goes on. prepared: what was known first still holds."""
        return self.part_of(workflow)

    def lasting(self, workflow: Workflow) -> P:
        """Its part without what losing costs nothing but a second look."""
        return self.part_of(workflow)

    # Resources: what of others it needs, and what belongs to it alone.

    def claim(self, workflow: Workflow) -> TimeRange | None:
        """The range of its symbol and type that no two workflows work on at once; None: it waits for nobody."""
        return None

    def parent(self, workflow: Workflow) -> str:
        """The workflow without which it has no use; empty: none."""
        return ""

    def holds_slot(self, workflow: Workflow) -> bool:
        """Whether it takes one of the slots for workflows that run at once."""
        return not workflow.endless

    async def forget(self, manager: M, workflow: Workflow, *, data: bool) -> int:
        """Remove what belongs to an ended workflow alone, and with `data` what it has stored; how many records.

        Raises NotNow or InvalidInput before anything is removed.
        """
        return 0

    # Present: how it is shown.

    def present(self, workflow: Workflow, at_ms: int | None) -> Shown:
        """How far it is, and what the API, the command line and the web UI show of this form alone.

        at_ms: the time; None: when what it has stored was last compared.
        """
        return Shown(span=workflow.span)

    def requested(self, workflow: Workflow) -> Mapping[str, Any]:
        """The fields of a body of `POST /queues/start` that asks for the same. Raises NotNow: there is no such body."""
        raise NotNow(f"{workflow.queue_id} was not asked for by such a request: send its own again")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as its form shows it.

    span: the range that it works on; None: nothing of what was asked for. clipped: less than was asked for.
    expected: how many records there will be; None: that is not known. there: how many of them were there before it
    began. stored: how many there are by now, whoever stored them; None: what its sinks have told counts.
    by_loaders: its loaders tell how fast it is, and its sinks do not. requests_s: seconds that the requests of its
    loaders take by their weight. segments: what its latest proof found; None: it has no series. summary: fields of
    the answer about it, also of that in a list; fields: of that about it alone.
    """

    span: TimeRange | None
    clipped: bool = False
    expected: int | None = None
    there: int = 0
    stored: int | None = None
    by_loaders: bool = False
    requests_s: Sequence[float] = ()
    segments: Sequence[Segment] | None = None
    summary: Mapping[str, Any] = {}
    fields: Mapping[str, Any] = {}


def next_proof(workflow: Workflow, now_ms: int, *, expected: int, stored: int) -> Proof:
    """The proof of this round, by its numbers."""
    return Proof(round=workflow.repairs + 1, checked_ms=now_ms, expected=expected, stored=stored)
