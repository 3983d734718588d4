"""How much of a topic of several partitions is read, when that ends, and what is committed of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.model.topic_reading import PartitionRange, Until
from streamforge_utils.ports.bus import BusAdmin, Consumer, Lag, Received
from streamforge_utils.runtime.input.offset_reader import PATIENCE_POLLS, OffsetReader
from tests.doubles.instruments import instruments

TOPIC, GROUP = "orders", "wf-orders-sink"


def message(partition: int, offset: int) -> Received:
    return Received(TOPIC, partition, offset, b"k", b"{}", 5)


def marker(partition: int, offset: int, producer: str = "p", reason: Any = "finished") -> Received:
    said = EndOfStream(producer=producer, attempt=1, records=0, reason=reason)
    return Received(TOPIC, partition, offset, EOS_KEY, encode_marker(said), 5)


class Topic:
    """A topic as a test writes it: `polls` are given in order, then nothing. ends: what it says of its offsets.

    committed: by partition, as the group left it. commits: in order. empty: polls that gave nothing; waits: what it
    said to wait for at each; stops_at: at which of them it is told to stop. reached: its position, instead of the end,
    once nothing came. noted: with what was committed by then.
    """

    def __init__(self, *polls: Sequence[Received], ends: Mapping[int, tuple[int, int]]) -> None:
        self.polls = deque(polls)
        self.ends = dict(ends)
        self.committed: dict[int, int] = {}
        self.commits: list[dict[int, int]] = []
        self.empty = self.stops_at = 0
        self.waits: list[str | None] = []
        self.failures: deque[Exception] = deque()
        self.reached: dict[int, int] | None = None
        self.noted: list[tuple[Mapping[str, Any], dict[int, int]]] = []

    def reader(self, until: str, *ranges: str) -> OffsetReader:
        self.instruments = instruments()
        given = [PartitionRange.parse_setting(one) for one in ranges]
        me = (cast("Consumer", self), cast("BusAdmin", self), TOPIC, GROUP)
        self.made = OffsetReader(*me, Until.parse(until), given, self.instruments)
        self.made.note = self.note
        return self.made

    async def note(self, extra: Mapping[str, Any]) -> None:
        self.noted.append((extra, dict(self.committed)))

    async def position(self) -> Mapping[int, int]:
        if not self.empty:
            return {number: self.committed.get(number, 0) for number in self.ends}
        return {number: end for number, (_, end) in self.ends.items()} if self.reached is None else self.reached

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        if self.polls:
            return self.polls.popleft()
        self.empty += 1
        self.waits.append(self.instruments.progress.snapshot().waiting)
        if self.empty == self.stops_at:
            self.made.drain(upstream_ended=True)
        return []

    async def commit(self, offsets: Mapping[int, int]) -> None:
        self.commits.append(dict(offsets))
        self.committed.update(offsets)

    async def offsets(self, topic: str) -> Mapping[int, tuple[int, int]]:
        if self.failures:
            raise self.failures.popleft()
        return self.ends

    async def lag(self, topic: str, group: str) -> Lag:
        left = {n: (max(first, self.committed.get(n, 0)), end) for n, (first, end) in self.ends.items()}
        ranges = {number: one for number, one in left.items() if one[0] < one[1]}
        return Lag(sum(end - first for first, end in ranges.values()), ranges, dict(self.committed))


async def read(reader: OffsetReader) -> list[tuple[int, int]]:
    """What is read, each batch committed."""
    found = []
    async for batch in reader:
        found += [(one.partition, one.offset) for one in batch]
        await reader.done(batch)
    await reader.commit()
    return found


async def test_to_the_end_it_reads_what_the_topic_had_and_nothing_that_came_later() -> None:
    topic = Topic(
        [message(0, 3), message(1, 0)],
        [message(0, 4), message(0, 5), message(2, 0), message(1, 1)],
        ends={0: (3, 6), 1: (0, 2), 2: (0, 1)},
    )
    reader = topic.reader("end", "0:3:5", "1:0:2", "2:0:0")
    assert await read(reader) == [(0, 3), (1, 0), (0, 4), (1, 1)]
    assert topic.committed == {0: 5, 1: 2}
    assert topic.instruments.progress.position == 3
    assert not reader.drained
    assert await reader.left() == 0


async def test_an_empty_topic_ends_at_once_without_a_poll() -> None:
    topic = Topic(ends={0: (7, 7), 1: (0, 0)})
    assert await read(topic.reader("end")) == []
    assert topic.empty == 0
    assert topic.commits == []


async def test_offsets_without_messages_at_the_end_are_passed_by_the_position_and_then_committed() -> None:
    topic = Topic([message(0, 0)], ends={0: (0, 3), 1: (4, 6)})
    reader = topic.reader("end")
    assert await read(reader) == [(0, 0)]
    assert topic.empty == 1
    assert topic.committed == {0: 3, 1: 6}
    assert await reader.left() == 0
    assert topic.noted == []


async def test_what_does_not_come_is_not_taken_for_nothing() -> None:
    topic = Topic([message(0, 0)], ends={0: (0, 3), 1: (4, 6)})
    topic.reached = {0: 2}  # another member has the other one
    with pytest.raises(
        RetryableError, match=r"offsets 2 to before 3 of partition 0, offsets 4 to before 6 of part.* 1"
    ):
        await read(topic.reader("end"))
    assert topic.empty == PATIENCE_POLLS + 1
    assert topic.committed == {0: 1}


async def test_what_was_removed_before_it_was_read_is_noted_before_anything_behind_it_is_committed() -> None:
    topic = Topic([message(0, 6), message(0, 8)], [message(1, 2)], ends={0: (6, 9), 1: (0, 3), 2: (9, 9), 3: (2, 4)})
    topic.committed = {0: 3, 1: 2, 3: 3}
    assert await read(topic.reader("end", "0:2:9", "1:0:3", "2:5:9", "3:1:4")) == [(0, 6), (0, 8), (1, 2)]
    assert topic.noted == [
        ({"skipped": ["0:3:6"]}, {0: 3, 1: 2, 3: 3}),
        ({"skipped": ["0:3:6", "2:5:9"]}, {0: 9, 1: 3, 3: 3}),
    ]
    assert topic.committed == {0: 9, 1: 3, 2: 9, 3: 4}


@pytest.mark.parametrize(("by_then", "noted"), [(3, ["0:3:6"]), (5, ["0:5:6"]), (6, [])])
async def test_what_was_removed_while_another_member_had_the_partition_is_noted_from_what_that_has_committed(
    by_then: int, noted: list[str]
) -> None:
    class Shared(Topic):
        async def position(self) -> Mapping[int, int]:
            return {}

        async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
            self.committed[0] = by_then
            return await super().poll(max_messages, timeout_s)

    topic = Shared([message(0, 6), message(0, 7)], ends={0: (6, 8), 1: (5, 5)})
    topic.committed = {0: 3}
    assert await read(topic.reader("end", "0:0:8", "1:5:5")) == [(0, 6), (0, 7)]
    assert [told for told, _ in topic.noted] == ([{"skipped": noted}] if noted else [])


async def test_a_partition_that_was_added_later_counts_from_its_first_offset() -> None:
    topic = Topic([message(1, 2)], ends={0: (0, 0), 1: (2, 3)})
    assert await read(topic.reader("count:3", "0:0:0")) == [(1, 2)]
    assert [noted for noted, _ in topic.noted] == [{"skipped": ["1:0:2"]}]


async def test_a_partition_that_held_nothing_any_more_counts_from_where_it_ended() -> None:
    topic = Topic([message(0, 7)], [message(0, 8)], ends={0: (7, 9)})
    assert await read(topic.reader("count:2", "0:7:7")) == [(0, 7), (0, 8)]
    assert topic.noted == []


async def test_a_topic_that_was_made_again_is_not_read_as_the_old_one() -> None:
    for ends in ({0: (0, 4), 1: (0, 3)}, {0: (0, 5)}):
        with pytest.raises(
            PermanentError, match=r"partition \d of topic orders ended at offset . when .* made the topic"
        ):
            await read(Topic(ends=ends).reader("end", "0:0:5", "1:0:3"))


async def test_what_is_not_stored_yet_is_not_committed_with_the_empty_rest() -> None:
    topic = Topic([message(0, 0)], ends={0: (0, 2)})
    reader = topic.reader("end")
    batches = [batch async for batch in reader]
    await reader.commit()
    assert topic.commits == []
    await reader.done(batches[0])
    assert topic.committed == {0: 2}


async def test_a_restarted_reader_goes_on_where_its_group_has_committed() -> None:
    topic = Topic([message(1, 4)], ends={0: (0, 3), 1: (2, 5)})
    topic.committed = {0: 3, 1: 4}
    assert await read(topic.reader("end", "0:0:3", "1:2:5")) == [(1, 4)]
    assert topic.instruments.progress.position == 5


async def test_a_count_is_one_over_all_attempts_and_partitions() -> None:
    topic = Topic([message(0, 0), message(1, 0), message(0, 1)], [message(0, 2)], ends={0: (0, 3), 1: (0, 1)})
    assert await read(topic.reader("count:2")) == [(0, 0), (1, 0)]
    assert topic.committed == {0: 1, 1: 1}
    topic.polls = deque([[message(0, 1), message(0, 2)]])
    assert await read(topic.reader("count:3", "0:0:0", "1:0:0")) == [(0, 1)]
    assert topic.committed == {0: 2, 1: 1}


async def test_the_last_marker_ends_it_where_the_topic_ends_then_and_is_read_again_after_a_restart() -> None:
    polls = (
        [message(0, 0), marker(0, 1, "q", "interrupted"), marker(0, 2, "q")],
        [marker(1, 0, "stranger"), marker(1, 1, "p")],
        [message(0, 3), message(0, 4), message(1, 2)],
    )
    topic = Topic(*polls, ends={0: (0, 4), 1: (0, 2)})
    # All are handed on, markers too: whoever converts them passes over these.
    assert await read(topic.reader("marker:p,q")) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (0, 3)]
    assert topic.committed == {0: 2, 1: 1}
    topic.polls, topic.ends[0] = deque([[marker(0, 2, "q"), marker(1, 1, "p"), message(0, 3), message(0, 4)]]), (0, 5)
    assert await read(topic.reader("marker:p,q", "0:0:1")) == [(0, 2), (1, 1), (0, 3), (0, 4)]
    assert topic.committed == {0: 2, 1: 1}
    assert topic.noted == [({"ends": [f"0:0:{end}", "1:0:2"]}, {0: 2, 1: 1}) for end in (4, 5)]


async def test_where_the_topic_ended_is_not_noted_before_all_is_stored_nor_after_a_stop() -> None:
    topic = Topic([message(0, 0), marker(0, 1)], ends={0: (0, 2)})
    reader = topic.reader("marker:p")
    batches = [batch async for batch in reader]
    await reader.commit()
    assert topic.noted == []
    await reader.done(batches[0])
    assert [noted for noted, _ in topic.noted] == [{"ends": ["0:0:2"]}]
    topic.noted, topic.stops_at = [], 2
    await read(topic.reader("marker:p,q"))
    assert topic.noted == []


async def test_a_stop_ends_it_with_what_is_read() -> None:
    topic = Topic([message(0, 0)], [message(0, 1)], ends={0: (0, 9)})
    reader = topic.reader("stop")
    found = []
    async for batch in reader:
        found += [one.offset for one in batch]
        reader.drain(upstream_ended=True)
        await reader.done(batch)
    assert found == [0]
    assert reader.drained
    assert topic.committed == {0: 1}
    assert await reader.left() == 8


async def test_it_says_what_it_waits_for() -> None:
    for until, told in (("stop", "until it is stopped"), ("count:3", "3 more"), ("marker:p", "end of stream of p")):
        topic = Topic(ends={0: (0, 0)})
        topic.stops_at = 2
        assert await read(topic.reader(until)) == []
        assert told in str(topic.waits[1])


async def test_a_bus_that_is_away_for_a_moment_is_asked_again() -> None:
    topic = Topic([message(0, 0)], ends={0: (0, 1)})
    topic.failures.append(RetryableError("away"))
    assert await read(topic.reader("end")) == [(0, 0)]


@pytest.mark.parametrize("until", ["end", "count:1"])
async def test_an_offset_that_was_skipped_counts(until: str) -> None:
    topic = Topic([message(0, 5)], ends={0: (0, 6)})
    assert await read(topic.reader(until)) == [(0, 5)]
    assert topic.instruments.progress.position == 5
