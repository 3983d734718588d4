"""Runs histories by number, and tells of one that fails: what happened, what is untrue, and how to run it again."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext

import msgspec

from tests.histories.engines import MemoryEngines
from tests.histories.generator import history_of, shrunk
from tests.histories.history import History, encode
from tests.histories.model import EXCUSED, Untrue
from tests.histories.world import MakeEngines, World


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A history that fails. rule: which statement is untrue, or the error's type; detail: for a person."""

    history: History
    rule: str
    detail: str

    def words(self, command: str) -> str:
        """For a person. command: how the number of the history is run again."""
        return (
            f"{self.detail}\n\n{self.history.words()}\n\nrun it again: {command}\n"
            f"this shorter one alone: python -m tests.histories --history '{encode(self.history)}'"
        )


Around = Callable[[], AbstractContextManager[object]]
"""What a history happens inside; a planted defect, for example."""


def failure_of(
    history: History,
    around: Around = nullcontext,
    excused: Collection[str] = EXCUSED,
    engines: MakeEngines = MemoryEngines,
) -> Failure | None:
    """Let the history happen; what is untrue then. engines: the bus and the store of its world."""
    try:
        with around():
            World(history, excused, engines).happen()
    except Untrue as untrue:
        return Failure(history=history, rule=untrue.rule, detail=str(untrue))
    except Exception as error:
        detail = "".join(traceback.format_exception(error, limit=-6))
        return Failure(history=history, rule=type(error).__name__, detail=detail)
    return None


def first_failure(
    seed: int, cases: Iterable[int], around: Around = nullcontext, engines: MakeEngines = MemoryEngines
) -> tuple[int, Failure] | None:
    """The first of the cases that fails, and its failure."""
    for case in cases:
        failure = failure_of(history_of(seed, case), around, engines=engines)
        if failure is not None:
            return case, failure
    return None


def short(failure: Failure, around: Around = nullcontext, engines: MakeEngines = MemoryEngines) -> Failure:
    """The same failure of a history as short as can be found."""

    def fails(history: History) -> bool:
        found = failure_of(history, around, engines=engines)
        return found is not None and found.rule == failure.rule

    return failure_of(shrunk(failure.history, fails), around, engines=engines) or failure
