from __future__ import annotations

import pytest

from streamforge.manager.execution.exchange_limits import CONNECT_WINDOW_MS, MINIMUM, Budget, Connects
from streamforge.manager.policy import Policy
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.environment import load


def told(budget: Budget, live: list[str], running: list[str], *, banned: bool = False) -> dict[str, int]:
    """Deal, and tell everybody."""
    dealt = budget.deal(live, running, banned=banned)
    for job, share in dealt.items():
        budget.sent(job, share)
    return dealt


def test_shares_are_dealt_again_as_loaders_come_and_go() -> None:
    budget = Budget(4200)
    budget.sent("a", budget.share(1))
    assert told(budget, ["a"], ["a"]) == {}
    budget.sent("b", budget.share(2))
    assert told(budget, ["a", "b"], ["a"]) == {"a": 2100}
    assert told(budget, ["a", "b"], ["a", "b"]) == {}
    assert told(budget, ["b"], ["b"]) == {"b": 4200}
    assert told(budget, [], []) == {}


def test_a_share_that_was_not_sent_is_dealt_again_and_one_of_a_name_that_comes_again_too() -> None:
    budget = Budget(100)
    assert budget.deal(["a"], ["a"]) == told(budget, ["a"], ["a"]) == {"a": 100}
    told(budget, [], [])
    assert told(budget, ["a", "b"], ["a", "b"]) == {"a": 50, "b": 50}


def test_the_least_share_and_none_at_all() -> None:
    assert Budget(100).share(0) == 100
    assert Budget(100).share(50) == MINIMUM
    budget = Budget(100)
    assert told(budget, ["a"], ["a"], banned=True) == {"a": 0}
    assert told(budget, ["a"], ["a"]) == {"a": 100}


def connects_dealt(connects: Connects, running: list[str], now_ms: int) -> dict[str, int]:
    dealt = connects.deal(running, now_ms)
    for job, share in dealt.items():
        connects.sent(job, share)
    return dealt


def test_connections_are_dealt_again_as_streams_come_and_go() -> None:
    connects = Connects(100)
    assert connects_dealt(connects, ["a"], 0) == {"a": 50}
    assert connects_dealt(connects, ["a", "b"], 0) == {"a": 25, "b": 25}
    assert connects_dealt(connects, ["a", "b"], 0) == {}
    assert connects_dealt(connects, ["b"], 0) == {"b": 50}
    assert connects_dealt(connects, [], 0) == {}


def test_where_there_are_too_few_for_all_they_take_turns() -> None:
    connects, jobs = Connects(4), ["a", "b", "c", "d", "e"]
    turns = []
    for window in range(5):
        shares = {job: connects.share(at, jobs, window * CONNECT_WINDOW_MS) for at, job in enumerate(jobs)}
        assert sum(shares.values()) == 2
        turns += [job for job, share in shares.items() if share]
    assert sorted(turns) == sorted(jobs * 2)


def test_half_of_them_may_be_launched_in_five_minutes() -> None:
    connects = Connects(4)
    assert connects.may_launch([1, 2 - CONNECT_WINDOW_MS], 2)
    assert not connects.may_launch([1, 1], 2)
    assert connects.may_launch([1, 1], 1 + CONNECT_WINDOW_MS)


def test_no_share_of_connections_is_more_than_a_loader_takes() -> None:
    assert load(Policy, {"STREAMFORGE_TOTAL_CONNECTS": "300"}).connects == 300
    with pytest.raises(ConfigError, match="STREAMFORGE_TOTAL_CONNECTS: '301' is not accepted"):
        load(Policy, {"STREAMFORGE_TOTAL_CONNECTS": "301"})


@pytest.mark.parametrize(("total", "half", "most"), [(150, 75, 150), (300, 150, 150), (240, 120, 180), (1, 1, 1)])
def test_for_who_cannot_wait_there_is_the_other_half_as_far_as_the_exchange_allows(
    total: int, half: int, most: int
) -> None:
    connects = Connects(total)
    for count in (half - 1, half, most - 1, most):
        launched = [0] * count
        assert connects.may_launch(launched, 1) is (count < half)
        assert connects.may_launch(launched, 1, leaving=True) is (count < most)
