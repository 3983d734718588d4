"""What the API answers of a live workflow: how far it is proven, what lacks, and how its stream does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from streamforge import workers
from streamforge.manager.engine.document import Attempt, Workflow
from streamforge.manager.workflows.live.model import Ledger, ledger_of
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.model.completeness.continuity import SUSPECT
from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.kinds.registry import rule_of
from streamforge_utils.model.messages import Live as StreamReport
from streamforge_utils.model.timeranges import iso_ms
from streamforge_utils.runtime.life.worker_definition import Role, Source

SILENT_AFTER_S = 60.0
"""A stream of which no frame of any kind came for so long gives nothing."""
BEHIND_AFTER_S = 120.0
"""What is proven ends at most so much earlier than now, beside the length of a bar, where all goes well: of a series
that hardly trades the exchange is asked once a minute."""
UNCHECKED_AFTER_S = 300.0
"""The API tells of a book that was not compared for so long, though its best levels changed. Five other connections
have been tried by then at most; where prices move the exchange's best prices are compared several times a second."""
UNVERIFIABLE = "unverifiable"
NOTHING_HEARD = "no frame comes"
"""The trust of an order book that awaits a snapshot."""


def _meaning(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class LiveState(StrEnum):
    """How a live workflow does.

    syncing: nothing is proven yet, or what is older than the stream is still being loaded. live: proven up to a moment
    ago. behind: what is proven ends earlier, or no frame comes. suspect: there are holes, which are being loaded where
    that is possible, or something speaks against its order book. ended: it was closed. Its order book is syncing, too,
    while no snapshot verifies it.
    """

    SYNCING = "syncing"
    LIVE = "live"
    BEHIND = "behind"
    SUSPECT = "suspect"
    ENDED = "ended"


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """A range that lacks."""

    start: str
    end: str
    start_ms: int
    end_ms: int
    verdict: str
    first_id: Annotated[int | None, _meaning("The first id that lacks, where records have ids.")] = None
    last_id: int | None = None


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """How a live workflow does. All before `proven_through` is stored, or has a verdict that is the exchange's."""

    state: Annotated[
        str,
        msgspec.Meta(
            description="`live`, `syncing` (history is loaded, nothing is proven yet, or the order book awaits a "
            "snapshot), `behind`, `suspect` (there are holes, or something speaks against the order book) or `ended`.",
            extra_json_schema={"enum": [str(one) for one in LiveState]},
        ),
    ]
    proven_through: str | None = None
    proven_through_ms: int | None = None
    proven_id: Annotated[int | None, _meaning("The last id before it, where records have ids.")] = None
    behind_seconds: Annotated[float | None, _meaning("How long ago what is proven ends.")] = None
    frame_age_seconds: Annotated[
        float | None, _meaning("How long ago the last frame of any kind came; more than a minute is silence.")
    ] = None
    last_id: Annotated[int | None, _meaning("The last id that the loader has published.")] = None
    reconnects: Annotated[int, _meaning("Connections that this attempt of the loader has made after the first.")] = 0
    failure: Annotated[str | None, _meaning("Why the newest connection ended, or could not be made.")] = None
    backfilled: Annotated[int, _meaning("Records that this attempt had to ask for by requests.")] = 0
    duplicates: Annotated[int, _meaning("Records that came more than once, of two connections for example.")] = 0
    refused: Annotated[int, _meaning("Messages of the stream of which no record can be made.")] = 0
    refusal: Annotated[str | None, _meaning("What is wrong with the newest of these.")] = None
    dropped: Annotated[
        int, _meaning("Messages for which this attempt had no room: trades are asked for, diffs are a hole.")
    ] = 0
    records_waiting: Annotated[
        int,
        _meaning(
            "Messages that were published and are not stored for good, as the sink told last: diffs of an order book "
            "wait until their segment is closed."
        ),
    ] = 0
    held_bytes: Annotated[int, _meaning("What the loader holds because the topic is slow.")] = 0
    clock_offset_ms: Annotated[float | None, _meaning("How far the exchange's clock is ahead of the loader's.")] = None
    open_holes: int = 0
    holes: Annotated[list[Hole], _meaning("The first ones that are open.")] = []
    supplement: Annotated[str | None, _meaning("The workflow that loads the history, or the holes, right now.")] = None
    repair_at: Annotated[str | None, _meaning("When another one is made, if one is wanted.")] = None
    untraded: Annotated[
        str | None, _meaning("The symbol's status at the exchange where it is not traded: nothing happens to it then.")
    ] = None
    supplement_failure: Annotated[str | None, _meaning("Why the last one has not loaded all.")] = None
    trust: Annotated[
        str | None, _meaning("Of its order book now: `verified`, `unverifiable` or `suspect`; null: it is none.")
    ] = None
    why: Annotated[str | None, _meaning("Why its order book is not verified.")] = None
    agreed_age_seconds: Annotated[
        float | None, _meaning("How long ago the exchange's best prices were last those of its order book.")
    ] = None
    unchecked_seconds: Annotated[
        float | None,
        _meaning(
            "For so long, five minutes or more, the best levels of its order book changed, and no best prices of the "
            "exchange were those of the book after the same update; null: it is compared, or hardly changes."
        ),
    ] = None
    verified_share: Annotated[
        float | None,
        _meaning("Of the time up to `proven_through` that is not `expired`, in which its order book was verified."),
    ] = None
    clean_share: Annotated[
        float | None, _meaning("Of that time, in which it was not verified, but nothing spoke against it.")
    ] = None
    lost_seconds: Annotated[float | None, _meaning("Of that time, of which nothing can be had any more.")] = None


def live_answer(found: Workflow, at_ms: int | None) -> Live | None:
    """How a workflow does that loads a series as it happens; None: it does not, or is not planned.

    at_ms: the time; None: when what it has stored was last compared.
    """
    ledger = ledger_of(found)
    if ledger is None:
        return None
    now_ms = ledger.compared_ms if at_ms is None else at_ms
    stream = stream_of(found)
    wants = ledger.open_holes > 0 or not ledger.has_history
    frame_age_s = frame_age(found, now_ms)
    silent_s = silence(found, ledger, now_ms)
    trust, why = stream.trust, stream.why
    if trust and silent_s > SILENT_AFTER_S:
        trust, why = UNVERIFIABLE, NOTHING_HEARD
    behind_s = None if ledger.proven_ms is None else max(0, now_ms - ledger.proven_ms) / 1000
    return Live(
        state=_state(found, ledger, stream, behind_s, silent_s),
        proven_through=None if ledger.proven_ms is None else iso_ms(ledger.proven_ms),
        proven_through_ms=ledger.proven_ms,
        proven_id=ledger.proven_id,
        behind_seconds=None if found.ended else behind_s,
        frame_age_seconds=None if found.ended else frame_age_s,
        last_id=stream.last_id,
        reconnects=stream.reconnects,
        failure=stream.failure or None,
        backfilled=stream.backfilled,
        duplicates=stream.duplicates,
        refused=stream.refused,
        refusal=stream.refusal or None,
        dropped=stream.dropped,
        records_waiting=0 if found.ended else _waiting(found),
        held_bytes=stream.held_bytes,
        clock_offset_ms=stream.clock_offset_ms,
        open_holes=ledger.open_holes,
        holes=_holes(ledger.holes),
        supplement=ledger.supplement or None,
        repair_at=iso_ms(ledger.not_before_ms) if wants and not ledger.supplement and ledger.not_before_ms else None,
        untraded=ledger.untraded or None,
        supplement_failure=ledger.failure or None,
        trust=None if found.ended else trust or None,
        why=None if found.ended else why or None,
        agreed_age_seconds=None if found.ended else _age(found, now_ms, lambda told: told.agreed_age_s),
        unchecked_seconds=None if found.ended or stream.unchecked_s < UNCHECKED_AFTER_S else stream.unchecked_s,
        **_shares(found, ledger),
    )


def stream_of(found: Workflow) -> StreamReport:
    """What the loader of its stream told last."""
    attempts = _attempts(found)
    return (attempts[-1].progress.live if attempts else None) or StreamReport()


def _waiting(found: Workflow) -> int:
    """What the slowest of its sinks has not stored for good."""
    attempts = (step.attempt for step in found.steps if step.role is Role.SINK)
    told = (one.progress for one in attempts if one is not None)
    return max(((one.lag or 0) + one.held for one in told), default=0)


def frame_age(found: Workflow, now_ms: int) -> float | None:
    """Seconds since the last frame came, whether a loader runs now or not; None: none has told of one."""
    return _age(found, now_ms, lambda told: told.frame_age_s)


def _age(found: Workflow, now_ms: int, told_s: Callable[[StreamReport], float | None]) -> float | None:
    """An age that a loader has told, as it is now; None: none has told one."""
    for attempt in reversed(_attempts(found)):
        age_s = None if attempt.progress.live is None else told_s(attempt.progress.live)
        if age_s is not None:
            return round(age_s + max(0, now_ms - (attempt.seen_ms or now_ms)) / 1000, 3)
    return None


def silence(found: Workflow, ledger: Ledger, now_ms: int) -> float:
    """Seconds in which nothing came; where nothing ever did, those since the stream was to begin."""
    age_s = frame_age(found, now_ms)
    return max(0, now_ms - ledger.stream_ms) / 1000 if age_s is None else age_s


def _attempts(found: Workflow) -> Sequence[Attempt]:
    loaders = (step for step in found.steps if step.role is Role.LOADER and step.source is Source.STREAM)
    return next((step.attempts for step in loaders), ())


def _state(found: Workflow, ledger: Ledger, stream: StreamReport, behind_s: float | None, silent_s: float) -> LiveState:
    if found.ended:
        return LiveState.ENDED
    if ledger.open_holes or stream.trust == SUSPECT:
        return LiveState.SUSPECT
    if behind_s is None or not ledger.has_history or stream.trust == UNVERIFIABLE:
        return LiveState.SYNCING
    rule = rule_of(loaded_series(found))
    # What only its loader tells of is not asked for: nothing happens where all that it has published is proven.
    waits = rule.is_counted or stream.last_id is None or stream.last_id > (ledger.proven_id or 0)
    late = waits and behind_s > BEHIND_AFTER_S + (rule.step_ms or 0) / 1000 + _held_s(found)
    return LiveState.BEHIND if late or silent_s > SILENT_AFTER_S else LiveState.LIVE


def _held_s(found: Workflow) -> float:
    """How long its sinks hold what came before it is proven."""
    sinks = ((workers.definition(one.target), one.parameters) for one in found.steps if one.role is Role.SINK)
    chosen = (msgspec.convert(parameters, definition.parameters) for definition, parameters in sinks)
    return max((getattr(one, "holds_seconds", 0.0) for one in chosen), default=0.0)


def _shares(found: Workflow, ledger: Ledger) -> dict[str, Any]:
    """How much of what is proven can be trusted, where only its loader tells that."""
    if rule_of(loaded_series(found)).is_counted or ledger.span is None:
        return {}
    told = {"lost_seconds": ledger.lost_ms / 1000}
    whole_ms = ledger.span.end_ms - ledger.span.start_ms - ledger.expired_ms
    if whole_ms > 0:
        told |= {"verified_share": ledger.verified_ms / whole_ms, "clean_share": ledger.clean_ms / whole_ms}
    return told


def _holes(found: Sequence[Segment]) -> list[Hole]:
    return [
        Hole(
            start=iso_ms(one.start_ms),
            end=iso_ms(one.end_ms),
            start_ms=one.start_ms,
            end_ms=one.end_ms,
            verdict=one.verdict.value,
            first_id=one.first_id,
            last_id=one.last_id,
        )
        for one in found
    ]
