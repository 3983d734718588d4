"""A data directory with many workflows that have ended, as a manager that has worked for long has them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from streamforge import wiring
from streamforge.manager.batches.model import Batch, Member, MemberStatus, Totals, batch_id, end_of
from streamforge.manager.batches.store import BatchStore
from streamforge.manager.engine.document import Attempt, Failure, Status, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.topic_lifetime import due_removal
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.all_forms import register_forms
from streamforge.manager.workflows.series.model import Part, Plan, SeriesProof
from streamforge.manager.workflows.series.requests import check, workflow_of
from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store.state_rows import FORMAT, States
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.messages import Progress
from streamforge_utils.model.names import CODE_ALPHABET, CODE_LENGTH, job_name
from streamforge_utils.ports.store import Labels, State, StateStore
from streamforge_utils.runtime.life.settings import DataSettings

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT")
TYPES = ("api_candles_1m", "api_candles_1h", "api_candles_1d")
ENDS = {Status.FINISHED: 90, Status.INTERRUPTED: 5, Status.ERROR: 5}
A_BATCH = 500


class _Unsynced:
    """The embedded store's states, written in this thread, none of them synced to the disk: that takes all the time."""

    def __init__(self, path: Path) -> None:
        self._states = States(path)
        self._states._file = sqlite.LazyConnection(path, FORMAT, synchronous="OFF")

    async def put(
        self, kind: str, id: str, body: bytes, *, expected: str | None, labels: Labels = None, created_ms: int = 0
    ) -> State:
        return self._states.put(kind, id, body, expected=expected, labels=labels, created_ms=created_ms)

    async def get(self, kind: str, id: str) -> State | None:
        return self._states.get(kind, id)

    def close(self) -> None:
        self._states.close()


class Filled(msgspec.Struct, frozen=True):
    """The workflows that were stored, oldest first, and the names of the batches that they belong to."""

    workflows: list[Workflow]
    batches: list[str]


async def fill(data: Path, count: int, *, own_symbols: bool = False) -> Filled:
    """Store workflows that have ended, and the batches that they belong to, through the manager's own repositories.

    One of the batches has half of them, each of the others `A_BATCH`. own_symbols: each second one has a symbol of its
    own, which begins with C.
    """
    register_forms()
    draws = random.Random(1)
    store = wiring.make_store(DataSettings(data_dir=data))
    await store.connect()
    await store.close()
    states = _Unsynced(data / wiring.STORE / "states.db")
    workflows, stored_batches = WorkflowStore(cast(StateStore, states)), BatchStore(cast(StateStore, states))
    now_ms = time.time_ns() // 1_000_000
    whole = [
        _ended(number, draws, now_ms - (count - number) * 1000, own_symbol=own_symbols and number % 2 == 1)
        for number in range(count)
    ]
    half = count // 2
    names: list[str] = []
    for first, last in [(0, half), *((start, min(start + A_BATCH, count)) for start in range(half, count, A_BATCH))]:
        batch, members = _batch(whole[first:last], draws)
        for workflow in whole[first:last]:
            await workflows.create(_tidied(msgspec.structs.replace(workflow, batch=batch.batch_id), now_ms))
        await stored_batches.create(batch, members)
        names.append(batch.batch_id)
    states.close()
    return Filled(whole, names)


def _tidied(workflow: Workflow, now_ms: int) -> Workflow:
    """Without the topics that the manager has removed by now: of one whose records are all stored, right after its end.

    Else a manager that has just begun would remove thousands of them meanwhile.
    """
    while (removal := due_removal(workflow, now_ms, Policy())) is not None:
        gone = {"dlq_removed": True} if removal.dead_letters else {"topic_removed": True}
        workflow = msgspec.structs.replace(workflow, **gone)
    return workflow


def _batch(workflows: Sequence[Workflow], draws: random.Random) -> tuple[Batch, list[Member]]:
    """The batch of these workflows, as it is after its end."""
    members = [
        Member(
            symbol=one.symbol,
            status=MemberStatus(one.status.value),
            queue_id=one.queue_id,
            expected=1440,
            stored=1440,
            reason="" if one.failure is None else one.failure.reason,
        )
        for one in workflows
    ]
    latest, totals = workflows[-1], Totals.of(members)
    code = "".join(draws.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    batch = Batch(
        batch_id=batch_id(latest.type, latest.span.start_ms, code),
        created_ms=latest.created_ms,
        exchange_now_ms=latest.created_ms,
        type=latest.type,
        requested=latest.requested,
        span=latest.span,
        asked="*USDT",
        size=len(members),
        status=end_of(totals),
        began_ms=latest.created_ms,
        ended_ms=latest.ended_ms,
        totals=totals,
    )
    return batch, members


def _ended(number: int, draws: random.Random, created_ms: int, *, own_symbol: bool = False) -> Workflow:
    """A workflow as it is after its end, with its topics."""
    day = f"20{18 + number % 6}-{1 + number // 6 % 12:02d}-{1 + number // 72 % 28:02d}"
    symbol = f"C{number}USDT" if own_symbol else draws.choice(SYMBOLS)
    request = StartRequest(symbol=symbol, type=draws.choice(TYPES), time_range=day)
    code = "".join(draws.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    workflow = workflow_of(check(request, created_ms), code=code, now_ms=created_ms, exchange_now_ms=created_ms)
    (status,) = draws.choices(list(ENDS), weights=list(ENDS.values()))
    ended_ms = created_ms + 4000
    steps = tuple(
        msgspec.structs.replace(
            step,
            status=StepStatus(status.value),
            attempts=(
                Attempt(
                    number=1,
                    job=job_name(step.target, workflow.symbol, workflow.queue_id, 1),
                    planned_ms=created_ms,
                    ranges=(str(workflow.span),),
                    observed=True,
                    started_ms=created_ms + 300,
                    seen_ms=ended_ms,
                    progressed_ms=ended_ms,
                    progress=Progress(records=1440, position=workflow.span.end_ms - 60_000, share=1.0, rate=4321.5),
                    message=status.value,
                    terminal_event=status.value,
                    exit_code=1 if status is Status.ERROR else 0,
                    ended_ms=ended_ms,
                    outcome=status.value,
                ),
            ),
        )
        for step in workflow.steps
    )
    stored = Segment(
        start_ms=workflow.span.start_ms,
        end_ms=workflow.span.end_ms,
        verdict=Verdict.STORED,
        collection=workflow.collection,
        records=1440,
    )
    proven = workflow.with_form(
        plan=Plan(exchange_now_ms=created_ms, parts=(Part(span=workflow.span),), expected=1440),
        proof=SeriesProof(round=1, checked_ms=ended_ms, expected=1440, stored=1440, segments=(stored,)),
    )
    return msgspec.structs.replace(
        proven,
        status=status,
        steps=steps,
        surveyed=True,
        failure=Failure(reason="the exchange failed", next_step="try again") if status is Status.ERROR else None,
        ended_ms=ended_ms,
    )
