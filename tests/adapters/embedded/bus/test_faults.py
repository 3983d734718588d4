"""The embedded bus when processes are killed, files are broken and a power cut takes the end of some of them."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from streamforge_utils.model.errors import ConfigError, PermanentError
from streamforge_utils.ports.bus import Message, Received, Retention, Start, TopicSpec
from tests.contracts.bus_fixtures import numbered, read, read_rest, values
from tests.contracts.remote_process import line, remote
from tests.limits import LIMIT_S

FACTORY = "tests.contracts.test_bus:make"


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[EmbeddedBus]:
    bus = EmbeddedBus(tmp_path)
    await bus.create_topic(TopicSpec(name="topic"))
    yield bus
    await bus.close()


def log_file(directory: Path, topic: str = "topic") -> Path:
    (path,) = (directory / "topics" / topic).glob("log-*.db")
    return path


@pytest.mark.e2e
@pytest.mark.parametrize("retention", [Retention.CONSUMED, Retention.ROLLING])
async def test_every_confirmed_message_survives_a_killed_producer(
    tmp_path: Path, bus: EmbeddedBus, retention: Retention
) -> None:
    chance = random.Random(f"kill {retention}")
    await bus.create_topic(TopicSpec(name="killed", retention=retention, readers=("group",)))
    consumer = await bus.consumer("killed")
    for round_ in range(8):
        label = f"round-{round_}"
        async with remote((FACTORY, str(tmp_path)), "send", "killed", label, "100000", "50") as process:
            await line(process)
            await asyncio.sleep(chance.random() * 0.05)
            process.kill()
            await process.wait()
            said = b"" if process.stdout is None else await process.stdout.read()
        confirmed = int((said.decode().rpartition("\n")[0] or "50").split("\n")[-1])
        received = await read_rest(consumer)
        # Everything confirmed is there, in order, and nothing twice; what was not yet confirmed is there whole or not.
        assert values(received) == list(range(len(received)))
        assert confirmed <= len(received) <= confirmed + 100
        assert len(received) % 50 == 0
        assert {message.key for message in received} == {label.encode()}


@pytest.mark.e2e
async def test_killed_members_are_replaced_and_leave_no_traces(tmp_path: Path, bus: EmbeddedBus) -> None:
    await (await bus.producer()).send("topic", numbered(5))
    async with remote((FACTORY, str(tmp_path)), "member", "topic", "group", "never") as process:
        assert await line(process) == "ready"
        assert await line(process) == "0 0"
        waiting = await bus.consumer("topic", group="group")
        assert await waiting.poll(10, 0.3) == []
        process.kill()
        await process.wait()
        received = await read(waiting, 5, LIMIT_S)
        assert values(received) == [0, 1, 2, 3, 4]
    assert len(list((tmp_path / "members").iterdir())) == 1
    await waiting.close()
    assert list((tmp_path / "members").iterdir()) == []
    async with remote((FACTORY, str(tmp_path)), "member", "topic", "alone", "never") as process:
        assert [await line(process) for _ in range(3)] == ["ready", "0 0", "0 1"]
        process.kill()
        await process.wait()
    following = await bus.consumer("topic", group="alone")
    assert values(await following.poll(10, 0)) == [0, 1, 2, 3, 4], "nobody has to wait for one that is gone"


async def test_a_broken_batch_is_named_after_all_before_it_was_read(tmp_path: Path, bus: EmbeddedBus) -> None:
    await (await bus.producer()).send("topic", numbered(3))
    await (await bus.producer()).send("topic", numbered(2, first=3))
    with sqlite3.connect(log_file(tmp_path)) as connection:
        connection.execute("UPDATE log SET batch = x'ff00' WHERE last = 4")
    connection.close()
    consumer = await bus.consumer("topic")
    assert values(await consumer.poll(10, 0)) == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"offset 4 is broken.*seek"):
        await consumer.poll(10, 0)
    await (await bus.producer()).send("topic", numbered(1, first=5))
    await consumer.seek(0, 5)
    assert values(await consumer.poll(10, LIMIT_S)) == [5]


async def test_a_topic_whose_making_or_deletion_was_interrupted_can_be_made_again(
    tmp_path: Path, bus: EmbeddedBus
) -> None:
    with closing(sqlite3.connect(log_file(tmp_path))) as connection, connection:
        connection.execute("UPDATE topic SET deleted = 1")
    with pytest.raises(PermanentError, match="topic topic was deleted"):
        await bus.consumer("topic")
    await bus.create_topic(TopicSpec(name="topic"))
    path = log_file(tmp_path)
    path.rename(path.with_name("draft-1.db"))
    assert await bus.topics() == []
    with pytest.raises(PermanentError, match="there is no topic topic"):
        await bus.consumer("topic")
    await bus.create_topic(TopicSpec(name="topic"))
    assert await bus.topics() == ["topic"]
    await (await bus.producer()).send("topic", numbered(1))
    assert values(await (await bus.consumer("topic")).poll(10, LIMIT_S)) == [0]


async def test_many_processes_may_make_and_delete_a_topic_at_once(tmp_path: Path) -> None:
    buses = [EmbeddedBus(tmp_path) for _ in range(4)]

    async def churn(bus: EmbeddedBus, seed: int) -> None:
        chance = random.Random(seed)
        producer = await bus.producer()
        for _ in range(15):
            await bus.create_topic(TopicSpec(name="topic"))
            with suppress(PermanentError):  # deleted meanwhile
                await producer.send("topic", numbered(1))
                await (await bus.consumer("topic", start=Start.LATEST)).close()
            if chance.random() < 0.5:
                await bus.delete_topic("topic")

    await asyncio.gather(*(churn(bus, seed) for seed, bus in enumerate(buses)))
    await buses[0].create_topic(TopicSpec(name="topic"))
    await (await buses[1].producer()).send("topic", [Message(None, b"last")])
    assert (await read(await buses[2].consumer("topic"), 1, 5))[0].topic == "topic"
    for bus in buses:
        await bus.close()
    assert len(list((tmp_path / "topics" / "topic").glob("log-*"))) == 1
    assert not {name for name in os.listdir(tmp_path / "topics" / "topic") if name.endswith(("-wal", "-shm"))}


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


async def live(directory: Path, cut: Cut, copy: Path) -> None:
    """Send, read and commit; then copy the files as a power cut leaves them, while all is open."""
    bus = EmbeddedBus(directory)
    await bus.create_topic(TopicSpec(name="t", retention=cut.retention, readers=GROUPS))
    producer = await bus.producer()
    consumers = [await bus.consumer("t", group=group) for group in GROUPS]
    sent = 0
    for count, *reads in cut.steps:
        await producer.send("t", numbered(count, first=sent))
        sent += count
        for consumer, most in zip(consumers, reads, strict=True):
            batch = await consumer.poll(most, 0) if most else []
            if batch:
                await consumer.commit({0: batch[-1].offset + 1})
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
    left = await read_rest(await bus.consumer("t"))
    members = [await bus.consumer("t", group=group) for group in GROUPS] if cut.first else []
    producer = await bus.producer()
    await producer.send("t", numbered(7, first=NEW))
    await producer.send("t", numbered(5, first=NEW + 7))
    everything = await read_rest(await bus.consumer("t"))
    assert values(everything) == [*values(left), *range(NEW, NEW + 12)]
    offsets = [message.offset for message in everything]
    assert offsets == sorted(set(offsets))
    for at, group in enumerate(GROUPS):
        member = members[at] if cut.first else await bus.consumer("t", group=group)
        found = await read_rest(member)
        assert_reads_on(found, everything)
        await member.commit({0: found[-1].offset + 1})
        assert (await bus.lag("t", group)).records == 0
    await bus.close()


def assert_reads_on(found: Sequence[Received], everything: Sequence[Received]) -> None:
    """What a group reads is the end of the log without a gap, with all that is new."""
    assert len(found) >= 12
    assert values(found) == values(everything)[-len(found) :]


@pytest.mark.long
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
