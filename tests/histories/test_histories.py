"""Random histories of a small world: loads, removals, losses, stops, retries, kills; what is said of it is true."""

from __future__ import annotations

import pytest

from tests.histories import history as happens
from tests.histories.defects import DEFECTS
from tests.histories.embedded import EmbeddedEngines
from tests.histories.generator import history_of, shrunk
from tests.histories.history import History, Market, Setting, decode, encode
from tests.histories.running import Failure, first_failure, short

pytestmark = pytest.mark.timeout(600)

SEED = 0
PARTS, CASES_A_PART = 40, 25


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_what_is_said_is_true(part: int) -> None:
    found = first_failure(SEED, range(part * CASES_A_PART, (part + 1) * CASES_A_PART))
    if found is not None:
        case, failure = found
        pytest.fail(short(failure).words(f"python -m tests.histories --seed {SEED} --case {case}"))


EMBEDDED_PARTS, EMBEDDED_CASES_A_PART = 3, 5


@pytest.mark.parametrize("part", range(EMBEDDED_PARTS))
def test_it_is_true_on_the_embedded_bus_and_store(part: int) -> None:
    cases = range(part * EMBEDDED_CASES_A_PART, (part + 1) * EMBEDDED_CASES_A_PART)
    found = first_failure(SEED, cases, engines=EmbeddedEngines)
    if found is not None:
        case, failure = found
        again = f"python -m tests.histories --embedded --seed {SEED} --case {case}"
        pytest.fail(short(failure, engines=EmbeddedEngines).words(again))


SOON = 20
FROM = {
    "a_hole_is_asked_for_once": 60,
    "a_finding_of_another_epoch_counts": 110,
    "a_removal_does_not_see_who_relies_on_the_data": 0,
    "a_removal_takes_more_than_its_range": 0,
    "a_restarted_manager_forgets_what_was_running": 30,
    "a_retry_trusts_the_old_plan": 25,
    "a_stopped_sink_leaves_the_rest": 100,
    "a_verification_marks_nothing": 35,
    "a_verification_never_comes_by_itself": 0,
    "a_read_does_not_count": 0,
    "a_workflow_speaks_also_of_what_was_not_over": 0,
    "an_export_does_not_count": 0,
    "an_export_with_holes_ends_well": 0,
    "coverage_is_believed_without_counting": 0,
    "coverage_remembers_what_was_removed": 10,
    "coverage_speaks_only_of_its_first_range": 0,
    "more_run_than_may": 0,
    "nobody_speaks_for_the_dead": 0,
    "retention_does_not_see_who_uses_the_data": 230,
    "show_counts_what_was_confirmed_twice": 0,
    "the_proof_overlooks_the_last_hole": 0,
    "what_a_verification_misses_is_not_loaded_again": 0,
    "what_is_said_twice_is_kept_twice": 50,
    "what_was_heard_counts_for_what_was_sent_since": 930,
    "who_joins_is_told_that_nothing_is_left_out": 240,
}
"""Where each planted defect is looked for, so that rare ones do not take long."""


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_a_planted_defect_is_found(name: str) -> None:
    """Without it these histories pass: they are among those of the first test."""
    cases = range(FROM[name], FROM[name] + SOON)
    assert cases.stop <= PARTS * CASES_A_PART
    assert first_failure(SEED, cases, DEFECTS[name]) is not None


def test_a_history_is_the_same_each_time() -> None:
    for case in range(5):
        history = history_of(SEED, case)
        assert history == history_of(SEED, case)
        assert decode(encode(history)) == history


def test_what_fails_is_told_in_a_short_history_that_fails_alike() -> None:
    removing = happens.Remove(which=0, data=True)
    loads = tuple(happens.Load(first=first, last=first + 5) for first in (0, 10, 20))
    history = History(
        setting=Setting(markets=(Market(symbol="AAAUSDT", holes=(3,)),), now=30),
        operations=(*loads, happens.Rest(), removing, happens.Wait(seconds=1)),
    )

    def fails(tried: History) -> bool:
        return removing in tried.operations and any(isinstance(one, happens.Load) for one in tried.operations)

    found = shrunk(history, fails)
    assert [type(one) for one in found.operations] == [happens.Load, happens.Remove]
    assert found.setting.markets[0].holes == ()


def test_what_fails_is_told_in_words_and_with_the_way_to_run_it_again() -> None:
    history = History(
        setting=Setting(markets=(Market(symbol="AAAUSDT"),), now=30), operations=(happens.Load(first=0, last=5),)
    )
    told = Failure(history=history, rule="a rule", detail="a rule: broken").words("python -m …")
    assert told.startswith("a rule: broken")
    assert "1. load AAAUSDT bars 0 to 5" in told
    assert f"--history '{encode(history)}'" in told
