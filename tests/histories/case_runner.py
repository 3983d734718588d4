"""Runs histories by number, and reports one that fails: the broken rule, the operations, how to run it again."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import msgspec

from tests.histories.engines import EmbeddedEngines, MemoryEngines
from tests.histories.generator import history_of, shrunk
from tests.histories.history import History, encode
from tests.histories.model import Violation
from tests.histories.simulation import MakeEngines, Simulation


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A history that fails. rule: the broken one, or the error's type."""

    history: History
    rule: str
    detail: str
    engines: MakeEngines

    def __str__(self) -> str:
        embedded = "--embedded " if self.engines is EmbeddedEngines else ""
        again = f"python -m tests.histories {embedded}--history '{encode(self.history)}'"
        return f"{self.detail}\n\n{self.history}\n\nrun it again: {again}"


Around = Callable[[], AbstractContextManager[object]]
"""The context of a history: a planted defect, for example."""


def failure_of(
    history: History, around: Around = nullcontext, *, engines: MakeEngines = MemoryEngines
) -> Failure | None:
    """Run the history; None: every rule holds."""
    try:
        with around():
            Simulation(history, engines).run()
    except Violation as violation:
        return Failure(history=history, rule=violation.rule, detail=str(violation), engines=engines)
    except Exception as error:
        detail = "".join(traceback.format_exception(error, limit=-6))
        return Failure(history=history, rule=type(error).__name__, detail=detail, engines=engines)
    return None


def first_failure(
    seed: int, cases: Iterable[int], around: Around = nullcontext, *, engines: MakeEngines = MemoryEngines
) -> tuple[int, Failure] | None:
    """The number of the first case that fails, and its failure."""
    for case in cases:
        if (failure := failure_of(history_of(seed, case), around, engines=engines)) is not None:
            return case, failure
    return None


def shortest(failure: Failure) -> Failure:
    """The same failure of a history as short as can be found."""

    def fails(history: History) -> bool:
        found = failure_of(history, engines=failure.engines)
        return found is not None and found.rule == failure.rule

    return failure_of(shrunk(failure.history, fails), engines=failure.engines) or failure
