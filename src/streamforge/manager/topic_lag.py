"""The topics of workflows: what they hold, who reads them, how far, and how fast that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Step, StepStatus, Workflow
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.presentation import moment_or_none
from streamforge.manager.topic_answers import PartitionOffsets, Topic, TopicPage, TopicReader
from streamforge.manager.use_cases import lost_cursor
from streamforge.manager.workflows.topics.jobs import reading_group
from streamforge.manager.workflows.topics.model import topic_of
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.ports.bus import Lag, Retention
from streamforge_utils.runtime.life.worker_definition import Role
from streamforge_utils.runtime.output.topic_specs import TALK_MAX_BYTES

LOOK_LEAST_S = 1.0
"""An earlier look that is not so old yet is not replaced: rates over less say little."""
MOST_SORTED = 500
"""Topics that are all looked at to sort them by what they hold."""
SORTED_FOR_S = 30.0
"""How long an order is kept: the pages of it follow each other, and not each page looks at all topics."""
_ORDERS_KEPT = 8
_REMEMBERED = 2000
_DATA, _DEAD_LETTERS = names.data_topic(""), names.dlq_topic(names.data_topic(""))


class _Look(msgspec.Struct, frozen=True):
    """What a look found: where the topic ended, and what each group had committed, summed over the partitions."""

    at: float
    end: int
    committed: Mapping[str, int]


class TopicLag:
    """Looks at topics when it is asked; remembers the latest two looks at each, of the latest 2,000."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._looks: dict[str, tuple[_Look, _Look | None]] = {}
        self._orders: dict[tuple[str | None, ...], tuple[float, Sequence[str]]] = {}
        self._sorting = asyncio.Lock()

    async def page(
        self,
        *,
        queue_id: str | None = None,
        kind: str | None = None,
        search: str = "",
        sort: str = "name",
        cursor: str | None = None,
        limit: int = 50,
    ) -> TopicPage:
        """Topics of workflows, and those of commands and events. queue_id: of this workflow alone. cursor: a name.

        search: what is in the name, in any case. sort: `name`, or a number of them, the greatest first, as it was in
        the last `SORTED_FOR_S`. Raises InvalidInput (too many to sort, or an unknown cursor) or RetryableError.
        """
        text = search.casefold()
        named = [name for name in await self._deps.admin.topics() if text in name.casefold()]
        there = [
            name for name in named if self._is_meant(name, queue_id) and (kind is None or self._kind(name) == kind)
        ]
        behind: Sequence[str]
        if sort == "name":
            behind = [name for name in there if cursor is None or name > cursor]
        else:
            behind = await self._sorted(there, sort, (queue_id, kind, text))
            if cursor is not None:
                if cursor not in behind:
                    raise lost_cursor(cursor, "topic")
                behind = behind[behind.index(cursor) + 1 :]
        found = await self._look_at(behind[:limit])
        return TopicPage(topics=found, cursor=behind[limit - 1] if len(behind) > limit else None)

    async def _look_at(self, some: Sequence[str]) -> list[Topic]:
        found = list[Topic]()
        for name in some:
            with suppress(PermanentError):  # it was removed meanwhile
                found.append(await self._look(name))
        return found

    async def _sorted(self, there: Sequence[str], sort: str, asked: tuple[str | None, ...]) -> Sequence[str]:
        """The names by this number of their topics, the greatest first, what is not known last."""
        if len(there) > MOST_SORTED:
            raise InvalidInput(
                "sort",
                f"{len(there):,} topics fit, and {MOST_SORTED} at most are sorted by {sort}: narrow them down with "
                "search, kind or queue_id, or sort them by name",
            )
        async with self._sorting:  # who asks meanwhile finds the order
            at, order = self._orders.pop((sort, *asked), (float("-inf"), ()))
            if self._deps.clock.monotonic() - at > SORTED_FOR_S:
                found = await self._look_at(there)
                values = {one.name: getattr(one, sort) for one in found}
                known = {name: -1 if value is None else value for name, value in values.items()}
                order = sorted(known, key=lambda name: (-known[name], name))
                # Rates are known by a second look: until then this is no order to keep.
                if sort != "rate" or any(value is not None for value in values.values()):
                    at = self._deps.clock.monotonic()
            self._orders[sort, *asked] = (at, order)
            while len(self._orders) > _ORDERS_KEPT:
                del self._orders[next(iter(self._orders))]
        still, known_before = set(there), set(order)
        return [*(name for name in order if name in still), *(name for name in there if name not in known_before)]

    async def one(self, name: str) -> Topic:
        """The topic. Raises NotFound, or RetryableError."""
        if not self._is_meant(name, None) or name not in await self._deps.admin.topics():
            raise NotFound(f"there is no topic {name[:80]!r} of a workflow: GET /topics lists those that there are")
        try:
            return await self._look(name)
        except PermanentError as error:
            raise NotFound(f"topic {name} was removed a moment ago") from error

    def _is_meant(self, name: str, queue_id: str | None) -> bool:
        owner = _owner(name)
        if queue_id is not None:
            return owner == queue_id or (owner is None and any(one.queue_id == queue_id for one in self._storing(name)))
        talks = name in (self._deps.control_topic, self._deps.events_topic)
        return owner is not None or talks or any(True for _ in self._storing(name))

    def _kind(self, name: str) -> str:
        if _owner(name) is not None:
            return "dead-letters" if name.endswith(_DEAD_LETTERS) else "records"
        return {self._deps.control_topic: "commands", self._deps.events_topic: "events"}.get(name, "other")

    def _storing(self, name: str) -> Iterable[Workflow]:
        """The workflows under way that store the topic of another producer."""
        every = (stored.workflow for stored in self._deps.workflows.live.values())
        return (one for one in every if (topic := topic_of(one)) is not None and topic.topic == name)

    async def _look(self, name: str) -> Topic:
        admin, policy = self._deps.admin, self._deps.policy
        owner = _owner(name)
        # Where it cannot be read, its topics are there all the same.
        workflow = None if owner is None else await self._deps.workflows.readable(owner)
        groups = _groups_of(workflow, self._storing(name))
        lags = {group: await admin.lag(name, group) for group, _, _ in groups}
        offsets = await admin.offsets(name)  # last: so no group is ahead of the end
        end = sum(one for _, one in offsets.values())
        now = _Look(self._deps.clock.monotonic(), end, {g: sum(lag.committed.values()) for g, lag in lags.items()})
        before = self._before(name, now)
        seconds = 0.0 if before is None else now.at - before.at
        kind = self._kind(name)
        limits = {"records": policy.data_topic_max_bytes, "dead-letters": policy.dlq_max_bytes, "other": None}
        retention = Retention.CONSUMED if owner is not None else Retention.ROLLING
        return Topic(
            name=name,
            kind=kind,
            queue_id=owner,
            retention=None if kind == "other" else retention.value,
            limit_bytes=limits.get(kind, TALK_MAX_BYTES),
            bytes=await admin.size(name),
            messages=sum(last - first for first, last in offsets.values()),
            partitions=[PartitionOffsets(partition=n, first=a, end=b) for n, (a, b) in sorted(offsets.items())],
            readers=[
                TopicReader(
                    group=group,
                    queue_id=queue_id,
                    step=step.target,
                    running=_runs(step),
                    seen_at=moment_or_none(None if step.attempt is None else step.attempt.seen_ms),
                    committed={str(n): offset for n, offset in sorted(lags[group].committed.items())},
                    lag=_to_read(kind, step, lags[group]),
                    rate=None
                    if before is None or group not in before.committed
                    else _rate(now.committed[group] - before.committed[group], seconds),
                )
                for group, queue_id, step in groups
            ],
            lag=max((_to_read(kind, step, lags[group]) for group, _, step in groups), default=None),
            rate=None if before is None else _rate(now.end - before.end, seconds),
            rate_seconds=None if before is None else round(seconds, 3),
        )

    def _before(self, name: str, now: _Look) -> _Look | None:
        """An earlier look that is old enough, if there was one; this one is remembered."""
        latest, older = self._looks.pop(name, (None, None))
        if latest is None or latest.end > now.end:  # the topic was made again
            latest, older = now, None
        elif now.at - latest.at >= LOOK_LEAST_S:
            latest, older = now, latest
        self._looks[name] = (latest, older)
        if len(self._looks) > _REMEMBERED:
            self._looks.pop(next(iter(self._looks)))
        return older


