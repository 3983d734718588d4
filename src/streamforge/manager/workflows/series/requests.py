"""From a request to a workflow: everything that can be refused is refused here, before anything is stored."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from streamforge import workers
from streamforge.manager.continuation import LIVE, asked_range, live_range, month_of
from streamforge.manager.engine.document import FormPart, Step, Workflow
from streamforge.manager.use_cases import StartRequest, StepRequest
from streamforge.manager.workflow_labels import check_labels
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.live.model import Live
from streamforge.manager.workflows.series.model import SeriesPart, SourceChoice, loaded_series, plan_of, planned_span
from streamforge_utils.model import names
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.daily_collections import DAY_MS
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import check_series, is_live_type, kind_of_type, rule_of
from streamforge_utils.model.timeranges import SINCE_LAST, TimeRange
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Source

_COLLECTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}", re.ASCII)
_RESERVED = "streamforge"
MOST_BEHIND_MS = 86_400_000
"""A live workflow whose range ends earlier than the same words say now by more than this is another one's."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that can become a workflow. span: as asked for, not yet clipped to the exchange's now; of `since last`,
    all time until the coverage was asked."""

    symbol: str
    type: str
    requested: str
    span: TimeRange
    steps: tuple[StepRequest, ...]
    collection: str | None
    again: bool
    source: SourceChoice = SourceChoice.AUTO
    labels: dict[str, str] = {}


def check(request: StartRequest, now_ms: int) -> Checked:
    """The request in its one spelling. now_ms: what a relative range is resolved with.

    Raises InvalidInput naming the field.
    """
    symbol, type_name = check_series(request.symbol, request.type)
    asked = live_range if is_live_type(type_name) else asked_range
    requested, span = asked(request, now_ms)
    if request.again and is_live_type(type_name):
        raise InvalidInput("again", f"{type_name} loads what comes: to load what is stored again, load a past range")
    steps = request.steps
    if steps is None:
        if request.source is SourceChoice.ARCHIVE and archive_loader(type_name) is None:
            raise InvalidInput("source", f"nothing loads {type_name} from an archive: leave the source out")
        steps = tuple(StepRequest(target=target) for target in default_targets(type_name, request.source))
    _check_steps(steps, type_name)
    if request.collection is not None:
        check_collection(request.collection)
    return Checked(
        symbol=symbol,
        type=type_name,
        requested=requested,
        span=span,
        steps=tuple(checked_step(step) for step in steps),
        collection=request.collection,
        again=request.again,
        source=_source(request, steps),
        labels=check_labels(request.labels),
    )


def default_targets(type_name: str, source: SourceChoice = SourceChoice.AUTO) -> tuple[str, ...]:
    """The targets that load and store `type_name` from the first, unless a request names others.

    A loader of the archive is none of them, unless that is the only source: a plan that needs it adds it.
    """
    found = [target for target in workers.targets() if _joins(workers.definition(target), type_name)]
    if source is not SourceChoice.ARCHIVE:
        return tuple(found)
    loader = archive_loader(type_name)
    sinks = [target for target in found if workers.definition(target).role is not Role.LOADER]
    return tuple(sorted([*sinks, *([] if loader is None else [loader])]))


def _joins(definition: Definition[Any], type_name: str) -> bool:
    return definition.default and definition.source is not Source.ARCHIVE and _works_on(definition, type_name)


def _works_on(definition: Definition[Any], type_name: str) -> bool:
    return type_name.startswith(tuple(definition.types))


def archive_loader(type_name: str) -> str | None:
    """The target that loads `type_name` from the exchange's files; None: there is none, or there are no such files."""
    for target in workers.targets() if kind_of_type(type_name).archive is not None else ():
        found = workers.definition(target)
        if found.role is Role.LOADER and found.source is Source.ARCHIVE and _works_on(found, type_name):
            return target
    return None


def loads_from_archive(workflow: Workflow) -> bool:
    """Whether it may load from the exchange's files: nobody ruled that out, and there is a loader for it."""
    part = workflow.form
    if not isinstance(part, History) or part.source is SourceChoice.REST:
        return False
    return archive_loader(workflow.type) is not None


