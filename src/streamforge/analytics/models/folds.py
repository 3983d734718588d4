"""Walk-forward folds: models learn from the past only, and nothing they learn from reaches into a test."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Annotated

import msgspec

from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge_utils.model.errors import InvalidInput

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class FoldRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How moments are divided. All but purge are in moments, which are a step apart.

    test: of each fold, one after the other. least_train: that the first fold learns from. train: the latest that a
    fold learns from; None: all. purge: bars that are left out before a test; None: the horizon. embargo: moments that
    are left out as well.
    """

    test: _AtLeastOne
    least_train: _AtLeastOne
    train: _AtLeastOne | None = None
    purge: int | None = None
    embargo: _AtLeastOne = 1


class Fold(msgspec.Struct, frozen=True):
    """Half-open ranges of places of moments."""

    number: int
    train: range
    test: range


def folds(definition: DatasetDefinition, rules: FoldRules, times: Sequence[int]) -> list[Fold]:
    """The folds of these ascending moments; the tests follow each other without a hole.

    A target of what is learnt from ends when the test begins, or earlier. Raises InvalidInput for a purge that is
    shorter than the horizon, and for too few moments.
    """
    graph = definition.graph
    purge = definition.horizon if rules.purge is None else rules.purge
    if purge < definition.horizon:
        raise InvalidInput(
            "purge", f"purge of {purge} bars: targets last {definition.horizon}, choose {definition.horizon} or more"
        )
    gap_ms = purge * graph.bar_ms + rules.embargo * graph.step_ms
    found = list[Fold]()
    begin = bisect_left(times, times[min(rules.least_train, len(times)) - 1] + gap_ms) if times else 0
    for first in range(begin, len(times), rules.test):
        end = bisect_right(times, times[first] - gap_ms)
        start = 0 if rules.train is None else max(0, end - rules.train)
        found.append(Fold(len(found), range(start, end), range(first, min(first + rules.test, len(times)))))
    if not found:
        raise InvalidInput(
            "folds",
            f"{len(times)} moments are too few to learn from {rules.least_train}, leave out {gap_ms} ms and test: "
            "give a longer range, or a lesser least_train",
        )
    return found