def _owner(name: str) -> str | None:
    """The workflow by whose name the topic is called."""
    queue_id = name.removesuffix(_DEAD_LETTERS) if name.endswith(_DEAD_LETTERS) else name.removesuffix(_DATA)
    return queue_id if queue_id != name and names.is_queue_id(queue_id) else None


def _groups_of(workflow: Workflow | None, storing: Iterable[Workflow]) -> Sequence[tuple[str, str, Step]]:
    """Who reads the topic: the group, its workflow and its step."""
    own = [] if workflow is None else [(workflow, None)]
    return [
        (
            names.consumer_group(one.queue_id, step.target)
            if topic is None
            else reading_group(one, topic, step.target),
            one.queue_id,
            step,
        )
        for one, topic in [*own, *((one, topic_of(one)) for one in storing)]
        for step in one.steps
        if step.role is Role.SINK
    ]


def _to_read(kind: str, step: Step, lag: Lag) -> int:
    """What is left behind a sink that has finished are the markers of its producers' ends, which nobody reads."""
    return 0 if kind == "records" and step.status is StepStatus.FINISHED else lag.records


def _runs(step: Step) -> bool:
    attempt = step.attempt
    return attempt is not None and attempt.started_ms is not None and attempt.ended_ms is None


def _rate(messages: int, seconds: float) -> float:
    return round(max(0, messages) / seconds, 3)
