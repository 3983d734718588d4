"""The members of a batch in memory while it is driven, and the outcome of one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge.manager.batches.model import MEMBERS_A_DOCUMENT, RETRIED, Member, MemberStatus
from streamforge.manager.batches.store import StoredMembers
from streamforge.manager.engine.document import Workflow
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.workflow_progress import progress_of

_replace = msgspec.structs.replace


class DrivenMembers:
    """The members of a batch in memory. open, waiting: numbers of those that are live and that wait.

    by_queue: the member of each workflow. changed: documents that are to be stored. unasked: by number, how often its
    listing could not be asked, when it is asked again, and why.
    """

    def __init__(self, documents: Sequence[StoredMembers]) -> None:
        self._revisions = [document.revision for document in documents]
        self.members = [member for document in documents for member in document.members]
        self.by_queue = {member.queue_id: index for index, member in enumerate(self.members) if member.queue_id}
        self.changed: set[int] = set()
        self.unasked: dict[int, tuple[int, int, str]] = {}
        self.open = {index for index, one in enumerate(self.members) if one.status is MemberStatus.LIVE}
        self.waiting = {index for index, one in enumerate(self.members) if one.status is MemberStatus.WAITING}

    def put(self, index: int, member: Member) -> None:
        """Let the member be as given."""
        if member == self.members[index]:
            return
        self.members[index] = member
        if member.queue_id:
            self.by_queue[member.queue_id] = index
        self.changed.add(index // MEMBERS_A_DOCUMENT)
        for status, numbers in ((MemberStatus.LIVE, self.open), (MemberStatus.WAITING, self.waiting)):
            numbers.discard(index)
            if member.status is status:
                numbers.add(index)

    def retry(self) -> None:
        """Let those that failed wait for their turn again; what was removed or joined is made anew."""
        self.unasked.clear()
        for index, member in enumerate(self.members):
            if member.status in RETRIED:
                queue_id = "" if member.joined or member.status is MemberStatus.REMOVED else member.queue_id
                self.put(index, _replace(member, status=MemberStatus.WAITING, queue_id=queue_id, joined=False))

    def document(self, number: int) -> StoredMembers:
        """The document as it is to be stored."""
        first = number * MEMBERS_A_DOCUMENT
        return StoredMembers(number, tuple(self.members[first : first + MEMBERS_A_DOCUMENT]), self._revisions[number])

    def stored(self, document: StoredMembers) -> None:
        """The document is stored."""
        self._revisions[document.number] = document.revision
        self.changed.discard(document.number)


def ended_member(member: Member, workflow: Workflow) -> Member:
    """The member, now that its workflow has ended."""
    progress = progress_of(workflow)
    expected, failure = progress.records_expected or 0, workflow.failure
    status, reason, next_step, code = MemberStatus(workflow.status.value), "", "", ""
    if status is MemberStatus.FINISHED and not expected:
        status, reason = MemberStatus.CLOSED, "there is nothing to load in the range"
    elif status is MemberStatus.INTERRUPTED:
        reason = "its workflow was stopped"
    elif failure is not None:
        reason, next_step, code = failure.reason, failure.next_step, failure.code
    return _replace(
        member,
        status=status,
        expected=expected,
        stored=progress.records_stored,
        there=progress.records_there,
        reason=reason,
        next_step=next_step,
        code=code,
    )


def live(member: Member, queue_id: str, *, joined: bool = False) -> Member:
    """The member with its workflow, which goes on."""
    status = MemberStatus.LIVE
    return _replace(member, status=status, queue_id=queue_id, joined=joined, reason="", next_step="", code="")


def closed(member: Member, reason: str) -> Member:
    """The member, of which there is nothing to load."""
    return _replace(member, status=MemberStatus.CLOSED, reason=reason, next_step="")


def refused(member: Member, reason: str) -> Member:
    """The member, of which no workflow can be made."""
    return _replace(
        member,
        status=MemberStatus.ERROR,
        reason=reason,
        next_step="correct what the reason names",
        code=FailureCode.REQUEST_REFUSED.value,
    )


def interrupted(member: Member, reason: str) -> Member:
    """The member, which the batch leaves as it is."""
    return _replace(member, status=MemberStatus.INTERRUPTED, reason=reason, next_step="retry the batch")
