from __future__ import annotations

from streamforge.manager.execution.exchange_limits import MINIMUM, Budget


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
