"""From a request to store a topic to a workflow: what can be refused at once is refused here."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec

from streamforge.manager.engine.document import Workflow
from streamforge.manager.use_cases import StepRequest
from streamforge.manager.workflow_labels import check_labels
from streamforge.manager.workflows.one_step import one_step_workflow
from streamforge.manager.workflows.series.requests import check_collection, checked_step
from streamforge.manager.workflows.topics.model import TopicInput, Topics
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.json_documents import compiled
from streamforge_utils.model.series import SYMBOL_LIMIT, check_symbol
from streamforge_utils.model.spelling import did_you_mean
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.topic_reading import JSON_TYPE, Until

TARGET = "arango-connector"
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_OURS = re.compile(r"wf-.*-data(-dlq)?", re.ASCII)
_SHOWN = 80


class TopicRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A topic to be stored.

    until: what ends it, as `Until` reads it. symbol: a name under which the workflow is listed; None: the topic's
    name. collection: None takes a name that follows from that one and the day. json_schema: what every message must
    fit. labels: to find it by.
    """

    topic: str
    until: str = "end"
    symbol: str | None = None
    collection: str | None = None
    json_schema: dict[str, Any] | bool | None = None
    image: str | None = None
    parameters: dict[str, Any] = {}
    labels: dict[str, str] = {}


class CheckedTopic(msgspec.Struct, frozen=True, kw_only=True):
    """A request to store a topic that can become a workflow, if there is such a topic."""

    topic: str
    until: Until
    symbol: str
    collection: str | None
    step: StepRequest
    labels: dict[str, str] = {}


def check_topic(request: TopicRequest, own_topics: Collection[str]) -> CheckedTopic:
    """The request in its one spelling. own_topics: those of commands and events. Raises InvalidInput."""
    topic = request.topic
    if _TOPIC.fullmatch(topic) is None or topic in (".", ".."):
        raise InvalidInput(
            "topic", f"topic {topic[:_SHOWN]!r} is no name of a topic: 1 to 249 letters, digits and `._-`"
        )
    if topic in own_topics or _OURS.fullmatch(topic) is not None or topic.startswith("__"):
        raise InvalidInput(
            "topic",
            f"topic {topic[:_SHOWN]} is StreamForge's or the broker's own, and is trimmed and removed by it: name one "
            "of another producer",
        )
    if request.collection is not None:
        check_collection(request.collection)
    parameters = dict(request.parameters)
    if request.json_schema is not None:
        schema = msgspec.json.encode(request.json_schema).decode()
        compiled(schema)
        parameters["json_schema"] = schema
    listed = names.fit(topic, SYMBOL_LIMIT, "A-Za-z0-9._-") if request.symbol is None else request.symbol
    return CheckedTopic(
        topic=topic,
        labels=check_labels(request.labels),
        until=Until.parse(request.until),
        symbol=check_symbol(listed),
        collection=request.collection,
        step=checked_step(StepRequest(target=TARGET, image=request.image, parameters=parameters)),
    )


def require_topic(topic: str, there: Collection[str]) -> None:
    """Raises InvalidInput where the topic is not among those that are there: it is never made."""
    if topic not in there:
        foreign = [name for name in there if _OURS.fullmatch(name) is None]
        advice = did_you_mean(topic, foreign) or "; name one that its producer has made"
        raise InvalidInput("topic", f"there is no topic {topic}, or this user may not see it{advice}")


def workflow_of_topic(checked: CheckedTopic, *, code: str, now_ms: int) -> Workflow:
    """The workflow, under the name that `code` gives it. Its range is a second that nothing is loaded of."""
    start_ms = now_ms // 1000 * 1000
    return one_step_workflow(
        checked.symbol,
        JSON_TYPE,
        checked.step,
        checked.collection or names.collection_name(checked.symbol, JSON_TYPE, start_ms),
        code=code,
        requested="",
        span=TimeRange(start_ms, start_ms + 1000),
        endless=checked.until.is_stop,
        labels=checked.labels,
        created_ms=now_ms,
        form=Topics(input=TopicInput(topic=checked.topic, until=checked.until)),
    )
