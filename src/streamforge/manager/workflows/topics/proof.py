"""The plan and the proof of a workflow that stores a topic: by offsets, and each message looked for in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Failure, Step, Workflow
from streamforge.manager.engine.lifecycle.findings import Planned, Refused
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.workflows.topics.jobs import reading_group
from streamforge.manager.workflows.topics.model import PartitionProof, TopicInput, TopicProof
from streamforge_utils.model import names
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.json_documents import JsonDocuments
from streamforge_utils.model.topic_reading import partition_ranges
from streamforge_utils.ports.bus import Bus, BusAdmin, Received, Start
from streamforge_utils.ports.store import DocumentStore
from streamforge_utils.runtime.life.worker_definition import Role
from streamforge_utils.runtime.sink.conversion import PASSED_OVER, Converted
from streamforge_utils.runtime.sink.json_converter import convert_json

AHEAD_BYTES = 8 * 1024 * 1024
"""What the bus may fetch beyond what is asked for."""
BATCH_MESSAGES = 1000
PART_MESSAGES, PART_BYTES = 200, 256 * 1024
POLL_S = 1.0
QUIET_POLLS = 15
"""So many polls in a row that bring nothing of what is to be read: the bus is slow."""

_replace = msgspec.structs.replace
_log = structlog.get_logger(__name__)

Places = Mapping[int, range]


async def plan_topic(deps: Dependencies, workflow: Workflow, topic: TopicInput) -> Planned | Refused:
    """Where the topic begins and ends now; a workflow that goes on keeps what it found first. Raises RetryableError."""
    if topic.topic not in await deps.admin.topics():
        return Refused(
            Failure(
                code=FailureCode.TOPIC_MISSING,
                reason=f"there is no topic {topic.topic}, or this user may not see it",
                next_step="make it, or give the user the right to describe and read it, then retry the workflow",
            )
        )
    identity = await deps.admin.identity(topic.topic)
    if topic.ranges is None:
        found = partition_ranges(await deps.admin.offsets(topic.topic))
        own = topic.own_collection or not await deps.store.count(workflow.collection)
        topic = _replace(topic, identity=identity, ranges=found, own_collection=own)
    elif topic.identity not in ("", identity):
        next_step = "store what it holds now by a new workflow"
        return Refused(Failure(code=FailureCode.TOPIC_REPLACED, reason=_made_again(topic), next_step=next_step))
    return Planned(topic)


async def prove_topic(deps: Dependencies, workflow: Workflow, topic: TopicInput) -> TopicProof:
    """Read again what the workflow has read, and look for each message: it is a document, or a dead letter, or missing.

    What the topic has removed meanwhile can only be counted. Raises RetryableError, or PermanentError (no such topic,
    or another one of its name).
    """
    if topic.identity not in ("", await deps.admin.identity(topic.topic)):
        raise PermanentError(f"{_made_again(topic)}; store what it holds now by a new workflow")
    committed = await _committed(deps.admin, workflow, topic)
    dead = await _dead(deps, workflow, topic.topic)
    await deps.store.flush(workflow.collection)
    begun = {one.partition: one for one in topic.ranges or ()}
    offsets = await deps.admin.offsets(topic.topic)
    partitions: dict[int, PartitionProof] = {}
    for number, committed_end in committed.items():
        # One that is not among those of the beginning was added since.
        first = begun[number].first if number in begun else 0 if begun else offsets.get(number, (0, 0))[0]
        end = max(first, committed_end, topic.ends.get(number, 0))
        if number in begun and topic.until.is_end:
            end = min(end, begun[number].end)
        unread = begun[number].end - end if number in begun and topic.until.is_end else 0
        oldest = offsets.get(number, (end, end))[0]
        skipped = sum(max(0, min(one.end, end) - one.first) for one in topic.skipped if one.partition == number)
        gone = max(0, min(oldest, end) - first)
        partitions[number] = PartitionProof(
            partition=number,
            first=first,
            end=end,
            skipped=skipped,
            gone=max(0, gone - skipped),
            unread=unread,
        )
    for number, one in begun.items():
        if number not in partitions and topic.until.is_end:  # the topic has been made again, with fewer of them
            partitions[number] = PartitionProof(partition=number, first=one.first, end=one.first, unread=len(one))
    comparison = _Comparison(deps.store, workflow.collection, _documents(workflow), partitions, dead)
    await comparison.read(deps.bus, topic.topic)
    found = tuple(comparison.found[number] for number in sorted(comparison.found))
    stored = sum(one.stored for one in found)
    return TopicProof(
        round=workflow.repairs + 1,
        checked_ms=deps.clock.now_ms(),
        expected=stored + sum(one.dead + one.missing + one.unread + one.skipped for one in found),
        stored=stored,
        partitions=found,
    )


def _made_again(topic: TopicInput) -> str:
    return (
        f"topic {topic.topic} was deleted and made again since the workflow began: what it held before, and was not "
        "stored by then, is lost"
    )


class _Comparison:
    """Compares the messages of partitions, behind what the topic has removed to before `end` of each, with the store.

    found: the proofs, with what was counted so far. dead: the offsets of the dead letters of each partition.
    """

    def __init__(
        self,
        store: DocumentStore,
        collection: str,
        documents: JsonDocuments,
        partitions: Mapping[int, PartitionProof],
        dead: Mapping[int, frozenset[int]],
    ) -> None:
        self._store = store
        self._collection = collection
        self._documents = documents
        self._dead = dead
        self._left = {number: range(one.first + one.gone + one.skipped, one.end) for number, one in partitions.items()}
        self.found = dict(partitions)

    async def read(self, bus: Bus, topic: str) -> None:
        """Read the messages, and count each."""
        if not any(map(len, self._left.values())):
            return
        consumer = await bus.consumer(topic, start=Start.LATEST, ahead_bytes=AHEAD_BYTES)
        quiet = 0
        try:
            for number, offsets in self._left.items():
                if offsets:
                    await consumer.seek(number, offsets.start)
            while any(map(len, self._left.values())):
                before = dict(self._left)
                polled = [one for one in await consumer.poll(BATCH_MESSAGES, POLL_S) if self._take(one)]
                await self._compare(polled)
                if not polled:
                    for number, offset in (await consumer.position()).items():
                        self._pass(number, offset)
                quiet = 0 if self._left != before else quiet + 1
                if quiet == QUIET_POLLS:
                    raise RetryableError(
                        f"topic {topic}: nothing came in {QUIET_POLLS} polls of {sum(map(len, self._left.values()))} "
                        "offsets that the proof has still to compare: the bus is slow, try again"
                    )
        finally:
            await consumer.close()

    def _take(self, message: Received) -> bool:
        """Whether it is one of those that are to be compared."""
        self._pass(message.partition, message.offset)
        left = self._left.get(message.partition, range(0))
        if message.offset not in left:
            return False
        self._left[message.partition] = left[1:]
        return True

    def _pass(self, partition: int, offset: int) -> None:
        """No message lies before `offset` any more."""
        left = self._left.get(partition, range(0))
        if len(left) and offset > left.start:
            self._left[partition] = range(min(offset, left.stop), left.stop)
            self._count(partition, empty=len(left) - len(self._left[partition]))

    async def _compare(self, messages: Sequence[Received]) -> None:
        keys: list[str | None] = []
        for part in _parts(messages):
            keys += _keys(convert_json(self._documents, part), len(part))
            await asyncio.sleep(0)  # leases and requests do not wait for a whole batch
        there = await self._store.present(self._collection, list(dict.fromkeys(key for key in keys if key)))
        for message, key in zip(messages, keys, strict=True):
            if key == PASSED_OVER:
                self._count(message.partition, markers=1)
            elif key is not None and key in there:
                self._count(message.partition, stored=1)
            elif message.offset in self._dead.get(message.partition, ()):
                self._count(message.partition, dead=1)
            else:
                before = self.found[message.partition].missing_from
                first = message.offset if before is None else min(before, message.offset)
                self._count(message.partition, missing=1)
                self.found[message.partition] = _replace(self.found[message.partition], missing_from=first)

    def _count(self, partition: int, **more: int) -> None:
        one = self.found[partition]
        self.found[partition] = _replace(one, **{name: getattr(one, name) + number for name, number in more.items()})


def _keys(converted: Converted, count: int) -> list[str | None]:
    """The key of each message's document; None: it was refused, `PASSED_OVER`: it is a marker."""
    keys: list[str | None] = [None] * count
    refused = dict(converted.refused)
    for at, key in zip(converted.good(count), converted.documents.keys, strict=True):
        keys[at] = key
    for at, reason in refused.items():
        if reason == PASSED_OVER:
            keys[at] = PASSED_OVER
    return keys