def added_loader(workflow: Workflow) -> Step | None:
    """The step that loads from the exchange's files, where the workflow has none yet; of the image of the others, if
    they have one in common.
    """
    if any(step.role is Role.LOADER and step.source is Source.ARCHIVE for step in workflow.steps):
        return None
    target, images = archive_loader(workflow.type), {step.image for step in workflow.steps}
    if target is None:
        return None
    asked = StepRequest(target=target, image=images.pop() if len(images) == 1 else None)
    return msgspec.structs.replace(_step(asked, workflow.type, workflow.queue_id), added=True)


def _source(request: StartRequest, steps: tuple[StepRequest, ...]) -> SourceChoice:
    """Where the records may come from. Raises InvalidInput where the targets do not load from there."""
    found = {workers.definition(one.target).source for one in steps if _is_loader(one)}
    for choice, source in ((SourceChoice.ARCHIVE, Source.ARCHIVE), (SourceChoice.REST, Source.REST)):
        if request.source is choice and found != {source}:
            raise InvalidInput(
                "source",
                f"source {choice.value!r} needs targets that load from there alone, and these do not: leave the "
                "targets or the source out",
            )
    if request.source is SourceChoice.AUTO and found == {Source.ARCHIVE}:
        return SourceChoice.ARCHIVE
    if request.source is SourceChoice.AUTO and request.fixed and Source.ARCHIVE not in found:
        return SourceChoice.REST
    return request.source


def _is_loader(step: StepRequest) -> bool:
    return workers.definition(step.target).role is Role.LOADER


def workflow_of(
    checked: Checked, *, code: str, now_ms: int, exchange_now_ms: int, verification: bool = False
) -> Workflow:
    """The workflow, under the name that `code` gives it. Raises InvalidInput if the range lies in the future."""
    over_ms = exchange_now_ms // 1000 * 1000
    live = checked.requested == LIVE  # from now on, whichever clock says that
    span = TimeRange(over_ms - 1000, over_ms) if live else checked.span.clipped(over_ms)
    queue_id = names.queue_id(checked.symbol, checked.type, span.start_ms, code)
    form: SeriesPart = Live()
    if not is_live_type(checked.type):
        clipped = span != checked.span
        form = History(clipped=clipped, again=checked.again, source=checked.source, verification=verification)
    workflow = Workflow(
        queue_id=queue_id,
        symbol=checked.symbol,
        type=checked.type,
        requested=checked.requested,
        span=span,
        form=form,
        endless=isinstance(form, Live),
        labels=checked.labels,
        created_ms=now_ms,
        topic=names.data_topic(queue_id),
        collection=checked.collection or _default_collection(checked.symbol, checked.type, span, checked.requested),
        steps=tuple(_step(step, checked.type, queue_id) for step in checked.steps),
    )
    return workflow if checked.collection is not None else _by_day(workflow)


def _step(asked: StepRequest, type_name: str, queue_id: str) -> Step:
    definition = workers.definition(asked.target)
    return Step(
        target=asked.target,
        role=definition.role,
        source=definition.source,
        type=type_name,
        telemetry_id=names.telemetry_id(asked.target, queue_id),
        image=asked.image,
        parameters=asked.parameters,
    )


def loads(workflow: Workflow, checked: Checked) -> bool:
    """Whether the workflow is one of the series that is asked for."""
    return (workflow.symbol, workflow.type) == (checked.symbol, checked.type)


def is_the_same(live: Workflow, wanted: Workflow, exchange_now_ms: int) -> bool:
    """Whether a request for `wanted` is served by `live`, a workflow that has not ended: it loads exactly that, or was
    asked for in the same words a short while ago, and nothing ends it early.

    A workflow that loads again what is there serves a request that did not ask for that, but not the other way round.
    """
    if live.span != wanted.span and live.requested != wanted.requested and not wanted.endless:
        return False  # at once: of a thousand live workflows nearly all end here
    return (
        (live.symbol, live.type) == (wanted.symbol, wanted.type)
        and _is_the_same_range(live, wanted, exchange_now_ms)
        and _is_wanted_so(live.form, wanted.form)
        and live.stop_asked_ms is None
        and live.failure is None
        and live.replayed is None
        and [_asked_of(step) for step in live.steps if not step.added] == [_asked_of(step) for step in wanted.steps]
    )


