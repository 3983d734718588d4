"""What a consumer holds of one topic: the open files, how far it was read, and what was fetched and not yet taken."""

from __future__ import annotations

from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.bus.notification import Waiter
from streamforge_utils.adapters.embedded.bus.packed import join, unpack
from streamforge_utils.ports.bus import Start
from streamforge_utils.ports.columns import ReceivedColumns
from streamforge_utils.ports.instrumentation import Observer


class TopicReader:
    """One topic of a consumer. Methods block; one thread at a time. Raises PermanentError once it was deleted.

    shared: whether the group has other members, of whom somebody has to look whether they live.
    """

    def __init__(self, files: TopicFiles, name: str, observer: Observer) -> None:
        self._files = files
        self._observer = observer
        self._topic = files.open(name, notified=True)
        self._group = ""
        self._member = ""
        self._owned = False
        self._lost = False  # taken away, and nobody has said since where it is read
        self._offset = 0
        self._behind = True  # there may be more than was fetched
        self._fetched: ReceivedColumns | None = None
        self._taken = 0
        self._log_version = self._groups_version = -1
        self.shared = False

    @property
    def waiter(self) -> Waiter | None:
        """What is notified when the topic changes."""
        return self._topic.waiter

    @property
    def wants_more(self) -> bool:
        """Whether it may read, and all that was fetched was taken."""
        return self._owned and self._fetched is None

    @property
    def waiting(self) -> bool:
        """Whether something was fetched and not yet taken."""
        return self._fetched is not None

    def begin(self, start: Start, start_time_ms: int | None) -> None:
        """Read from `start` or from a time on."""
        log = self._topic.log
        self._owned, end = True, log.end()
        if start_time_ms is not None:
            found = log.at_time(start_time_ms)
            self._offset = end if found is None else found
        elif start is Start.LATEST:
            self._offset = end

    def join(self, group: str, member: str) -> None:
        """Become a member of the group."""
        self._group, self._member = group, member
        self._topic.groups.join(group, member)
        self.refresh(check=True)

    def stirred(self) -> bool:
        """Whether a `fetch` may find something; costs microseconds."""
        if self._group and self._topic.groups.version != self._groups_version:
            return True
        if self.waiting:
            return False
        return (self._owned and self._behind) or self._topic.log.version != self._log_version

    def refresh(self, check: bool) -> None:
        """Look whether the topic still exists, and whose it is to read. check: look for members that died."""
        log, groups = self._topic.log, self._topic.groups
        version = log.version
        if version != self._log_version:
            log.require()
            self._log_version = version
            self._behind = True
        if not self._group:
            return
        version = groups.version
        if version == self._groups_version and not check:
            return
        self._groups_version = version
        members = groups.members(self._group)
        others = [member for member in members if member != self._member]
        if check and groups.expel_dead(self._group, others, self._files.members):
            members = groups.members(self._group)
        if self._member not in members:
            log.require()
            groups.join(self._group, self._member)
            members = groups.members(self._group)
        self.shared = len(members) > 1
        owned, self._owned = self._owned, members[0] == self._member
        if owned and not self._owned:
            self._lost, self._fetched = True, None
        elif self._owned and not owned:
            # Also where more was committed: nothing that is still to come is passed over.
            self._move(min(groups.committed(self._group) or 0, log.end()))

    def fetch(self, max_messages: int, max_bytes: int) -> int:
        """Read on, if there may be more; returns how many messages were found."""
        if not self._behind:
            return 0
        name = self._topic.name
        found: list[ReceivedColumns] = []
        batches = self._topic.log.read(self._offset, max_messages, max_bytes)
        self._behind = bool(batches)  # the read after the last message finds out
        for batch in batches:
            received = unpack(name, batch, self._offset, str(self._topic.log.path))
            skipped = received.offsets[0] - self._offset
            if skipped > 0:
                self._observer.count("bus_messages_skipped", skipped, topic=name)
            self._offset = received.offsets[-1] + 1
            found.append(received)
        if found:
            self._fetched, self._taken = join(found), 0
        return sum(map(len, found))

    def take(self, limit: int) -> ReceivedColumns:
        """At most `limit` messages of those that wait; there are some."""
        fetched = self._fetched
        if fetched is None:
            raise RuntimeError("nothing was fetched")
        taken = fetched if self._taken == 0 and limit >= len(fetched) else fetched[self._taken : self._taken + limit]
        self._taken += len(taken)
        if self._taken == len(fetched):
            self._fetched, self._taken = None, 0
        return taken

    def seek(self, offset: int) -> None:
        """Continue at `offset`; if the topic is another member's to read, nothing happens."""
        if self._owned:
            self._lost = False
            self._move(max(offset, 0))

    def commit(self, offset: int) -> None:
        """Store the offset, if the group still needs it.

        What was read before the topic was taken away may have been read and committed by another member by the time it
        comes back: such a commit must not take the group back.
        """
        self._topic.log.require()
        self.refresh(check=False)  # a member that does not poll notices here what was taken away
        if self._topic.groups.commit(self._group, self._member, offset, lost=self._lost):
            self._lost = False

    def close(self) -> None:
        try:
            if self._group and not self._topic.log.deleted:
                self._topic.groups.leave(self._group, [self._member])
        finally:
            self._topic.close()

    def _move(self, offset: int) -> None:
        self._offset, self._behind = offset, True
        self._fetched, self._taken = None, 0