def _parts(messages: Sequence[Received]) -> list[Sequence[Received]]:
    """The messages in parts, each of which is decoded in some milliseconds."""
    parts: list[Sequence[Received]] = []
    begin = size = 0
    for at, message in enumerate(messages):
        size += len(message.value)
        if size >= PART_BYTES or at + 1 - begin >= PART_MESSAGES:
            parts.append(messages[begin : at + 1])
            begin, size = at + 1, 0
    return [*parts, messages[begin:]] if begin < len(messages) else parts


def _sinks(workflow: Workflow) -> list[Step]:
    return [step for step in workflow.steps if step.role is Role.SINK]


def _documents(workflow: Workflow) -> JsonDocuments:
    """What the sink makes documents with."""
    return JsonDocuments(next((step.parameters.get("json_schema", "") for step in _sinks(workflow)), ""))


async def _committed(admin: BusAdmin, workflow: Workflow, topic: TopicInput) -> Mapping[int, int]:
    """Of each partition the offset up to which every sink has committed."""
    offsets = await admin.offsets(topic.topic)
    found: dict[int, int] = {}
    for step in _sinks(workflow):
        lag = await admin.lag(topic.topic, reading_group(workflow, topic, step.target))
        for number in offsets:
            reached = lag.committed.get(number, 0)
            found[number] = min(found.get(number, reached), reached)
    return found


