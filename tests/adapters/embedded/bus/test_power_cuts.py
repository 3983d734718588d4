"""A power cut takes the end of a topic's log, of its groups, or of both: nothing new is skipped."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.ports.bus import Consumer, Received, Retention, TopicPartition, TopicSpec
from tests.contracts.bus import numbered, values

GROUPS = ("fast", "slow")
NEW = 1_000_000
"""The first number of the messages that are sent after the cut."""


class Cut(msgspec.Struct, frozen=True):
    """What happens before a power cut, and what it leaves.

    steps: messages sent, then read and committed by each group. log, groups: the share of each file's write-ahead log
    that is left. first: whether a consumer is there before the first message that is sent afterwards.
    """

    retention: Retention
    steps: tuple[tuple[int, int, int], ...]
    log: float
    groups: float
    first: bool


CUTS = st.builds(
    Cut,
    st.sampled_from(Retention),
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=5).map(tuple),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)


async def all_of(consumer: Consumer) -> list[Received]:
    """Everything that is there."""
    found: list[Received] = []
    while fresh := await consumer.poll(1000, 0):
        found += fresh
    return found


async def live(directory: Path, cut: Cut, copy: Path) -> None:
    """Send, read and commit; then copy the files as a power cut leaves them, while all is open."""
    bus = EmbeddedBus(directory)
    await bus.create_topic(TopicSpec(name="t", retention=cut.retention, readers=GROUPS))
    producer = await bus.producer()
    consumers = [await bus.consumer(["t"], group=group) for group in GROUPS]
    sent = 0
    for count, *reads in cut.steps:
        await producer.send("t", numbered(count, first=sent))
        sent += count
        for consumer, most in zip(consumers, reads, strict=True):
            batch = await consumer.poll(most, 0) if most else []
            if batch:
                await consumer.commit({TopicPartition("t", 0): batch[-1].offset + 1})
    target = copy / "topics" / "t"
    target.mkdir(parents=True)
    for path in (directory / "topics" / "t").iterdir():
        if path.name == "name" or path.name.endswith((".db", ".db-wal")):
            shutil.copy(path, target / path.name)
    for kind, share in (("log", cut.log), ("groups", cut.groups)):
        (wal,) = target.glob(f"{kind}-*.db-wal")
        with wal.open("r+b") as file:
            file.truncate(round(wal.stat().st_size * share))
    await bus.close()


async def after(copy: Path, cut: Cut) -> None:
    """What the next processes find and send is read to its end."""
    bus = EmbeddedBus(copy)
    left = await all_of(await bus.consumer(["t"]))
    members = [await bus.consumer(["t"], group=group) for group in GROUPS] if cut.first else []
    producer = await bus.producer()
    await producer.send("t", numbered(7, first=NEW))
    await producer.send("t", numbered(5, first=NEW + 7))
    everything = await all_of(await bus.consumer(["t"]))
    assert values(everything) == [*values(left), *range(NEW, NEW + 12)]
    offsets = [message.offset for message in everything]
    assert offsets == sorted(set(offsets))
    for at, group in enumerate(GROUPS):
        member = members[at] if cut.first else await bus.consumer(["t"], group=group)
        found = await all_of(member)
        assert_reads_on(found, everything)
        await member.commit({TopicPartition("t", 0): found[-1].offset + 1})
        assert (await bus.lag("t", group)).records == 0
    await bus.close()


def assert_reads_on(found: Sequence[Received], everything: Sequence[Received]) -> None:
    """What a group reads is the end of the log without a gap, with all that is new."""
    assert len(found) >= 12
    assert values(found) == values(everything)[-len(found) :]


@settings(max_examples=60, deadline=None)
@given(CUTS)
@example(Cut(Retention.CONSUMED, ((20, 20, 0),), 0.0, 1.0, False))
@example(Cut(Retention.CONSUMED, ((20, 20, 0),), 0.0, 1.0, True))
@example(Cut(Retention.CONSUMED, ((20, 20, 20), (20, 20, 20)), 0.5, 1.0, False))
@example(Cut(Retention.ROLLING, ((20, 20, 5),), 1.0, 0.0, False))
def test_after_a_power_cut_every_new_message_is_read_by_every_group(cut: Cut) -> None:
    with tempfile.TemporaryDirectory(prefix="streamforge-cut-") as folder:
        asyncio.run(live(Path(folder, "live"), cut, Path(folder, "copy")))
        asyncio.run(after(Path(folder, "copy"), cut))
