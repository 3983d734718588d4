"""Questions to the exchange about holes of a series."""

from __future__ import annotations

from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.ports.exchange import Exchange

_ROUNDS = 2
"""How often each question about a hole is asked."""


async def ask_again(exchange: Exchange, series: Series, hole: Segment, phase_ms: int | None) -> list[Segment]:
    """The exchange's answers about a hole, asked for by requests cut differently from each other, each up to twice.

    The records that any answer had are `ours`; those that no answer had are `exchange`. A single empty or short answer
    proves nothing: exchanges give such. An answer tells of all up to its last record, so that a hole without end needs
    few questions. Raises RetryableError.
    """
    kind, found, told = kind_of(series), set[int](), dict[int, int]()
    rule, most = kind.rule(series), kind.paging.most if kind.paging is not None else 1
    for wanted, questions in rule.questions(hole, phase_ms, most):
        for number, question in enumerate([*questions] * _ROUNDS):
            if told.get(number, wanted[0] - 1) >= wanted[-1]:
                continue
            try:
                page = await exchange.page(series, question)
            except PermanentError as error:
                raise PermanentError(f"the hole {hole.span} could not be asked for: {error}") from error
            found.update(page.positions)
            told[number] = max(page.positions, default=wanted[0] - 1)
            if found.issuperset(wanted):
                break
    return rule.answered(hole, found, phase_ms)
