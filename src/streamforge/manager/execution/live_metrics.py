"""What the metrics tell of live workflows: of all together, so that none of one that has ended stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from streamforge.manager.live_answers import BEHIND_AFTER_S, LiveState, live_answer, silence
from streamforge.manager.workflow import Workflow
from streamforge_utils.ports.instrumentation import Observer


def observe(observer: Observer, workflows: Iterable[Workflow], now_ms: int) -> None:
    """Report how many live workflows there are in each state, the worst ages, and the holes that are open.

    Ages of what is still syncing do not count: nothing of it can be late. Nor is what waits for its segment.
    """
    states: Counter[str] = Counter()
    frame_age_s = proven_age_s = 0.0
    holes = 0
    for workflow in workflows:
        live, ledger = live_answer(workflow, now_ms) if workflow.is_live else None, workflow.ledger
        if live is None or ledger is None or live.state == LiveState.ENDED:
            continue
        states[live.state] += 1
        frame_age_s = max(frame_age_s, silence(workflow, ledger, now_ms))
        holes += live.open_holes
        if live.state != LiveState.SYNCING:
            age_s = live.behind_seconds or 0.0
            proven_age_s = max(proven_age_s, min(age_s, BEHIND_AFTER_S) if live.state == LiveState.LIVE else age_s)
    for state in LiveState:
        if state is not LiveState.ENDED:
            observer.gauge("live_workflows", states[state], state=state.value)
    observer.gauge("live_frame_age_seconds", frame_age_s)
    observer.gauge("live_proven_age_seconds", proven_age_s)
    observer.gauge("live_open_holes", holes)
