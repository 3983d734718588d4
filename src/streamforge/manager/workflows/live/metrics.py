"""What the metrics tell of live workflows: of all together, and which series are late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from streamforge.manager.engine.document import Workflow
from streamforge.manager.workflows.live.answers import BEHIND_AFTER_S, SILENT_AFTER_S, LiveState, live_answer, silence
from streamforge.manager.workflows.live.model import is_live, ledger_of
from streamforge_utils.ports.instrumentation import Observer

MOST_NAMED = 20
"""So many series are named at once: where the exchange is away all are late."""


class LiveMetrics:
    """Reports how many live workflows there are in each state, the worst ages, the open holes, and who is most late.

    Ages of what is still syncing do not count: nothing of it can be late. Nor is what waits for its segment.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._named: set[tuple[str, str]] = set()

    def observe(self, workflows: Iterable[Workflow], now_ms: int) -> None:
        """Report them as they are now. A series that is not among the most late has no metric."""
        states: Counter[str] = Counter()
        late: list[tuple[float, tuple[str, str]]] = []
        frame_age_s = proven_age_s = 0.0
        holes = 0
        for workflow in workflows:
            live, ledger = live_answer(workflow, now_ms) if is_live(workflow) else None, ledger_of(workflow)
            if live is None or ledger is None or live.state == LiveState.ENDED:
                continue
            states[live.state] += 1
            silent_s, age_s = silence(workflow, ledger, now_ms), live.behind_seconds or 0.0
            frame_age_s = max(frame_age_s, silent_s)
            holes += live.open_holes
            if live.state != LiveState.SYNCING:
                proven_age_s = max(proven_age_s, min(age_s, BEHIND_AFTER_S) if live.state == LiveState.LIVE else age_s)
            is_late = live.state in (LiveState.BEHIND, LiveState.SUSPECT)
            late_s = max(silent_s if silent_s > SILENT_AFTER_S else 0.0, age_s if is_late else 0.0)
            if late_s:
                late.append((late_s, (workflow.symbol, workflow.type)))
        observer = self._observer
        for state in LiveState:
            if state is not LiveState.ENDED:
                observer.gauge("live_workflows", states[state], state=state.value)
        observer.gauge("live_frame_age_seconds", frame_age_s)
        observer.gauge("live_proven_age_seconds", proven_age_s)
        observer.gauge("live_open_holes", holes)
        named = {series: late_s for late_s, series in sorted(late, reverse=True)[:MOST_NAMED]}
        for symbol, type_name in self._named - named.keys():
            observer.forget("live_late_seconds", symbol=symbol, type=type_name)
        for (symbol, type_name), late_s in named.items():
            observer.gauge("live_late_seconds", late_s, symbol=symbol, type=type_name)
        self._named = set(named)
