"""What another process does with a bus (`remote_process`)."""

from __future__ import annotations

from functools import partial

from streamforge_utils.ports.bus import Bus, Message, TopicPartition
from tests.contracts import remote_process
from tests.contracts.remote_process import line

__all__ = ["line", "remote"]

remote = partial(remote_process.started, __name__)


async def _send(bus: Bus, topic: str, label: str, batches: str, size: str) -> None:
    """Send `batches` batches of `size` messages, saying after each how many are confirmed."""
    producer = await bus.producer()
    for batch in range(int(batches)):
        first = batch * int(size)
        await producer.send(
            topic, [Message(label.encode(), b"%d" % number) for number in range(first, first + int(size))]
        )
        print(first + int(size), flush=True)


async def _read(bus: Bus, topic: str, count: str) -> None:
    """Say `ready`, then the values of `count` messages."""
    consumer = await bus.consumer([topic])
    print("ready", flush=True)
    left = int(count)
    while left > 0:
        for received in await consumer.poll(left, 1.0):
            print(received.value.decode(), flush=True)
            left -= 1


async def _member(bus: Bus, topic: str, group: str, commits: str) -> None:
    """Be a member of a group for ever: say `ready`, then partition and offset of everything that was read."""
    consumer = await bus.consumer([topic], group=group)
    print("ready", flush=True)
    while True:
        for received in await consumer.poll(1, 1.0):
            if commits == "commits":
                await consumer.commit({TopicPartition(topic, received.partition): received.offset + 1})
            print(received.partition, received.offset, flush=True)


if __name__ == "__main__":
    remote_process.serve({"send": _send, "read": _read, "member": _member})
