"""Compares answers where they meet, of a kind whose records tell which one follows them."""

from __future__ import annotations

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.paging import ById, Page, Question, described
from streamforge_utils.model.series import Series
from streamforge_utils.ports.exchange import History

ROUNDS = 3
"""How often both answers beside a break are asked for again."""


class PageChain:
    """Answers in the order of the series. The last record of one is held until the first of the next follows it.

    So no record is written that only its neighbour in another answer shows to be wrong. A kind that is not `chained` is
    passed through.
    """

    def __init__(self, history: History, kind: RecordKind, series: Series) -> None:
        self._history = history
        self._kind = kind
        self._series = series
        self._held = Page((), (), (), ())

    def break_before(self, answer: Page) -> str:
        """Why an answer does not follow the record that is held; empty: it does, or nothing tells."""
        return self._kind.break_between(self._held.values[0], answer.values[0]) if self._held and answer else ""

    async def asked_again(self, question: Question, broken: str) -> Page:
        """The answer to `question` that follows the record that is held; both are asked for again.

        broken: why it did not before. Raises RetryableError if it never does, and as the exchange does.
        """
        held = self._held.positions[0]
        for _ in range(ROUNDS):
            # With the one before it, which shows whether it begins rightly.
            before = await self._history.page(self._series, ById(max(0, held - 1), limit=2))
            answer = await self._history.page(self._series, question)
            if not answer or held not in before.positions:
                continue
            place = before.positions.index(held)
            self._held = _part(before, slice(place, place + 1))
            broken = self.break_before(answer)
            if not broken:
                return answer
        raise RetryableError(
            f"{described(self._series, question)}: {broken}, also when it is asked again {ROUNDS} times: "
            "try again later, or load the range from files alone"
        )

    def passed(self, answer: Page, wanted: Page) -> Page:
        """What can be written: what was held, and the `wanted` part of the answer behind it but for its last record."""
        if not self._kind.chained:
            return wanted
        found = Page(
            [*self._held.positions, *wanted.positions],
            [*self._held.times, *wanted.times],
            [*self._held.keys, *wanted.keys],
            [*self._held.values, *wanted.values],
        )
        # Where the answer goes on behind what is wanted, it was compared with what follows there.
        is_last = bool(wanted) and wanted.positions[-1] == answer.positions[-1]
        end = len(found) - is_last
        self._held = _part(found, slice(end, None))
        return _part(found, slice(end))

    def end(self) -> Page:
        """What is held still: nothing follows it."""
        held, self._held = self._held, Page((), (), (), ())
        return held


def _part(page: Page, part: slice) -> Page:
    return Page(page.positions[part], page.times[part], page.keys[part], page.values[part])
