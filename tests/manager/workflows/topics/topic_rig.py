"""A manager with a topic of another producer, and what a test does to play the sink that stores it."""

from __future__ import annotations

from typing import Any

from streamforge.manager.engine.document import Workflow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.topics.model import TopicProof, Topics
from streamforge.manager.workflows.topics.requests import TARGET, TopicRequest
from streamforge_utils.model.json_documents import JsonDocuments
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.launcher import JobSpec
from streamforge_utils.runtime.sink.conversion import PASSED_OVER
from streamforge_utils.runtime.sink.json_converter import convert_json
from tests.doubles.manualclock import ManualClock
from tests.manager.support import NOW, World, attempt, said

TOPIC = "orders"


async def world_with_topic() -> World:
    """A manager, and a topic with eight messages of which one is not acceptable."""
    world = World(clock=ManualClock(NOW), policy=Policy(topic_retention_s=60, dlq_retention_s=120))
    await world.start()
    await world.bus.create_topic(TopicSpec(name=TOPIC))
    write(world, *(b'{"_key":"%d"}' % n for n in range(5)), b"bad", b'{"n":1}', b'{"n":1}')
    return world


def write(world: World, *values: bytes, key: bytes | None = None) -> None:
    world.bus.append(TOPIC, *(Message(key, value) for value in values))


def mark(world: World, producer: str = "shop") -> None:
    marker = EndOfStream(producer=producer, attempt=1, records=0, reason="finished")
    write(world, encode_marker(marker), key=EOS_KEY)


async def begun(world: World, **fields: Any) -> Workflow:
    """A workflow whose sink runs."""
    started = await world.manager.start_topic(TopicRequest(topic=TOPIC, **fields))
    await world.turns(3)
    return await world.workflow(started.workflow.queue_id)


def job(world: World) -> JobSpec:
    """The one that was started last."""
    return world.launcher.specs[world.launcher.started[-1]]


async def store(world: World, end: int | None = None, *, lose: int | None = None) -> None:
    """Do what the sink of the last job does, up to before the offset `end`. lose: an offset that it forgets."""
    environment = job(world).environment
    group, letters = environment["STREAMFORGE_GROUP"], environment["STREAMFORGE_DEAD_LETTERS"]
    first = world.bus.committed.get((TOPIC, group), 0)
    messages = [one for one in world.bus.messages(TOPIC)[first:end] if one.offset != lose]
    converted = convert_json(JsonDocuments(environment.get("STREAMFORGE_JSON_SCHEMA", "")), messages)
    await world.store.upsert(environment["COLLECTION_NAME"], converted.documents)
    for at, reason in converted.refused:
        if reason != PASSED_OVER:
            origin = {"topic": TOPIC, "partition": "0", "offset": str(messages[at].offset), "reason": reason}
            headers = tuple((name, text.encode()) for name, text in origin.items())
            world.bus.append(letters, Message(messages[at].key, messages[at].value, headers))
    world.bus.committed[TOPIC, group] = len(world.bus.messages(TOPIC)) if end is None else end


async def finish(world: World, workflow: Workflow, word: str = "finished") -> Workflow:
    """Let the sink end, and the manager prove."""
    now = await world.workflow(workflow.queue_id)
    world.say(said(now, TARGET, word))
    world.launcher.end(attempt(now, TARGET).job, exit_code=0)
    await world.turns(8)
    return await world.workflow(workflow.queue_id)


def counts(workflow: Workflow) -> dict[str, int]:
    (one,) = proof_of_topic(workflow).partitions
    named = ("stored", "skipped", "dead", "markers", "missing", "empty", "gone", "unread")
    return {name: number for name in named if (number := getattr(one, name))}


def proof_of_topic(workflow: Workflow) -> TopicProof:
    """Its proof, which it has."""
    proof = workflow.part(Topics).proof
    assert proof is not None
    return proof