def _is_wanted_so(live: FormPart, wanted: FormPart) -> bool:
    """Whether what was asked for beside the range is served by `live`."""
    if not isinstance(live, History) or not isinstance(wanted, History):
        return type(live) is type(wanted)
    return (live.again or not wanted.again) and live.source is wanted.source and live.supplements == wanted.supplements


def _is_the_same_range(live: Workflow, wanted: Workflow, exchange_now_ms: int) -> bool:
    """Whether both were asked for the same range, into the same collection.

    The same words mean a little more each time where they end at the exchange's now (`2024:`, `-30d`, this year). That
    little is not loaded by `live`: it must be a tenth of the range at most, and not more than a day. What has no end
    serves all that begin later.
    """
    if wanted.endless:
        return live.endless and live.span.start_ms <= wanted.span.start_ms
    if live.span == wanted.span:
        return live.collection == wanted.collection
    if live.requested != wanted.requested:
        return False
    over = what_is_over(live, wanted.span, exchange_now_ms)
    lacking_ms = max(0, live.span.start_ms - wanted.span.start_ms) + behind_ms(live, over)
    most_ms = min(MOST_BEHIND_MS, (wanted.span.end_ms - wanted.span.start_ms) // 10)
    by_default = all(one.collection == default_collection_of(one) for one in (live, wanted))
    return lacking_ms <= most_ms and (by_default or live.collection == wanted.collection)


def covers(live: Workflow, wanted: Workflow, exchange_now_ms: int) -> bool:
    """Whether `live`, which is the same, loads every bar of `wanted` that is over."""
    if live.endless:
        return live.span.start_ms <= wanted.span.start_ms
    over = what_is_over(live, wanted.span, exchange_now_ms)
    return live.span.start_ms <= wanted.span.start_ms and behind_ms(live, over) == 0


def what_is_over(live: Workflow, span: TimeRange, exchange_now_ms: int) -> TimeRange | None:
    """`span`, of the series of `live`, up to the end of its last bar that is over; all of it where the grid is not
    known. None: no bar is over."""
    rule, phase_ms = _rule_of(live)
    if rule is None:
        return span
    end_ms = min(span.end_ms, rule.over_ms(exchange_now_ms, phase_ms))
    return None if end_ms <= span.start_ms else TimeRange(span.start_ms, end_ms)


def behind_ms(live: Workflow, over: TimeRange | None) -> int:
    """From the end of the last bar of `live` to that of the last bar of `over`, as `what_is_over` gives it.

    0: there is no bar in between. Before `live` has a plan it may end earlier than this says.
    """
    rule, phase_ms = _rule_of(live)
    planned = planned_span(live)

    def last_end_ms(span: TimeRange | None) -> int:
        if span is None:
            return live.span.start_ms
        return span.end_ms if rule is None else rule.next(rule.floor(span.end_ms - 1, phase_ms))

    return max(0, last_end_ms(over) - last_end_ms(planned))


def _rule_of(live: Workflow) -> tuple[Rule | None, int | None]:
    """The completeness rule and the phase of its grid; no rule where the grid is not known yet."""
    plan = plan_of(live)
    rule, phase_ms = rule_of(loaded_series(live)), None if plan is None else plan.phase_ms
    return (rule if rule.is_fixed(phase_ms) else None), phase_ms


def default_collection_of(workflow: Workflow) -> str:
    """The collection of a request that names none."""
    return _default_collection(workflow.symbol, workflow.type, workflow.span, workflow.requested)


def _default_collection(symbol: str, type_name: str, span: TimeRange, requested: str) -> str:
    """What goes on day by day shares the collection of a month: one for each day would be too many."""
    start_ms = month_of(span.start_ms) if requested == SINCE_LAST else span.start_ms
    return names.collection_name(symbol, type_name, start_ms)


def _by_day(workflow: Workflow) -> Workflow:
    """It with a collection for each day, if it goes on without an end and has more than a record a day."""
    if not workflow.endless or (rule_of(loaded_series(workflow)).step_ms or 0) >= DAY_MS:
        return workflow
    return msgspec.structs.replace(
        workflow, daily=True, collection=names.collection_base(workflow.symbol, workflow.type)
    )


def _asked_of(step: Step) -> tuple[str, str | None, dict[str, Any]]:
    return step.target, step.image, step.parameters


def _check_steps(steps: tuple[StepRequest, ...], type_name: str) -> None:
    known = workers.targets()
    seen: set[str] = set()
    for step in steps:
        if step.target not in known:
            raise InvalidInput(
                "targets",
                f"target {step.target[:80]!r} is not known: for {type_name} choose from "
                f"{', '.join(default_targets(type_name))}",
            )
        if step.target in seen:
            raise InvalidInput("targets", f"target {step.target!r} is named twice: a workflow has one step of a target")
        seen.add(step.target)
        if workers.definition(step.target).role is Role.DIAGNOSTIC:
            raise InvalidInput(
                "targets",
                f"target {step.target!r} is a diagnostic: a workflow proves what is stored, and it makes things up; "
                f"run it by hand, as services/{step.target}/README.md tells",
            )
        if not _works_on(workers.definition(step.target), type_name):
            raise InvalidInput("targets", f"target {step.target!r} does not work on type {type_name!r}")
    if not default_targets(type_name):
        raise InvalidInput("type", f"no worker loads {type_name!r} by itself: it comes with another type or a plugin")
    roles = {workers.definition(step.target).role for step in steps}
    if roles != {Role.LOADER, Role.SINK}:
        raise InvalidInput(
            "targets",
            f"a workflow needs a loader and a sink; for {type_name} these are {', '.join(default_targets(type_name))}",
        )


def checked_step(step: StepRequest) -> StepRequest:
    """The step with its parameters as its target's model has them. Raises InvalidInput."""
    if step.image is not None and _IMAGE.fullmatch(step.image) is None:
        raise InvalidInput("image", f"image {step.image[:80]!r} is no name of an image")
    parameters: dict[str, Any] = {}
    fields = _fields(step.target)
    for name, value in step.parameters.items():
        if name not in fields:
            known = ", ".join(sorted(fields)) or "none"
            raise InvalidInput("parameters", f"parameter {name[:80]!r} of {step.target} is not known: it has {known}")
        try:
            parameters[name] = msgspec.to_builtins(msgspec.convert(value, fields[name].type))
        except msgspec.ValidationError as error:
            raise InvalidInput(
                "parameters",
                f"parameter {name!r} of {step.target} is {_shown(value)}: it must be {_acceptable(fields[name].type)}",
            ) from error
    return msgspec.structs.replace(step, parameters=parameters)


@functools.cache
def _fields(target: str) -> Mapping[str, msgspec.structs.FieldInfo]:
    """The parameters of the target, by name."""
    return {field.encode_name: field for field in msgspec.structs.fields(workers.definition(target).parameters)}


def _shown(value: object) -> str:
    text = msgspec.json.encode(value, enc_hook=repr).decode(errors="replace")
    return text if len(text) <= 60 else text[:59] + "…"


def _acceptable(kind: Any) -> str:
    """What a parameter of this type may be."""
    schema = msgspec.json.schema(kind)
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
    text = words.get(schema.get("type", ""), f"as GET /targets describes it ({schema})")
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    said = [f"{word} {schema[name]}" for name, word in limits.items() if name in schema]
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    return ", ".join([text, " and ".join(said)]) if said else text


def check_collection(name: str) -> None:
    """Raises InvalidInput for a name that no collection may have, or that only ours have."""
    if _COLLECTION.fullmatch(name) is None or len(name) > names.COLLECTION_LIMIT:
        raise InvalidInput(
            "collection_name",
            f"collection {name[:80]!r} must begin with a letter and hold at most {names.COLLECTION_LIMIT} letters, "
            "digits, '_' and '-'",
        )
    if name.lower().startswith(_RESERVED):
        raise InvalidInput("collection_name", f"collection {name[:80]!r}: names that begin with {_RESERVED!r} are ours")
