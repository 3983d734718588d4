"""Random histories of a simulation (loads, removals, losses, stops, retries, kills) that no answer may contradict."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.histories.case_runner import Failure, failure_of, first_failure, shortest
from tests.histories.defects import DEFECTS
from tests.histories.engines import EmbeddedEngines, MemoryEngines
from tests.histories.generator import history_of, shrunk
from tests.histories.history import (
    AdvanceClock,
    History,
    Load,
    Market,
    Outage,
    Quiesce,
    Remove,
    Setting,
    Wait,
    decode,
    encode,
)
from tests.histories.simulation import MakeEngines

SEED = 0
PARTS, CASES_A_PART = 40, 25
SHORT, MIDDLE = 3, 12
"""So many of the parts run always, so many wherever time is given to e2e tests."""


def check(cases: range, engines: MakeEngines) -> None:
    if (found := first_failure(SEED, cases, engines=engines)) is not None:
        pytest.fail(f"case {found[0]} of seed {SEED}: {shortest(found[1])}")


def _marks(part: int) -> Sequence[pytest.MarkDecorator]:
    return () if part < SHORT else [pytest.mark.e2e] if part < MIDDLE else [pytest.mark.long]


@pytest.mark.parametrize("part", [pytest.param(one, marks=_marks(one)) for one in range(PARTS)])
def test_no_rule_is_broken(part: int) -> None:
    check(range(part * CASES_A_PART, (part + 1) * CASES_A_PART), MemoryEngines)


@pytest.mark.parametrize("part", range(3))
def test_no_rule_is_broken_on_the_embedded_bus_and_store(part: int) -> None:
    check(range(part * 5, (part + 1) * 5), EmbeddedEngines)


SOON = 20


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_a_planted_defect_is_found(name: str) -> None:
    """Without it these histories pass: they are among those of the first test."""
    first, plant = DEFECTS[name]
    assert first + SOON <= PARTS * CASES_A_PART
    assert first_failure(SEED, range(first, first + SOON), plant) is not None


def test_a_manager_that_is_killed_while_it_starts_is_started_again() -> None:
    operations = Outage(part="store", seconds=60.0), AdvanceClock(count=1000), Wait(seconds=3), AdvanceClock(count=1000)
    history = History(setting=Setting(markets=(Market(symbol="AAAUSDT"),), now=8), operations=operations)
    assert failure_of(history) is None


def test_a_history_is_the_same_each_time() -> None:
    for case in range(5):
        history = history_of(SEED, case)
        assert history == history_of(SEED, case)
        assert decode(encode(history)) == history


def test_a_failure_is_reported_with_a_short_history_that_fails_alike() -> None:
    removal = Remove(which=0, data=True)
    loads = tuple(Load(first=first, last=first + 5) for first in (0, 10, 20))
    history = History(
        setting=Setting(markets=(Market(symbol="AAAUSDT", holes=(3,)),), now=30),
        operations=(*loads, Quiesce(), removal, Wait(seconds=1)),
    )

    def fails(tried: History) -> bool:
        return removal in tried.operations and any(isinstance(one, Load) for one in tried.operations)

    found = shrunk(history, fails)
    assert [type(one) for one in found.operations] == [Load, Remove]
    assert found.setting.markets[0].holes == ()
    report = str(Failure(history=found, rule="a rule", detail="a rule: broken", engines=MemoryEngines))
    assert report.startswith("a rule: broken")
    assert '{"type":"Remove","which":0,"data":true}' in report
    assert f"--history '{encode(found)}'" in report
