"""What a consumer holds of one topic: the open files, its partitions, and how far each was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamforge_utils.adapters.embedded.bus.batch import unpack
from streamforge_utils.adapters.embedded.bus.files import TopicFiles
from streamforge_utils.adapters.embedded.bus.groups import owner
from streamforge_utils.adapters.embedded.bus.notification import Waiter
from streamforge_utils.adapters.embedded.bus.packed import join
from streamforge_utils.ports.bus import Start
from streamforge_utils.ports.columns import ReceivedColumns
from streamforge_utils.ports.instrumentation import Observer


class Place:
    """Where a consumer stands in a partition: what was fetched and not yet taken, and the next offset to fetch."""

    def __init__(self, partition: int, offset: int) -> None:
        self.partition = partition
        self.offset = offset
        self.behind = True
        self._fetched: ReceivedColumns | None = None
        self._taken = 0

    @property
    def waiting(self) -> bool:
        return self._fetched is not None

    def add(self, received: Sequence[ReceivedColumns]) -> None:
        """What follows what was fetched before; at least one part."""
        left = [] if self._fetched is None else [self._fetched[self._taken :]]
        self._fetched, self._taken = join([*left, *received]), 0
        self.offset = received[-1].offsets[-1] + 1

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
        self.offset = max(offset, 0)
        self.behind = True
        self._fetched, self._taken = None, 0


class TopicReader:
    """One topic of a consumer. Methods block; one thread at a time. Raises PermanentError once it was deleted."""

    def __init__(self, files: TopicFiles, name: str, observer: Observer) -> None:
        self._files = files
        self._observer = observer
        self._topic = files.open(name, notified=True)
        self._group = ""
        self._member = ""
        self._places: dict[int, Place] = {}
        self._lost: set[int] = set()  # taken away, and nobody has said since where they are read
        self._log_version = self._groups_version = -1
        self.shared = False
        """Whether the group has other members: somebody has to look whether they live."""

    @property
    def waiter(self) -> Waiter | None:
        """What is notified when the topic changes."""
        return self._topic.waiter

    @property
    def partitions(self) -> int:
        return self._topic.log.spec.partitions

    @property
    def places(self) -> list[Place]:
        """The partitions that are this consumer's."""
        return list(self._places.values())

    def begin(self, start: Start, start_time_ms: int | None) -> None:
        """Take all partitions, from `start` or from a time on."""
        log = self._topic.log
        for partition, end in log.ends().items():
            if start_time_ms is not None:
                found = log.at_time(partition, start_time_ms)
                self._places[partition] = Place(partition, end if found is None else found)
            else:
                self._places[partition] = Place(partition, end if start is Start.LATEST else 0)

    def join(self, group: str, member: str, start: Start) -> None:
        """Become a member of the group."""
        self._group, self._member = group, member
        self._topic.groups.join(group, member, self._topic.log.ends() if start is Start.LATEST else {})
        self.refresh(check=True)

    def stirred(self) -> bool:
        """Whether a `fetch` may find something; costs microseconds."""
        if self._group and self._topic.groups.version != self._groups_version:
            return True
        idle = [place for place in self._places.values() if not place.waiting]
        return any(place.behind for place in idle) or (
            (bool(idle) or not self._places) and self._topic.log.version != self._log_version
        )

    def refresh(self, check: bool) -> None:
        """Look whether the topic still exists, and whose its partitions are. check: look for members that died."""
        log, groups = self._topic.log, self._topic.groups
        version = log.version
        if version != self._log_version:
            log.require()
            self._log_version = version
            for place in self._places.values():
                place.behind = True
        if not self._group:
            return
        version = groups.version
        if version == self._groups_version and not check:
            return
        self._groups_version = version
        members = groups.members(self._group)
        if check and groups.expel_dead(
            self._group, [member for member in members if member != self._member], self._files.members
        ):
            members = groups.members(self._group)
        if self._member not in members:
            log.require()
            groups.join(self._group, self._member, {})
            members = groups.members(self._group)
        self._assign(members)

    def fetch(self, place: Place, max_messages: int, max_bytes: int) -> int:
        """Read on in a partition, if there may be more of it; returns how many messages were found."""
        if not place.behind:
            return 0
        name, offset = self._topic.name, place.offset
        found: list[ReceivedColumns] = []
        batches = self._topic.log.read(place.partition, place.offset, max_messages, max_bytes)
        place.behind = bool(batches)  # the read after the last message finds out
        for batch in batches:
            received = unpack(name, place.partition, batch, offset, str(self._topic.log.path))
            skipped = received.offsets[0] - offset
            if skipped > 0:
                self._observer.count("bus_messages_skipped", skipped, topic=name)
            offset = received.offsets[-1] + 1
            found.append(received)
        if found:
            place.add(found)
        return sum(map(len, found))

    def seek(self, partition: int, offset: int) -> None:
        """Continue at `offset`; of a partition that is another member's, nothing happens."""
        place = self._places.get(partition)
        if place is not None:
            self._lost.discard(partition)
            place.seek(offset)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Store the offsets that the group still needs.

        What was read of a partition before it was taken away may have been read and committed by another member by the
        time it comes back: such a commit must not take the group back.
        """
        self._topic.log.require()
        self.refresh(check=False)  # a member that does not poll notices here what was taken away
        self._lost -= set(self._topic.groups.commit(self._group, self._member, offsets, lost=self._lost))

    def close(self) -> None:
        try:
            if self._group and not self._topic.log.deleted:
                self._topic.groups.leave(self._group, [self._member])
        finally:
            self._topic.close()

    def _assign(self, members: list[str]) -> None:
        self.shared = len(members) > 1
        mine = [number for number in range(self.partitions) if owner(members, number) == self._member]
        for lost in self._places.keys() - set(mine):
            del self._places[lost]
            self._lost.add(lost)
        gained = [number for number in mine if number not in self._places]
        if not gained:
            return
        committed, ends = self._topic.groups.committed(self._group), self._topic.log.ends()
        for number in gained:
            # Also where more was committed: nothing that is still to come is passed over.
            self._places[number] = Place(number, min(committed.get(number, 0), ends[number]))