async def _dead(deps: Dependencies, workflow: Workflow, topic: str) -> Mapping[int, frozenset[int]]:
    """By partition of `topic`, the offsets of the messages that lie in the workflow's topic of dead letters."""
    letters = names.dlq_topic(workflow.topic)
    if letters not in await deps.admin.topics():
        return {}
    left = {number: range(*offsets) for number, offsets in (await deps.admin.offsets(letters)).items()}
    found: dict[int, set[int]] = {}
    consumer = await deps.bus.consumer(letters, ahead_bytes=AHEAD_BYTES)
    quiet = 0
    try:
        while any(map(len, left.values())):
            polled = await consumer.poll(BATCH_MESSAGES, POLL_S)
            quiet = 0 if polled else quiet + 1
            if quiet == QUIET_POLLS:
                raise RetryableError(f"the dead letters of {letters} do not arrive: the bus is slow, try again")
            for message in polled:
                offsets = left.get(message.partition, range(0))
                left[message.partition] = range(max(offsets.start, message.offset + 1), max(offsets.stop, 0))
                headers = dict(message.headers)
                if headers.get("topic", b"").decode("utf-8", "replace") == topic:
                    place = headers.get("partition", b""), headers.get("offset", b"")
                    if all(text.isdigit() for text in place):
                        found.setdefault(int(place[0]), set()).add(int(place[1]))
    finally:
        await consumer.close()
    return {number: frozenset(offsets) for number, offsets in found.items()}
